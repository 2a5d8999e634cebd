"""Opening a network: of a run at any stage, with either weights, and of a `.keras` file."""

import errno
import json
import zipfile
from unittest import mock

import keras
import numpy as np
import pytest

import keras_rms.models
from keras_rms.inference import open_file, open_run
from keras_rms.inference.trained_network import TrainedNetwork
from keras_rms.models.network_record import MEMBER, add_record, read_record
from keras_rms.training.networks import network_of
from keras_rms.training.recipe import Recipe
from keras_rms.training.work_dir import settings as work_settings
from keras_rms.training.work_dir.checkpoints import Checkpoints, model_state
from keras_rms.training.work_dir.whole_files import save_model

RECIPE = Recipe("slow_only_18", width=4, num_frames=2, epochs=3, steps_per_epoch=5)
NAMES = ["a", "b", "c"]
SETTINGS = {
    **vars(RECIPE),
    "class_names": NAMES,
    "data": "data",
    "span": 8,
    "evaluation_crop_size": 32,
    "conversion": {"fps": 25, "short_side": 36, "quality": 4},
}
CLIP = np.random.default_rng(0).integers(0, 256, (2, 2, 33, 46, 3)).astype("uint8")


def logits(model, clip=CLIP):
    return keras.ops.convert_to_numpy(model(clip, training=False))


def shaken(model, seed):
    """The model with random weights, statistics included."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        low = 0.5 if weight.path.endswith("variance") else -0.2
        weight.assign(random.uniform(low, low + 1, weight.shape) * 0.3)
    return model


@pytest.fixture(scope="module")
def network():
    return network_of(RECIPE, 3)


@pytest.fixture
def run(tmp_path, network):
    """A work folder without any weights, and what writes a checkpoint with those of a seed."""
    work_settings.write(tmp_path, SETTINGS)
    checkpoints = Checkpoints(tmp_path / "checkpoints", model_state(network))

    def save(seed, step, best=False):
        checkpoints.state = model_state(shaken(network, seed))
        checkpoints.save(step, {}, best)
        return logits(network)

    return tmp_path, save


@pytest.mark.slow
def test_of_an_unfinished_run_the_best_is_taken_or_else_the_newest(run):
    folder, save = run
    newest = save(1, 4)
    opened = open_run(folder)
    np.testing.assert_allclose(logits(opened.model), newest, rtol=1e-5)
    assert opened.notes == (
        f"The training in {folder} has not finished. The weights are those of "
        f"{folder}/checkpoints/step_0000000004.npz, after step 4 of 15.",
    )
    with pytest.raises(ValueError, match=r"has no best\.npz: .* Give --weights=last"):
        open_run(folder, "best")
    best = save(2, 5, best=True)
    newest = save(3, 9)
    assert np.abs(best - newest).max() > 1e-3
    for weights, expected, step in ((None, best, 5), ("best", best, 5), ("last", newest, 9)):
        opened = open_run(folder, weights)
        np.testing.assert_allclose(logits(opened.model), expected, rtol=1e-5)
        assert f"after step {step} of 15" in opened.notes[0]
        assert opened.class_names == NAMES


@pytest.mark.slow
def test_of_a_finished_run_the_last_is_taken_unless_the_best_is_wanted(run, network):
    folder, save = run
    best = save(2, 5, best=True)
    last = save(3, 9)
    save_model(network, folder / "model.keras")
    assert open_run(folder).notes == open_run(folder, "last").notes == ()
    np.testing.assert_allclose(logits(open_run(folder).model), last, rtol=1e-5)
    opened = open_run(folder, "best")
    np.testing.assert_allclose(logits(opened.model), best, rtol=1e-5)
    assert "has not finished" not in opened.notes[0] and opened.source.endswith("best.npz")


def test_averaged_weights_go_before_those_in_training(run, network):
    folder, save = run
    expected = save(1, 4)
    kernel = network.trainable_variables[0]
    average = keras.Variable(keras.ops.convert_to_numpy(kernel), trainable=False)
    kernel.assign(kernel.value + 1)
    state = model_state(network) | {f"average/{kernel.path}": average}
    Checkpoints(folder / "checkpoints", state).save(6, {})
    np.testing.assert_allclose(logits(open_run(folder, "last").model), expected, rtol=1e-5)


def test_what_a_run_cannot_be_opened_for(run, network, monkeypatch):
    folder, save = run
    with pytest.raises(ValueError, match=r"has no model.keras and no checkpoint"):
        open_run(folder)
    with pytest.raises(ValueError, match="`weights` must be one of"):
        open_run(folder, "newest")
    save(1, 4)
    work_settings.write(folder, SETTINGS | {"precise_bn_steps": 3})
    assert "precise_bn_steps" in open_run(folder).notes[0]
    work_settings.write(folder, SETTINGS | {"width": 8})
    with pytest.raises(ValueError, match=r"not of the network that settings.json describes"):
        open_run(folder)
    work_settings.write(folder, SETTINGS)
    (folder / "checkpoints" / "step_0000000004.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"step_0000000004\.npz is damaged"):
        open_run(folder)
    save_model(network, folder / "model.keras")
    work_settings.write(folder, SETTINGS | {"class_names": ["a", "b"]})
    with pytest.raises(ValueError, match=r"has 3 outputs but .* lists 2 classes"):
        open_run(folder)
    work_settings.write(folder, SETTINGS)
    with monkeypatch.context() as patch:
        full = OSError(errno.ENOSPC, "No space left on device")
        patch.setattr(keras.saving, "load_model", mock.Mock(side_effect=full))
        with pytest.raises(OSError, match=r"Make room to unpack .*model\.keras"):
            open_run(folder)
    kernel = network.layers[-1].kernel
    before = keras.ops.convert_to_numpy(kernel).copy()
    kernel.assign(np.full(before.shape, np.nan))
    save_model(network, folder / "model.keras")
    kernel.assign(before)
    for opened in (open_run, lambda place: open_file(place / "model.keras")):
        with pytest.raises(ValueError, match=r"not finite numbers, .*kernel for one"):
            opened(folder)
    (folder / "model.keras").write_text("no archive")
    with pytest.raises(ValueError, match=r"cannot be read as a Keras model .* delete it"):
        open_run(folder)


@pytest.mark.slow
def test_a_network_of_normalised_clips_of_one_size_takes_uint8_of_any(tmp_path):
    path = tmp_path / "net.keras"
    floats = keras_rms.models.build(
        "slow_only_18", num_classes=3, width=4, rms="mean", input_shape=(4, 32, 32, 3)
    )
    shaken(floats, 4).save(path)
    mean, stddev = [0.4, 0.45, 0.5], [0.2, 0.25, 0.3]
    add_record(path, {"span": 64, "normalization": {"mean": mean, "stddev": stddev}, "data": "x"})
    assert read_record(path).keys() == {"span", "normalization"}
    opened = open_file(path, evaluation_crop_size=48)
    assert opened.model.input_shape == (None, 4, None, None, 3)
    clip = np.random.default_rng(1).integers(0, 256, (1, 4, 32, 32, 3)).astype("uint8")
    normalised = ((clip / 255 - mean) / stddev).astype("float32")
    expected = logits(floats, normalised)
    np.testing.assert_allclose(logits(opened.model, clip), expected, rtol=1e-4, atol=1e-6)
    assert opened.settings["num_frames"] == 4 and opened.settings["evaluation_crop_size"] == 48
    assert logits(opened.model, np.zeros((1, 4, 48, 64, 3), "uint8")).shape == (1, 3)
    assert opened.class_names == ["class 0", "class 1", "class 2"]
    opened.check_classes(["x", "y", "z"], "data")
    with pytest.raises(ValueError, match=r"2 classes there, 3 in the network. Convert"):
        opened.check_classes(["x", "y"], "data")
    with pytest.raises(ValueError, match="`num_frames` must be the 4 that"):
        open_file(path, num_frames=8)
    with pytest.raises(ValueError, match="as many as the 3 outputs"):
        open_file(path, class_names=["a"])


def test_the_file_of_a_training_says_how_its_clips_are_made(tmp_path, network):
    path = tmp_path / "model.keras"
    save_model(shaken(network, 5), path, SETTINGS)
    opened = open_file(path)
    assert opened.class_names == NAMES
    assert {name: opened.settings[name] for name in ("num_frames", "span", "conversion")} == {
        name: SETTINGS[name] for name in ("num_frames", "span", "conversion")
    }
    np.testing.assert_allclose(logits(opened.model), logits(network), rtol=1e-5)
    with pytest.raises(ValueError, match="normalises them itself"):
        open_file(path, normalization={"mean": 0.45, "stddev": 0.225})


def test_what_a_file_cannot_be_opened_for(tmp_path):
    path = tmp_path / "net.keras"
    inputs = keras.Input((2, 32, 32, 3))
    pooled = keras.layers.GlobalAveragePooling3D()(inputs)
    keras.Model(inputs, keras.layers.Dense(2)(pooled)).save(path)
    with pytest.raises(ValueError, match=r"--mean=0.45 --stddev=0.225"):
        open_file(path, span=8)
    usual = {"mean": 0.45, "stddev": 0.225}
    with pytest.raises(ValueError, match=r"does not say its `span`. Give it: --span"):
        open_file(path, normalization=usual)
    assert open_file(path, normalization=usual, span=8).settings["evaluation_crop_size"] == 32
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(MEMBER, json.dumps([1])[:2])
    with pytest.raises(ValueError, match="damaged record of its clips"):
        open_file(path)
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(path)
    with pytest.raises(ValueError, match="must hold a network from RGB clips"):
        open_file(path, num_frames=1, span=1, evaluation_crop_size=8)
    path.write_text("no archive")
    with pytest.raises(ValueError, match="cannot be read as a Keras model"):
        open_file(path)


def test_other_classes_are_named(network):
    opened = TrainedNetwork(network, SETTINGS, "model.keras")
    opened.check_classes(NAMES, "data")
    with pytest.raises(ValueError, match=r"only in the data: d; only in the network: c. .*, data."):
        opened.check_classes(["a", "b", "d"], "other")
    # One that came by its name has no training data here.
    named = TrainedNetwork(network, {"class_names": NAMES}, "model.keras")
    with pytest.raises(
        ValueError, match=r"labels\.txt of the network's 3 .* \(keras_rms\.models\."
    ):
        named.check_classes(["a", "b"], "other")
