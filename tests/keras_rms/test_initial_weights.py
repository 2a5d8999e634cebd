"""Starting from other weights: all by name, a new head where the classes differ."""

import json
import shutil

import keras
import numpy as np
import pytest
from small_training import small_model

from keras_rms.models.network_record import add_record
from keras_rms.training.work_dir.checkpoints import Checkpoints, model_state
from keras_rms.training.work_dir.initial_weights import initialise_from

CLASSES = ["a", "b", "c"]


def model_of(classes, value=None, epsilon=1e-3):
    inputs = keras.Input((2, 4, 4, 3))
    x = keras.layers.Conv3D(4, 1, name="conv")(inputs)
    x = keras.layers.BatchNormalization(epsilon=epsilon, name="bn")(x)
    x = keras.layers.GlobalAveragePooling3D()(x)
    x = keras.layers.Dense(5, name="hidden")(x)
    model = keras.Model(inputs, keras.layers.Dense(classes, name="logits")(x))
    if value is not None:
        for i, weight in enumerate(model.weights):
            weight.assign(np.full(weight.shape, value + i, "float32"))
    return model


def values(model):
    return {weight.path: weight.numpy() for weight in model.weights}


def save(model, folder, kind):
    """A work folder with the model's weights as a finished network, or as its checkpoint."""
    folder.mkdir()
    if kind == "checkpoint":
        checkpoints = Checkpoints(folder / "checkpoints", model_state(model))
        for step in (1, 3):
            checkpoints.save(step, {})
    else:
        model.save(folder / "model.keras")
    (folder / "settings.json").write_text(json.dumps({"class_names": CLASSES}))
    return folder


@pytest.mark.parametrize("kind", ["finished", "checkpoint"])
def test_the_same_classes_take_every_weight(tmp_path, kind):
    source = model_of(3, value=10)
    model = model_of(3)
    assert initialise_from(model, save(source, tmp_path / "work", kind), "abc").new == []
    for name, value in values(source).items():
        np.testing.assert_array_equal(values(model)[name], value, err_msg=name)


@pytest.mark.parametrize("kind", ["finished", "checkpoint"])
def test_other_classes_get_a_new_head_and_keep_the_rest(tmp_path, kind):
    source = model_of(3, value=10)
    model = model_of(7)
    before = values(model)
    new = initialise_from(model, save(source, tmp_path / "work", kind)).new
    assert new == ["logits/kernel", "logits/bias"]
    for name, value in values(source).items():
        expected = before[name] if name in new else value
        np.testing.assert_array_equal(values(model)[name], expected, err_msg=name)


@pytest.mark.parametrize("kind", ["finished", "checkpoint"])
@pytest.mark.parametrize(
    ("names", "head", "kept", "why"),
    [
        (["a", "b", "c"], "auto", True, "its classes are the same"),
        (["a", "c", "b"], "auto", False, "its classes are others, or in another order"),
        (["a", "b", "d"], "auto", False, "its classes are others, or in another order"),
        (["a", "b", "d"], "keep", True, "as init_head says"),
        (["a", "b", "c"], "new", False, "as init_head says"),
        (None, "auto", True, "not known, but they are as many"),
    ],
)
def test_the_names_of_the_classes_decide_on_the_head(tmp_path, kind, names, head, kept, why):
    source, model = model_of(3, value=10), model_of(3)
    before = values(model)
    done = initialise_from(model, save(source, tmp_path / "work", kind), names, head)
    assert why in done.why and f"The head is {'kept' if kept else 'new'}" in done.why
    assert done.new == ([] if kept else ["logits/kernel", "logits/bias"])
    for name, value in values(source).items():
        expected = before[name] if name in done.new else value
        np.testing.assert_array_equal(values(model)[name], expected, err_msg=name)


def test_a_file_without_its_folder_has_classes_without_names(tmp_path):
    folder = save(model_of(3), tmp_path / "work", "finished")
    path = shutil.copy(folder / "model.keras", tmp_path / "copied.keras")
    for settings in (None, "no JSON", '{"epochs": 3}'):
        if settings:
            (tmp_path / "settings.json").write_text(settings)
        assert "not known" in initialise_from(model_of(3), path, ["x", "y", "z"]).why
    add_record(path, {"class_names": CLASSES})
    assert "are the same" in initialise_from(model_of(3), path, CLASSES).why
    assert "are others" in initialise_from(model_of(3), path, ["x", "y", "z"]).why


def test_a_head_of_another_size_cannot_be_kept(tmp_path):
    folder = save(model_of(3), tmp_path / "work", "finished")
    with pytest.raises(ValueError, match=r"another number of classes and cannot.*init_head='keep'"):
        initialise_from(model_of(7), folder, head="keep")
    with pytest.raises(ValueError, match="head='maybe'"):
        initialise_from(model_of(3), folder, head="maybe")


def test_a_file_can_be_named_itself(tmp_path):
    source = model_of(3, value=10)
    folder = save(source, tmp_path / "work", "checkpoint")
    Checkpoints(folder / "checkpoints", model_state(model_of(3, value=5))).save(9, {})
    model = model_of(3)
    initialise_from(model, folder / "checkpoints" / "step_0000000003.npz")
    assert values(model)["conv/kernel"].ravel()[0] == 10


def test_averaged_weights_are_taken_where_there_are_some(tmp_path):
    trained, averaged = model_of(3, value=10), model_of(3, value=20)
    averages = {
        f"average/{name}": keras.Variable(value)
        for name, value in values(averaged).items()
        if "moving" not in name
    }
    Checkpoints(tmp_path / "checkpoints", {**model_state(trained), **averages}).save(1, {})
    model = model_of(3)
    assert initialise_from(model, tmp_path).new == []
    for name, value in values(model).items():
        source = trained if "moving" in name else averaged
        np.testing.assert_array_equal(value, values(source)[name], err_msg=name)


def foreign(folder, name, content=b"not a network"):
    folder.mkdir()
    (folder / name).write_bytes(content)
    return folder / name


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (lambda folder: folder, "does not exist"),
        (lambda _: "SLOW_ONLY_50_kinetics400", "Near names: slow_only_50_kinetics400,"),
        (lambda folder: foreign(folder, "a.txt").parent, "neither model.keras nor checkpoints"),
        (lambda folder: foreign(folder, "a.pyth"), "read from .keras and .npz files"),
        (lambda folder: foreign(folder, "a.npz"), "a.npz could not be read"),
        (lambda folder: foreign(folder, "model.keras"), "model.keras could not be read"),
        (lambda folder: save(small_model(), folder, "finished"), "of another network: conv/k"),
        (
            lambda folder: save(small_model(), folder, "checkpoint"),
            "of another network: conv/k",
        ),
    ],
)
def test_what_cannot_be_loaded_is_named_and_changes_nothing(tmp_path, source, message):
    model = model_of(3)
    before = values(model)
    with pytest.raises(ValueError, match=message):
        initialise_from(model, source(tmp_path / "work"))
    for name, value in before.items():
        np.testing.assert_array_equal(values(model)[name], value)


def test_another_epsilon_is_said(tmp_path, recwarn):
    source = model_of(3, value=10)
    folder = save(source, tmp_path / "work", "finished")
    initialise_from(model_of(3), folder)
    assert not [w for w in recwarn if "differs" in str(w.message)]
    with pytest.warns(UserWarning, match=r"its epsilon of bn is 0\.001, that of .* 1e-05"):
        initialise_from(model_of(3, epsilon=1e-5), folder)
