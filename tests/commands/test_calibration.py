"""Clips that give the ranges of integers, of `export --int8`."""

from types import SimpleNamespace

import pytest
import tensorflow as tf
from network_choice import calibration


def test_clips_of_another_conversion_are_taken_where_that_is_allowed(monkeypatch):
    settings = {"num_frames": 2, "span": 8, "conversion": {"fps": 30}}
    network = SimpleNamespace(settings=settings, check_classes=lambda *_: None)
    converted = SimpleNamespace(data_dir="data", split="train", conversion={"fps": 25})
    converted.class_names = ["a"]
    monkeypatch.setattr(calibration, "open_split", lambda *_: converted)
    monkeypatch.setattr(calibration, "validation_dataset", lambda **_: tf.data.Dataset.range(9))
    usual = (network, (2, 32, 32, 3), "data", 1)
    for refusing in (None, False):
        with pytest.raises(ValueError, match="with --allow_other_conversion"):
            calibration.CalibrationClips(*usual, refusing)
    calibration.CalibrationClips(*usual, True)
    settings["allow_other_conversion"] = True
    calibration.CalibrationClips(*usual)
    with pytest.raises(ValueError, match="with --allow_other_conversion"):
        calibration.CalibrationClips(*usual, False)
