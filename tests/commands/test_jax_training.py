"""Training on one device of the JAX backend: what TensorFlow does, with the same loop."""

import importlib.util
import os
import re

import command_runner
import few_blocks
import keras
import numpy as np
import pytest
import small_dataset
import small_training
import tensorflow as tf
import video_files
from small_training import training

from keras_rms.inference.view_scores import ViewScorer
from keras_rms.training.loop.validation import validate
from keras_rms.training.work_dir import checkpoints
from pipelines.input import evaluation_dataset

pytestmark = [
    pytest.mark.slow(10),
    pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="compares with TensorFlow"),
    pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs JAX"),
]


def start_on_jax(*words, before=None):
    folders = [str(command_runner.ROOT / "tests" / "support"), os.environ.get("PYTHONPATH", "")]
    variables = {
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join(filter(None, folders)),
    }
    return command_runner.start(None, *words, variables=variables, before=before)


def finish(command):
    assert command.status(500) == 0, command.stderr
    return command.stdout


def logged(folder):
    lines = small_dataset.read_lines(folder / "log.jsonl")
    return [(line["step"], line["top1"]) for line in lines], [line["loss"] for line in lines]


def test_a_killed_training_on_jax_has_tensorflow_s_losses_and_weights(tmp_path):
    common = {"rms": "none", "average_decay": 0.9, "accumulation": 2, "mixing": "cutmix"}
    common |= {"clip_norm": 0.5, "steps_per_call": 1, "checkpoint_every": 1}
    expected = training(tmp_path / "tensorflow", **common)
    assert small_training.run(expected) == 0, small_training.output(expected)
    folder = tmp_path / "jax"
    program = "import small_training as s; s.train(s.training({!r}, **{!r}))"
    killed = start_on_jax("-c", program.format(str(folder), {**common, "step_seconds": 0.05}))
    killed.wait_for(lambda: len(list(folder.glob("checkpoints/step_*"))) >= 3)
    killed.end()
    continued = finish(start_on_jax("-c", program.format(str(folder), common)))
    assert int(re.search(r"; step (\d+) of 30;", continued)[1]) > 0
    (places, losses), (their_places, their_losses) = (
        logged(each) for each in (folder, tmp_path / "tensorflow")
    )
    assert places == their_places and len(places) == 33
    np.testing.assert_allclose(losses, their_losses, rtol=1e-5)
    state = small_training.final(training(folder))
    for name, value in small_training.final(expected).items():
        np.testing.assert_allclose(state[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


def test_the_command_trains_random_layers_and_the_network_moves_to_tensorflow(tmp_path):
    data, folder = tmp_path / "data", tmp_path / "run"
    small_dataset.make_dataset(data)
    flags = [f"--data={data}", f"--work_dir={folder}", *command_runner.SMALL_TRAINING]
    refused = start_on_jax("scripts/train.py", *flags, "--precise_bn_steps=1")
    random_layers = ["--residual_drop=shake_drop", "--color_jitter=0.4", "--random_erasing=0.5"]
    words = ["scripts/train.py", *flags, *random_layers]
    output = finish(start_on_jax(*words, before=few_blocks.install))  # less to compile
    assert "1 replica(s) on CPU; step 0 of 3" in output
    videos = evaluation_dataset(
        str(data), "validation", batch_size=3, num_frames=2, span=8, crop_size=round(32 * 256 / 224)
    )
    network = keras.saving.load_model(folder / "model.keras")
    epoch = small_dataset.read_lines(folder / "log.jsonl")[-1]
    for name, value in validate(ViewScorer(network), videos, tf.distribute.get_strategy()).items():
        assert value == pytest.approx(epoch[name], rel=1e-4), name
    video = video_files.write_numbered(tmp_path / "video.mp4", 12)
    words = ["scripts/predict.py", f"--work_dir={folder}", f"--json={tmp_path}/on_jax.json", video]
    finish(start_on_jax(*words))
    predicted = small_dataset.read_lines(tmp_path / "on_jax.json")[0]["classes"]
    on_tensorflow = command_runner.start(
        tmp_path / "predict", *words[:2], f"--json={tmp_path}/tf.json", video
    )
    assert on_tensorflow.status() == 0, on_tensorflow.stderr
    expected = small_dataset.read_lines(tmp_path / "tf.json")[0]["classes"]
    assert [row["class"] for row in predicted] == [row["class"] for row in expected]
    for row, other in zip(predicted, expected):
        assert row["probability"] == pytest.approx(other["probability"], rel=1e-3)
    state = checkpoints.read(folder / "checkpoints" / "step_0000000003.npz")
    drawn = [value for key, value in state.items() if key.startswith("random/")]
    # Each random layer drew once or twice in each of three steps.
    assert {int(counter[1]) for counter in drawn} <= {3, 6} and len(drawn) > 8
    settings = (folder / "settings.json").read_text()
    assert '"backend": "jax"' in settings and '"jax": "' in settings
    assert refused.status() == 1 and "needs KERAS_BACKEND=tensorflow" in refused.error
