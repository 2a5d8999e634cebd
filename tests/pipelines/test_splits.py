"""Whether two splits were converted in the same way."""

import logging
import types

import pytest

from pipelines.input.splits import check_conversion

TRAINED_ON = {"fps": 25, "short_side": 256, "quality": 4}


def split(**conversion):
    return types.SimpleNamespace(data_dir="data", split="validation", conversion=conversion)


@pytest.mark.parametrize("own", [TRAINED_ON, {**TRAINED_ON, "fps": 25.0, "upscale": True}])
def test_the_same_conversion_is_fine_and_new_settings_are_unknown(own, caplog):
    check_conversion(split(**own), TRAINED_ON, "the training's")
    check_conversion(split(**own), {}, "the training's")
    assert not caplog.records


def test_another_conversion_is_refused_by_name_with_its_remedy():
    other = split(fps=5, short_side=None, quality=4)
    with pytest.raises(ValueError, match="data/validation was converted otherwise") as error:
        check_conversion(other, TRAINED_ON, "the training's")
    listed = "than the training's: fps is 5 and not 25; short_side is None and not 256. "
    assert listed in str(error.value) and "quality" not in str(error.value)
    assert "with --fps=25 --short_side=256, or" in str(error.value)
    with pytest.raises(ValueError, match="--short_side=0, or"):
        check_conversion(split(short_side=256), {"short_side": None}, "the training's")


def test_it_can_be_allowed_and_is_said(caplog):
    with caplog.at_level(logging.WARNING):
        check_conversion(split(fps=5), TRAINED_ON, "the training's", allowed=True)
    [record] = caplog.records
    assert "otherwise than the training's: fps is 5 and not 25." in record.message


def test_what_nobody_wrote_down_is_said(caplog):
    with caplog.at_level(logging.WARNING):
        check_conversion(split(), TRAINED_ON, "the training's")
    assert "data/validation does not say how it was converted" in caplog.text
