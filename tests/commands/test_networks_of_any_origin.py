"""evaluate and predict with a network that is no finished training's."""

import json
import os
import shutil

import av
import command_runner
import keras
import numpy as np
import pytest
import small_dataset
import video_files
from paths import ROOT

from keras_rms import models
from keras_rms.models.network_record import add_record
from keras_rms.models.presets import conversion
from keras_rms.training.networks import network_of
from keras_rms.training.recipe import Recipe
from keras_rms.training.work_dir import settings as work_settings
from keras_rms.training.work_dir.checkpoints import Checkpoints, model_state
from pipelines.input import evaluation_dataset

pytestmark = pytest.mark.slow
MEAN, STDDEV = 0.45, 0.225


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_dataset.make_dataset(tmp_path_factory.mktemp("data") / "data")


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """A network as import_weights writes it: of normalised clips of one size."""
    network = models.SlowOnly(18, 3, (2, 40, 40, 3), width=4, rms=None, seed=1)
    path = tmp_path_factory.mktemp("imported") / "net.keras"
    network.save(path)
    usual = {"mean": MEAN, "stddev": STDDEV}
    add_record(path, {"num_frames": 2, "span": 8, "normalization": usual})
    return network, path


def test_an_imported_network_is_evaluated(tmp_path, data, imported):
    network, path = imported
    words = [f"--model={path}", f"--data={data}", f"--output={tmp_path}"]
    command_runner.run("scripts/evaluate.py", *words, "--views=2x1", "--crop_size=32")
    with np.load(tmp_path / "validation_2x1.npz") as arrays:
        scores, names = arrays["scores"], arrays["class_names"].tolist()
    assert names == ["class 0", "class 1", "class 2"]
    views = evaluation_dataset(
        str(data), "validation", batch_size=9, num_clips=2, num_frames=2, span=8, crop_size=32
    )
    (batch,) = views.as_numpy_iterator()
    clips = ((batch["views"] / 255 - MEAN) / STDDEV).astype("float32")
    opened = models.SlowOnly(18, 3, (2, None, None, 3), width=4, rms=None)
    opened.set_weights(network.get_weights())
    logits = np.stack([opened(clips[:, i], training=False) for i in range(2)])
    expected = keras.ops.convert_to_numpy(keras.ops.softmax(logits)).mean(axis=0)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert expected.std(axis=0).max() > 1e-4


def test_an_imported_network_predicts_all_videos_of_a_folder(tmp_path, imported):
    (tmp_path / "videos").mkdir()
    video_files.write_numbered(tmp_path / "videos" / "a.mp4", 30)
    (tmp_path / "videos" / "b.mp4").touch()
    (tmp_path / "labels.txt").write_text("one\ntwo\nthree\n")
    result = command_runner.run(
        "scripts/predict.py",
        f"--model={imported[1]}",
        f"--labels={tmp_path / 'labels.txt'}",
        f"--json={tmp_path / 'lines'}",
        "--clips=1",
        "--start=0.2",
        "--end=0.8",
        tmp_path / "videos",
        status=1,
    )
    assert "b.mp4: is empty (0 bytes)" in result.error
    lines = [json.loads(line) for line in (tmp_path / "lines").read_text().splitlines()]
    assert [line["video"].rpartition("/")[2] for line in lines] == ["a.mp4", "b.mp4"]
    assert {row["class"] for row in lines[0]["classes"]} == {"one", "two", "three"}
    assert lines[1]["error"] == "is empty (0 bytes)"


def test_a_network_is_used_by_its_published_name(tmp_path, imported):
    """From the cache, which holds another network under this name; see `test_presets`."""
    cache = tmp_path / "models" / "keras_rms"
    cache.mkdir(parents=True)
    shutil.copy(imported[1], cache / f"slow_only_50_kinetics400-{conversion.VERSION}.keras")
    video_files.write_numbered(tmp_path / "a.mp4", 30)
    words = ["--clips=1", "--top=3", tmp_path / "a.mp4"]
    home = {"KERAS_HOME": str(tmp_path)}
    result = command_runner.run(
        "scripts/predict.py", "--model=slow_only_50_kinetics400", *words, variables=home
    )
    assert "class 2" in result.stdout
    result = command_runner.run(
        "scripts/predict.py", "--model=slow_only_50_kinetics40", *words, status=1
    )
    assert "Near names: slow_only_50_kinetics400," in result.error


def test_a_network_of_probabilities_is_refused(tmp_path, imported):
    network = imported[0]
    path = tmp_path / "net.keras"
    keras.Model(network.input, keras.layers.Softmax()(network.output)).save(path)
    words = [f"--model={path}", "--span=8", "--mean=0.45", "--stddev=0.225", tmp_path]
    video_files.write_numbered(tmp_path / "a.mp4", 30)
    said = command_runner.run("scripts/explain.py", *words, status=1).error
    assert "net.keras ends in a softmax, and a second one would follow" in said


def test_where_an_imported_network_looked(tmp_path, imported):
    video_files.write_numbered(tmp_path / "a.mp4", 30)
    for words, frames in ((["--clips=3"], 3 * 2), (["--span=0"], 2)):  # 0: one clip of all
        output = tmp_path / str(frames)
        command_runner.run(
            "scripts/explain.py",
            f"--model={imported[1]}",
            "--class=class 1",
            f"--output={output}",
            *words,
            tmp_path / "a.mp4",
        )
        with av.open(str(output / "a_where.mp4")) as film:
            assert len(list(film.decode(video=0))) == frames


def test_an_unfinished_training_is_evaluated_beside_its_later_results(tmp_path, data):
    recipe = Recipe("slow_only_18", width=4, num_frames=2, epochs=3, steps_per_epoch=5)
    settings = {**vars(recipe), "class_names": small_dataset.CLASSES, "data": str(data)}
    work_settings.write(tmp_path, {**settings, "span": 8, "evaluation_crop_size": 32})
    state = model_state(network_of(recipe, 3))
    Checkpoints(tmp_path / "checkpoints", state).save(5, {}, best=True)
    words = [f"--work_dir={tmp_path}", "--views=1x1"]
    result = command_runner.run("scripts/evaluate.py", *words)
    assert "has not finished. The weights are those of" in " ".join(result.stderr.split())
    summary = json.loads((tmp_path / "evaluation" / "best" / "validation_1x1.json").read_text())
    assert summary["weights"].endswith("checkpoints/best.npz") and summary["videos"] == 9


@pytest.mark.parametrize(
    ("command", "words", "named"),
    [
        ("evaluate", ["--model=a.keras"], "With --model give --data and --output too"),
        ("predict", ["--work_dir=b", "--start=3", "--end=2", "v.mp4"], "must be after --start"),
    ],
)
def test_flags_that_do_not_fit_together(command, words, named):
    result = command_runner.run(f"scripts/{command}.py", *words, status=1)
    assert named in result.error


CHOICES = {
    "--model=a.keras --work_dir=b": "Give either --work_dir",
    "": "Give either --work_dir",
    "--work_dir=b --span=8": "--span is for a --model",
    "--model=a.keras --weights=best": "--weights are those of a --work_dir",
    "--model=a.keras --mean=0.45": "--mean and --stddev belong together",
    "--model=a.keras --mean=116 --stddev=57": "--mean must be a number or three, of colours from",
    "--model=a.keras --mean=0.4,x,0.4 --stddev=1": "Received: --mean=0.4,x,0.4",
    "--model=a.keras --mean=0.4 --stddev=0": "--stddev must be above 0",
}


def test_choices_of_a_network_that_do_not_fit_together():
    program = (
        "import json, sys\nfrom absl import flags\nimport network_choice.clips\n"
        "for words in json.loads(sys.argv[1]):\n"
        "    flags.FLAGS.unparse_flags()\n"
        "    for name in flags.FLAGS: flags.FLAGS[name].unparse()\n"
        "    flags.FLAGS(['x', *words.split()])\n"
        "    try: network_choice.clips.opened()\n"
        "    except ValueError as error: print(error)\n"
    )
    variables = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'scripts'}"}
    said = command_runner.run("-c", program, json.dumps([*CHOICES]), variables=variables).stdout
    for line, message in zip(said.splitlines(), CHOICES.values(), strict=True):
        assert message in line
