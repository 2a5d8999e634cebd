"""scripts/examples: the batches, and both trainings on every backend without TensorFlow's help;
the comparison of regularisers that is made with them.
"""

import fcntl
import importlib.util
import json

import command_runner
import numpy as np
import pytest
import video_files
import warm_children
from example_files import EXAMPLES, module, write_arrays
from paths import ROOT

TINY = "--width=4 --epochs=12 --batch_size=4 --learning_rate=0.05".split()


def position_coded(count, *shape):
    """uint8 (count, *shape, 3): red is the row, green the column, blue the example."""
    height, width = shape[-2:]
    images = np.zeros((count, *shape, 3), "uint8")
    images[..., 0] = np.arange(height)[:, None]
    images[..., 1] = np.arange(width)
    images[..., 2] = np.arange(count).reshape(-1, *[1] * len(shape))
    return images


@pytest.mark.parametrize("shape", [(9, 12), (3, 9, 12)])
def test_a_crop_is_a_window_of_its_example_flipped_or_not(shape):
    images = position_coded(200, *shape)
    crops = module("batches").random_crop_and_flip(images, 5, 7, np.random.default_rng(0))
    assert crops.shape == (200, *shape[:-2], 5, 7, 3)
    corners, flips = set(), 0
    for number, crop in enumerate(crops):
        frames = crop.reshape(-1, 5, 7, 3)
        assert (frames == frames[0]).all() and (crop[..., 2] == number).all()
        top, left, right = frames[0, 0, 0, 0], frames[0, 0, 0, 1], frames[0, 0, -1, 1]
        step = 1 if right > left else -1
        expected = images[number, ..., top : top + 5, min(left, right) : max(left, right) + 1, :]
        np.testing.assert_array_equal(crop, expected[..., ::step, :])
        corners.add((int(top), int(min(left, right))))
        flips += step < 0
    assert corners == {(top, left) for top in range(5) for left in range(6)}
    assert 70 < flips < 130


@pytest.mark.parametrize("shape", [(9, 12), (3, 9, 12)])
def test_cutmix_weighs_targets_by_what_is_left_of_each_example(shape):
    batches = module("batches")
    images = position_coded(8, *shape)
    targets = batches.one_hot(np.arange(8), 8)
    shares = []
    for seed in range(60):
        mixed, weights = batches.cutmix(images, targets, np.random.default_rng(seed))
        np.testing.assert_array_equal(mixed[..., :2], images[..., :2])
        for number in range(8):
            owners, counts = np.unique(mixed[number, ..., 2], return_counts=True)
            expected = np.zeros(8)
            expected[owners] = counts / counts.sum()
            np.testing.assert_allclose(weights[number], expected, atol=1e-6)
        shares.append(weights.max(axis=1).min())
    assert min(shares) < 0.6 and max(shares) > 0.95
    assert (images == position_coded(8, *shape)).all()


def test_an_epoch_takes_each_example_once_in_an_order_of_its_own():
    batches = module("batches")

    def epoch(own):
        pairs = [own[index] for index in range(len(own))]
        return [np.concatenate(part) for part in zip(*pairs)]

    def make(seed):
        targets = batches.one_hot(np.arange(12), 12)
        noise = lambda images, rng: images + rng.integers(100, size=images.shape)  # noqa: E731
        return batches.Batches(position_coded(12, 2, 3), targets, noise, 5, seed=seed)

    first, again, other = make(3), make(3), make(4)
    images, targets = epoch(first)
    assert len(first) == 2 and len(set(targets.argmax(axis=1))) == 10
    np.testing.assert_array_equal(epoch(again)[0], images)
    assert (epoch(other)[1] != targets).any()
    first.on_epoch_end()
    next_images, next_targets = epoch(first)
    assert (next_targets != targets).any() and (next_images != images).any()
    with pytest.raises(ValueError, match="at most the number of training examples, 12"):
        batches.Batches(position_coded(12, 2, 3), targets, lambda x, _: x, 13)


def run(backend, script, *words, status=0):
    """What the example printed, where nothing is installed that it promises to do without."""
    missing = ["apache_beam", "pipelines"] + (["tensorflow"] if backend != "tensorflow" else [])
    code = (
        "import runpy, sys\n"
        "sys.argv = sys.argv[1:]\n"
        "from importlib.machinery import ModuleSpec\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        return ModuleSpec(name, self) if name in {missing!r} else None\n"
        "    def create_module(self, spec):\n"
        "        raise ModuleNotFoundError(spec.name)\n"
        "    def exec_module(self, module):\n"
        "        pass\n"
        "sys.meta_path.insert(0, Absent())\n"
        # Less to compile: the examples are tried here, not the depth of their networks.
        f"sys.path.insert(0, {str(ROOT / 'tests' / 'support')!r})\n"
        "import few_blocks\n"
        "few_blocks.install()\n"
        f"sys.path.insert(0, {str(EXAMPLES)!r})\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    program = ["-c", code, EXAMPLES / f"{script}.py", *words]
    # What is warm has TensorFlow, which the other backends have to do without.
    how = {"cold": True, "variables": {"KERAS_BACKEND": backend}}
    how = {} if backend == "tensorflow" else how
    ended = command_runner.run(*program, status=status, seconds=500, **how)
    return ended.stdout + ended.stderr


BACKENDS = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            importlib.util.find_spec(name) is None, reason=f"{name} is not installed."
        ),
    )
    for name in ("tensorflow", "jax", "torch")
]


@pytest.mark.slow(15)
@pytest.mark.parametrize("backend", BACKENDS)
def test_images_train_on(backend, tmp_path):
    data = write_arrays(tmp_path / "images.npz", (28, 12, 16, 3), (10, 12, 16, 3))
    words = [f"--data={data}", "--images_per_class=8", "--holdout_per_class=6", "--padding=1"]
    words += ["--rms=gaussian", "--residual_drop=shake_drop", "--survival=0.9", "--cutmix=0.2"]
    words += ["--color_jitter=0.1", "--random_erasing=0.2"]
    words.append(f"--save_model={tmp_path / 'model.keras'}")
    run(backend, "image_classification", *words, *TINY, f"--output={tmp_path / 'result.json'}")
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["backend"] == backend and result["training_examples"] == 16
    assert result["settings"]["rms"] == "gaussian" and result["settings"]["padding"] == 1
    assert [result[name]["examples"] for name in ("holdout", "test")] == [12, 10]
    assert result["test"]["accuracy"] == 1.0
    assert len(result["history"]["val_accuracy"]) == 12
    words = [f"--data={data}", f"--model={tmp_path / 'model.keras'}", "--scales=0"]
    if backend == "tensorflow":
        # What is pooled without its low frequencies is nothing, and tells no class.
        words += ["--places=head_pool", "--renew_statistics=after"]
        words.append(f"--picture={tmp_path / 'probe.svg'}")
        printed = run(backend, "frequency_probe", *words)
        lines = [line for line in printed.splitlines() if line.startswith("|")]
        rows = [line.strip("| ").split(" | ")[1:] for line in lines]
        assert rows[0] == ["Part", "x 0", "x 1"]
        assert rows[2:] == [["low", "50.0", "100.0"], ["high", "100.0", "100.0"]]
        assert (tmp_path / "probe.svg").read_text().count("<path") > 4


# The example's flags are absl's: they need a process of their own.
RENEWAL = f"""
import sys
sys.path.insert(0, {str(EXAMPLES)!r})
import frequency_probe, keras, numpy as np
frequency_probe.BATCH_SIZE = 3
images = np.random.default_rng(0).normal(5, 2, (6, 4, 7, 2)).astype("float32")
norm = keras.layers.BatchNormalization(momentum=0.7)
inputs = keras.Input((4, 7, 2))
model = keras.Model(inputs, norm(keras.layers.Dropout(0.9)(inputs)))
frequency_probe.renew_statistics(model, images)
means, variances = images.mean((0, 1, 2)), images.reshape(2, 3, 4, 7, 2).var((1, 2, 3)).mean(0)
np.testing.assert_allclose(norm.moving_mean, means, rtol=1e-5)
np.testing.assert_allclose(norm.moving_variance, variances, rtol=1e-4)
assert norm.momentum == 0.7
"""


def test_renewed_statistics_are_the_averages_of_all_batches():
    command_runner.run("-c", RENEWAL)


@pytest.mark.slow(15)
@pytest.mark.parametrize("backend", BACKENDS)
def test_videos_train_on(backend, tmp_path):
    data = write_arrays(tmp_path / "clips.npz", (16, 2, 40, 36, 3), (6, 2, 40, 36, 3))
    words = [f"--data={data}", "--crop_size=32", "--dropout=0", "--dtype=mixed_bfloat16"]
    words += ["--spread=0.2", f"--save_model={tmp_path / 'model.keras'}"]
    run(backend, "video_classification", *words, *TINY, f"--output={tmp_path / 'result.json'}")
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["test"] == {**result["test"], "accuracy": 1.0, "examples": 6}
    assert (tmp_path / "model.keras").exists()


@pytest.mark.slow
def test_a_list_of_videos_is_split_by_fold(tmp_path):
    lines = ["path,label,fold"]
    for number, fold in enumerate("001222"):
        video_files.write_numbered(tmp_path / f"{number}.mp4", 10)
        lines.append(f"{number}.mp4,{'ab'[number % 2]},{fold}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    words = [f"--data={tmp_path / 'list.csv'}", "--num_frames=2", "--crop_size=32"]
    words += ["--short_side=32", "--width=4", "--epochs=1", "--batch_size=2"]
    comparison = ["--example=video_classification", "--folds=0,1,2", "--settings=1", "--seeds=1"]
    command, status = compare(tmp_path, *comparison, "--methods=plain", "--", *words)
    assert status == 0, command.stderr
    result = json.loads((tmp_path / "runs" / "plain-0.1-seed_0.json").read_text())
    assert result["training_examples"] == 4 and result["test"]["examples"] == 2
    assert result["settings"]["rms"] == "none" and result["settings"]["fold"] == "0"
    assert "| plain | 0.1 | - | 1 |" in command.stdout
    printed = run("tensorflow", "video_classification", *words, "--fold=4", status=1)
    assert "error: " in printed and "the fold 4 (--fold) and another" in printed


def test_curves_show_training_validation_and_test(tmp_path):
    history = {"accuracy": [0.1, 0.2, 0.3, 0.4], "val_accuracy": [0.15, 0.25]}
    result = {"history": history, "settings": {"validate_every": 2}, "test": {"accuracy": 0.3}}
    (tmp_path / "both.json").write_text(json.dumps(result))
    del history["val_accuracy"]
    (tmp_path / "training.json").write_text(json.dumps(result))
    words = [f"--result={tmp_path / name}.json" for name in ("both", "training")]
    command_runner.run(
        str(EXAMPLES / "training_curves.py"), *words, f"--picture={tmp_path / 'curves.svg'}"
    )
    drawn = (tmp_path / "curves.svg").read_text()
    solid = {
        colour: sum(
            f"stroke: {colour}" in line and "stroke-linecap: square" in line
            for line in drawn.splitlines()
        )
        for colour in ("#1f77b4", "#ff7f0e")  # Matplotlib's first two
    }
    assert solid == {"#1f77b4": 1, "#ff7f0e": 0}  # of the second nothing was validated
    assert drawn.count("stroke-dasharray") == 4  # two lines of training and their legend


def write_result(folder, run_name, holdout, test, training=0.75, **loss):
    accuracies = {"holdout": {"accuracy": holdout}, "test": {"accuracy": test, **loss}}
    result = {**accuracies, "history": {"accuracy": [0.1, training]}}
    folder.mkdir(exist_ok=True)
    (folder / f"{run_name}.json").write_text(json.dumps(result))


def compare(tmp_path, *words):
    command = command_runner.start(
        tmp_path / "printed",
        "scripts/compare_regularisers.py",
        f"--output={tmp_path / 'runs'}",
        *words,
        before=warm_children.install,
    )
    return command, command.status()


def test_a_table_takes_the_setting_that_is_best_on_the_held_out_images(tmp_path):
    # On the test images the other setting is better: that must not count.
    write_result(tmp_path / "runs", "plain-0.05-seed_0", 0.42, 0.40, loss=1.2)
    write_result(tmp_path / "runs", "plain-0.1-seed_0", 0.41, 0.50, loss=9)
    write_result(tmp_path / "runs", "plain-0.05-seed_1", 0.1, 0.44)
    write_result(tmp_path / "runs", "rms-0.3-seed_0", 0.5, 0.43, 0.5, loss=1.125)
    write_result(tmp_path / "runs", "rms-0.3-seed_1", 0.5, 0.49, 0.5, loss=7)
    write_result(tmp_path / "runs", "rms-0.3-seed_2", 0.5, 0.46, 0.5)
    command, status = compare(tmp_path, "--table_only")
    assert status == 0, command.stderr
    rows = [line.strip("| ").split(" | ") for line in command.stdout.splitlines() if "|" in line]
    # Two values 0.04 apart: half of the interval is 12.706 * 0.0283 / sqrt(2).
    assert rows[2] == [
        "plain",
        "0.05",
        "0.1: 41.0, 0.05: 42.0",
        "2",
        "42.0 ± 25.4",
        "-",
        "75.0 ± 0.0",
        "1.20",
        "-",
    ]
    assert rows[3][:5] == ["RMS", "0.3", "0.3: 50.0", "3", "46.0 ± 7.5"]
    assert rows[3][5] == "+4.0 ± 12.7" and len(rows) == 4
    # Of the second seed plain has no loss to compare with.
    assert rows[3][8] == "-0.07"
    assert (tmp_path / "runs" / "table.md").read_text() in command.stdout + "\n"


def test_a_table_without_tuning_takes_the_first_setting_and_one_scatter_for_all(tmp_path):
    tests = {"plain-0.1": (0.4, 0.5), "rms-0.5": (0.5, 0.7), "rms_gaussian-0.5": (0.5, 0.5)}
    for name, values in tests.items():
        for seed, value in enumerate(values):
            write_result(tmp_path / "runs", f"{name}-seed_{seed}", 0.1, value)
    write_result(tmp_path / "runs", "rms-0.3-seed_0", 0.9, 0.9)
    command, status = compare(tmp_path, "--table_only", "--settings=1")
    assert status == 0, command.stderr
    # Without means of methods and seeds the rest is 0, 0; -0.05, 0.05; 0.05, -0.05: s = 0.0707;
    # half of the interval is 4.303 * s * sqrt(2 / 2).
    assert "| RMS | 0.5 | 0.5: 10.0 | 2 |" in command.stdout
    assert "2 seeds that all of these have" in command.stdout
    assert "RMS +15.0, RMS-GF +5.0, each ± 30.4 beside plain" in command.stdout


@pytest.mark.slow
def test_a_comparison_trains_what_is_missing_and_refuses_other_flags(tmp_path):
    data = write_arrays(tmp_path / "images.npz", (16, 12, 16, 3), (6, 12, 16, 3))
    write_result(tmp_path / "runs", "plain-0.1-seed_0", 0.2, 0.3)
    write_result(tmp_path / "runs", "plain-0.025-seed_0", 0.1, 0.3)
    words = ["--methods=plain", "--seeds=1", "--", f"--data={data}", "--holdout_per_class=2", *TINY]
    command, status = compare(tmp_path, *words)
    assert status == 0, command.stderr
    result = json.loads((tmp_path / "runs" / "plain-0.05-seed_0.json").read_text())
    assert result["settings"]["learning_rate"] == 0.05 and result["settings"]["rms"] == "none"
    assert "| plain | 0.05 |" in command.stdout
    command, status = compare(tmp_path, *words, "--padding=0")
    assert status == 1 and "holds runs with other flags" in command.error


def test_the_choice_waits_for_runs_of_another_process(tmp_path):
    write_result(tmp_path / "runs", "plain-0.1-seed_0", 0.2, 0.3)
    write_result(tmp_path / "runs", "plain-0.2-seed_0", 0.1, 0.3)
    with open(tmp_path / "runs" / "plain-0.05-seed_0.log", "w") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        command = command_runner.start(
            None,
            "scripts/compare_regularisers.py",
            f"--output={tmp_path / 'runs'}",
            "--methods=plain",
            "--seeds=1",
            "--",
            "--holdout_per_class=1",
        )
        said = "Another process is at plain-0.05-seed_0: waiting for it."
        command.wait_for(lambda: said in command.stdout)
        write_result(tmp_path / "runs", "plain-0.05-seed_0", 0.42, 0.3)
    assert command.status() == 0, command.stderr
    assert "| plain | 0.05 |" in command.stdout


def test_settings_cannot_be_chosen_without_held_out_examples(tmp_path):
    for more in ((), ("--holdout_per_class", "0")):
        command, status = compare(tmp_path, "--methods=plain", "--", "--data=folds.csv", *more)
        assert status == 1 and "Give --holdout_per_class=50 after --, or" in command.error


def test_an_unknown_method_is_named(tmp_path):
    command, status = compare(tmp_path, "--methods=plain,mixup")
    assert status == 1 and "Received: mixup" in command.error
