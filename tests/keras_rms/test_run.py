"""A run as an object: what it leaves in its folder, and which folders it continues."""

import dataclasses
import json

import keras
import pytest
import small_dataset
import tensorflow as tf
from small_training import output, run, starts, training

from keras_rms.training.devices import Devices
from keras_rms.training.recipe import Recipe
from keras_rms.training.run_settings import deciding, settings_of
from keras_rms.training.running import Running
from keras_rms.training.training_data import TrainingData
from keras_rms.training.work_dir.work_folder import WorkFolder

DATA = TrainingData(
    ("a", "b"),
    num_videos=20,
    training=lambda step: None,
    settings={"crop_size": 32},
    free_settings={"data": "data"},
)


def test_settings_are_what_was_asked_for_and_what_became_of_it(tmp_path):
    devices = Devices(tf.distribute.get_strategy(), "tensorflow", "CPU", 1, 2, 4, onednn=True)
    recipe = Recipe(rms_stages=("res3",), batch_size=16).completed(20)
    settings = settings_of(recipe, Running(tmp_path, task=1), DATA, devices)
    assert settings == json.loads(json.dumps(settings))
    assert (
        settings
        | {
            "rms_stages": ["res3"],
            "steps_per_epoch": 2,
            "work_dir": str(tmp_path),
            "task": 1,
            "crop_size": 32,
            "data": "data",
            "class_names": ["a", "b"],
            "num_videos": 20,
            "num_replicas": 4,
            "num_workers": 2,
            "backend": "tensorflow",
            "onednn": True,
            "earlier": [],
        }
        == settings
    )
    assert settings["versions"]["keras"] == keras.__version__


def test_recipe_and_data_decide_and_the_way_it_is_carried_out_does_not():
    names = deciding(DATA)
    assert names == sorted(names)
    assert {field.name for field in dataclasses.fields(Recipe)} < set(names)
    assert {"crop_size", "class_names", "num_videos", "backend"} < set(names)
    assert not {field.name for field in dataclasses.fields(Running)} & set(names)
    assert "data" not in names


@pytest.mark.slow
def test_a_finished_run_is_left_alone_and_other_recipes_are_refused(tmp_path):
    each = training(tmp_path, epochs=1)
    assert run(each) == 0, output(each)
    folder = WorkFolder(tmp_path)
    kinds = [line["kind"] for line in small_dataset.read_lines(folder.lines)]
    assert kinds == ["train"] * 6 + ["epoch"]  # one step, and then two in a call
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    assert folder.model in written and folder.settings in written
    assert run(each) == 0
    assert f"The training in {tmp_path} is finished" in output(each)
    assert starts(each) == [0]
    assert run(training(tmp_path, epochs=1, seed=1, checkpoint_every=9)) == 1
    assert "holds a training with other settings: seed was 0 and is now 1." in output(each)
    written.pop(tmp_path / "output_0.txt")
    assert {path: path.stat().st_mtime_ns for path in written} == written


def test_one_class_is_refused():
    with pytest.raises(ValueError, match=r"two classes or more.*Received: class_names=..only"):
        dataclasses.replace(DATA, class_names=("only",))
