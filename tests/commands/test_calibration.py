"""Clips that give the ranges of integers, of `export --int8`."""

import command_runner
from paths import ROOT

# In a process of its own, since the flags are those of a command.
TAKEN_OR_REFUSED = """
from types import SimpleNamespace
import pytest
import tensorflow as tf
from network_choice import calibration

settings = {"num_frames": 2, "span": 8, "conversion": {"fps": 30}}
network = SimpleNamespace(settings=settings, check_classes=lambda *_: None)
converted = SimpleNamespace(data_dir="data", split="train", conversion={"fps": 25})
converted.class_names = ["a"]
calibration.open_split = lambda *_: converted
calibration.validation_dataset = lambda **_: tf.data.Dataset.range(9)
usual = (network, (2, 32, 32, 3), "data", 1)
for refusing in (None, False):
    with pytest.raises(ValueError, match="with --allow_other_conversion"):
        calibration.CalibrationClips(*usual, refusing)
calibration.CalibrationClips(*usual, True)
settings["allow_other_conversion"] = True
calibration.CalibrationClips(*usual)
with pytest.raises(ValueError, match="with --allow_other_conversion"):
    calibration.CalibrationClips(*usual, False)
"""


def test_clips_of_another_conversion_are_taken_where_that_is_allowed():
    scripts = f"import sys; sys.path.insert(0, {str(ROOT / 'scripts')!r})"
    command_runner.run("-c", scripts + TAKEN_OR_REFUSED)
