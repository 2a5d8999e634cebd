"""scripts/train.py as a user meets it: killed and continued, and everything that goes wrong."""

import json
import random
import shutil
import subprocess

import command_runner
import keras
import numpy as np
import pytest
import run_logs
import small_dataset
import small_training

from keras_rms.training.work_dir import checkpoints
from pipelines.input import training_stream

pytestmark = pytest.mark.slow

# Everything that has a state or draws random numbers.
WITH_STATE = (
    "--deterministic --epochs=3 --checkpoint_every=1 --learning_rate=0.05 --rms=mean --dropout=0.3 "
    "--residual_drop=shake_drop --mixing=cutmix --average_decay=0.9 --clip_norm=2 "
    "--random_erasing=0.5"
).split()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_dataset.make_dataset(tmp_path_factory.mktemp("data") / "data")


def train(output, data, work_dir, *flags, **options):
    return command_runner.start(
        output,
        "scripts/train.py",
        f"--data={data}",
        f"--work_dir={work_dir}",
        *command_runner.SMALL_TRAINING,
        *flags,
        **options,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory, data):
    """The work folder of a whole training with everything."""
    folder = tmp_path_factory.mktemp("finished")
    run = train(folder / "output", data, folder / "run", *WITH_STATE)
    assert run.status() == 0, run.stderr
    return folder / "run"


def steps(folder):
    path = folder / "log.jsonl"
    return path.read_text().count('{"kind": "train"') if path.exists() else 0


def test_killed_and_continued_it_ends_the_same(tmp_path, data, finished):
    seed = random.randrange(1000)
    folder = tmp_path / "run"
    run = train(tmp_path / "killed", data, folder, *WITH_STATE)
    kill_at = random.Random(seed).randint(1, 7)
    run.wait_for(lambda: steps(folder) >= kill_at)
    run.process.kill()
    run.process.join()
    assert not (folder / "model.keras").exists()
    run = train(tmp_path / "continued", data, folder, *WITH_STATE)
    # Meanwhile nobody else may train there.
    run.wait_for(lambda: " of 9; results in" in run.stdout)
    second = train(tmp_path / "second", data, folder, *WITH_STATE)
    assert second.status() == 1 and f"Another training is running in {folder}" in second.error
    assert run.status() == 0, run.stderr

    newest = "checkpoints/step_0000000009.npz"
    expected, state = (checkpoints.read(each / newest) for each in (finished, folder))
    assert {name.split("/")[0] for name in state} == {
        "host.json", "weight", "random", "velocity", "average"
    }  # fmt: skip
    assert expected.keys() == state.keys()
    for name in expected:
        if name != "host.json":  # it has times
            np.testing.assert_array_equal(state[name], expected[name], f"{name}, seed {seed}")
    models = [keras.saving.load_model(each / "model.keras") for each in (finished, folder)]
    for own, other in zip(*(model.get_weights() for model in models)):
        np.testing.assert_array_equal(own, other)
    own = run_logs.lines(folder, "train")
    assert own == run_logs.lines(finished, "train"), f"seed {seed}"
    assert [step for _, step, _ in own] == list(range(1, 10))
    run_logs.check_agreement(
        folder, [(s, loss) for _, s, loss in own], run_logs.lines(folder, "epoch")
    )


def test_all_settings_are_saved(finished, data):
    settings = json.loads((finished / "settings.json").read_text())
    assert settings["learning_rate"] == 0.05 and settings["seed"] == 0
    assert settings["warmup_epochs"] == 0 and settings["steps_per_epoch"] == 3
    assert settings["evaluation_crop_size"] == round(32 * 256 / 224)
    assert settings["class_names"] == list(small_dataset.CLASSES)
    assert settings["versions"]["keras"] == keras.__version__
    git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=command_runner.ROOT, capture_output=True)
    commit = git.stdout.decode().strip()
    assert (settings["git_commit"] or "").startswith(commit)
    # The flags of no other module: absl's own are not the training's.
    assert {"clip_norm", "sync_bn", "rms_stages"} <= settings.keys()
    assert not {"help", "verbosity", "traceback"} & settings.keys()


def test_what_fine_tuning_lacks_is_said_before_it_begins(tmp_path, data):
    weights = tmp_path / "weights.json"
    weights.write_text('{"blue": 1, "green": 2, "rot": 3}')
    refused = [
        (["--freeze=stem"], "without --init_from they are random"),
        (["--class_weights=none.json"], "is neither balanced nor a file of JSON"),
        (["--class_weights=balanced", "--order=balanced"], "both together do so twice"),
        ([f"--class_weights={weights}"], "Without one: red; no class of the data: rot."),
        (["--stop_after=2", "--validation_split="], "there are no videos to validate on"),
    ]
    # At once, as each of them imports all packages.
    runs = [
        train(tmp_path / f"{n}", data, tmp_path / "run", *f) for n, (f, _) in enumerate(refused)
    ]
    for run, (flags, message) in zip(runs, refused):
        assert run.status() == 1, flags
        assert message in run.error, run.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("batch_size", "rate"), [(8, 0.0125), (24, 0.0375)])
def test_the_rate_is_scaled_with_the_batch(tmp_path, data, batch_size, rate):
    run = train(tmp_path / "o", data, tmp_path / "run", f"--batch_size={batch_size}")
    run.wait_for((tmp_path / "run" / "settings.json").exists)
    run.process.kill()
    settings = json.loads((tmp_path / "run" / "settings.json").read_text())
    assert settings["learning_rate"] == pytest.approx(rate)


def test_a_loss_that_is_not_finite_saves_its_batch(tmp_path, data):
    run = train(
        tmp_path / "output", data, tmp_path / "run", "--learning_rate=1e30", "--checkpoint_every=1"
    )
    assert run.status() == 77
    message = " ".join(run.stderr.split())
    assert "Traceback" not in message and "`learning_rate`" in message
    (saved,) = (tmp_path / "run").glob("not_finite_step_*_worker_0.npz")
    assert str(saved) in message
    with np.load(saved) as batch:
        step, clips, labels = (batch[name] for name in ("step", "clips", "labels"))
    options = {"batch_size": 8, "num_frames": 2, "span": 8, "crop_size": 32, "flip": False}
    batches = training_stream(str(data), start_step=int(step), **options)
    same_clips, same_labels = next(iter(batches))
    np.testing.assert_array_equal(clips, same_clips)
    np.testing.assert_array_equal(labels, same_labels)
    newest = sorted((tmp_path / "run" / "checkpoints").glob("step_*.npz"))[-1]
    assert int(newest.stem[5:]) == step and f"The newest checkpoint is {newest}." in message
    weights = checkpoints.read(newest)
    assert all(np.isfinite(weights[n]).all() for n in weights if n.startswith("weight/res"))


def test_a_run_without_a_checkpoint_leaves_the_folder_to_other_flags(tmp_path, data):
    folder = tmp_path / "run"
    run = train(tmp_path / "first", data, folder, "--learning_rate=1e30")
    assert run.status() == 77, run.stderr
    assert (folder / "settings.json").exists() and not (folder / "checkpoints").exists()
    assert "No checkpoint was due." in " ".join(run.stderr.split())
    run = train(tmp_path / "second", data, folder, "--learning_rate=0.01")
    assert run.status() == 0, run.stderr
    settings = json.loads((folder / "settings.json").read_text())
    assert settings["learning_rate"] == 0.01 and settings["earlier"] == []
    assert steps(folder) == 3


def test_videos_converted_otherwise_are_refused_unless_allowed(tmp_path, finished):
    slower = small_dataset.make_dataset(tmp_path / "slower", fps=5, short_side=18)
    differ = (
        f"{slower}/validation was converted otherwise than the training's videos: fps is 5 and "
    )
    differ += "not 25; short_side is 18 and not 36."
    place = [f"--work_dir={finished}", f"--data={slower}", f"--output={tmp_path}", "--views=1x1"]
    refused = command_runner.run("scripts/evaluate.py", *place, status=1)
    assert differ in refused.error and "--fps=25 --short_side=36, or take it" in refused.error
    assert not list(tmp_path.glob("*.json"))
    allowed = command_runner.run("scripts/evaluate.py", *place, "--allow_other_conversion")
    assert differ in allowed.stderr and "top-1" in allowed.stdout
    run = train(tmp_path / "refused", slower, tmp_path / "run")
    assert run.status() == 1 and "fps is 5 and not 25" in run.error
    run = train(tmp_path / "allowed", slower, tmp_path / "run", "--allow_other_conversion")
    run.wait_for(lambda: "results in" in run.stdout)
    run.end()
    assert "videos to train on, train: fps is 5 and not 25" in run.stderr
    settings = json.loads((tmp_path / "run" / "settings.json").read_text())
    assert settings["allow_other_conversion"] and settings["conversion"]["fps"] == 25


def test_a_full_disk_loses_nothing(tmp_path, data, finished):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    for lost in (folder / "model.keras", folder / "checkpoints" / "step_0000000009.npz"):
        lost.unlink()
    settings = (folder / "settings.json").read_text()
    before = {path.name: path.read_bytes() for path in folder.glob("checkpoints/*")}
    # Too little for the settings, or for a checkpoint.
    for room, named in ((1_000, "The work folder"), (50_000, "The checkpoint of step 9")):
        run = train(tmp_path / "output", data, folder, *WITH_STATE, largest_file=room)
        assert run.status() == 1, run.stderr
        assert named in run.error and "could not be written (File too large)" in run.error
        assert {path.name: path.read_bytes() for path in folder.glob("checkpoints/*")} == before
        if room == 1_000:
            assert (folder / "settings.json").read_text() == settings


def in_the_way(path):
    path.write_text("a file")
    return path


def other_checkpoints(finished, folder):
    """Checkpoints of another network in a folder without settings."""
    shutil.copytree(finished / "checkpoints", folder / "checkpoints")
    return folder


def damaged_settings(finished, folder):
    shutil.copytree(finished, folder)
    (folder / "settings.json").write_text('{"seed": 0')
    return folder


def all_damaged(finished, folder):
    shutil.copytree(finished, folder)
    (folder / "model.keras").unlink()
    for path in folder.glob("checkpoints/*.npz"):
        path.write_bytes(path.read_bytes()[:1000])
    return folder


# Name -> flags, variables, and what the paragraph has to name.
MISTAKES = {
    "no data": (["--data={tmp}/nowhere"], {}, ["{tmp}/nowhere"]),
    "no such split": (["--train_split=test"], {}, ["'test'", "train, validation"]),
    "no flag file": (["--flagfile={tmp}/missing.flags"], {}, ["{tmp}/missing.flags"]),
    "unknown flag": (["--learing_rate=1"], {}, ["learing_rate"]),
    "work_dir is a file": (["--work_dir={file}"], {}, ["{file} is a file", "a folder is needed"]),
    "work_dir below a file": (["--work_dir={file}/run"], {}, ["{file}/run lies below {file},"]),
    "odd batch": (["--replicas=2", "--batch_size=7"], {}, ["multiple of the 2 replicas", "Try 6"]),
    "odd accumulation": (
        ["--accumulation=3"],
        {},
        ["divide the 8 clips", "accumulation=3"],
    ),
    "no task": (["--cluster=a:1,b:2"], {}, ["0 to 1", "task=None"]),
    "no port": (["--cluster=a,b:2", "--task=0"], {}, ["host:port", "Received: a"]),
    "TF_CONFIG": ([], {"TF_CONFIG": '{{"cluster"'}, ["TF_CONFIG must be JSON like"]),
    "SLURM": ([], {"SLURM_STEP_NUM_TASKS": "2"}, ["SLURM's variables", "`cluster`"]),
    "absent worker": (
        ["--cluster=127.0.0.1:{port},127.0.0.1:1", "--task=0", "--worker_timeout=1"],
        {},
        ["nothing was heard from 127.0.0.1:1."],
    ),
    "no init_from": (["--init_from={tmp}/nowhere"], {}, ["{tmp}/nowhere does not exist"]),
    "foreign init_from": (["--init_from={file}.npz"], {}, ["{file}.npz could not be read"]),
    "init_from too narrow": (
        ["--width=8", "--init_from={finished}"],
        {},
        ["are of another network", "Give the same model and width"],
    ),
    "other flags": (["--work_dir={finished}", "--width=8"], {}, ["width was 4 and is now 8"]),
    "another model": (
        ["--work_dir={other}", "--width=8"],
        {},
        ["{other}/checkpoints/step_0000000009.npz belongs to another model", "has shape"],
    ),
    "damaged settings": (["--work_dir={damaged}"], {}, ["{damaged}/settings.json", "not valid"]),
    "all damaged": (["--work_dir={cut}", *WITH_STATE], {}, ["All 3 checkpoints", "backup"]),
    "no stages": (["--rms_stages="], {}, ["--rms_stages is empty"]),
    "no rate": (["--learning_rate=0"], {}, ["`learning_rate` must", "learning_rate=0"]),
    "bad steps": (["--schedule=steps", "--decay_epochs=a"], {}, ["`decay_epochs`", "Received: a"]),
    "bad magnitude": (["--rand_augment=2,nine"], {}, ["`rand_augment`", "Received: 2,nine"]),
    "float16": (
        ["--precision=mixed_float16"],
        {},
        ["float16 many times slower", "Received"],
    ),
    "bfloat16": (["--precision=mixed_bfloat16"], {}, ["NaN", "TF_ENABLE_ONEDNN_OPTS=1"]),
    "memory": (
        ["--batch_size=4000000"],
        {},
        ["4000000 clips needs about", "GB are free", "by accumulation=", "clips fit", "`width`"],
    ),
    "unknown network": (["--model=slow_only_19"], {}, ["slow_only_19", "slow_only_18"]),
    "steps": (["--decay_epochs=4,8"], {}, ["schedule='steps'", "decay_epochs=(4.0, 8.0)"]),
    "span": (["--span=7"], {}, ["span=7"]),
    "short side": (["--evaluation_short_side=16"], {}, ["short_side=16"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_paragraph_that_names_it(tmp_path, data, finished, mistake):
    flags, variables, named = MISTAKES[mistake]
    places = {
        "tmp": tmp_path,
        "file": in_the_way(tmp_path / "file"),
        "finished": finished,
        "other": tmp_path / "other",
        "damaged": tmp_path / "damaged",
        "cut": tmp_path / "cut",
        "port": small_training.free_ports(1)[0].rpartition(":")[2],
    }
    in_the_way(tmp_path / "file.npz")
    for name, make in (
        ("other", other_checkpoints), ("damaged", damaged_settings), ("cut", all_damaged)
    ):  # fmt: skip
        if any(f"{{{name}}}" in flag for flag in flags):
            make(finished, places[name])
    before = content(finished)
    run = train(
        tmp_path / "output",
        data,
        tmp_path / "run",
        *(flag.format(**places) for flag in flags),
        variables={name: text.format(**places) for name, text in variables.items()},
    )
    status = run.status(60)
    assert status == (76 if mistake == "absent worker" else 1), run.stderr
    assert "Traceback" not in run.stderr
    message = " ".join(run.stderr.split())
    for part in named:
        assert part.format(**places) in message
    assert "\n\n" not in run.stderr.strip() or "flag" in mistake
    assert not (tmp_path / "other" / "settings.json").exists()
    assert not (tmp_path / "run" / "checkpoints").exists() and content(finished) == before


def content(folder):
    return {
        path: path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }
