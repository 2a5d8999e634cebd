"""Checks of what a recipe says of augmentation. They make no layer, and so no variable."""

from typing import Any

from keras_rms.arguments import validate_not_negative
from keras_rms.augmentation.color_jitter import MAX_HUE
from keras_rms.augmentation.rand_augment import MAX_MAGNITUDE


def validate_color_jitter(name: str, value: Any) -> None:
    """Raises a `ValueError` unless `value` is empty or `augmented` takes it as `color_jitter`."""
    _validate_numbers(name, value)
    if len(value) not in (0, 1, 3, 4) or (len(value) == 4 and value[3] > MAX_HUE):
        raise ValueError(
            f"`{name}` must be one strength for brightness, contrast and saturation, or three, or "
            f"these and the largest turn of the hue, at most {MAX_HUE}. Received: {name}={value!r}"
        )


def validate_rand_augment(name: str, value: Any) -> None:
    """Raises a `ValueError` unless `value` is empty or `augmented` takes it as `rand_augment`."""
    _validate_numbers(name, value)
    if value and (len(value) != 2 or value[0] != max(int(value[0]), 1) or value[1] > MAX_MAGNITUDE):
        raise ValueError(
            f"`{name}` must be a whole number of changes and their magnitude of 0 to "
            f"{MAX_MAGNITUDE}, as in (2, 9). Received: {name}={value!r}"
        )


def _validate_numbers(name: str, value: Any) -> None:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"`{name}` must be a tuple of numbers. Received: {name}={value!r}")
    for number in value:
        validate_not_negative(name, number)
