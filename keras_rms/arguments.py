"""Checks of the layers' arguments: each raises a `ValueError` that names what it received."""

import math
import numbers
from typing import Any

import keras


def validate_choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """Returns `value`, or raises a `ValueError` unless it is one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"`{name}` must be one of {choices}. Received: {name}={value!r}")
    return value


def validate_positive(name: str, value: Any) -> None:
    """Raises a `ValueError` unless `value` is a positive finite number."""
    if not _is_number(value) or not 0 < value < math.inf:
        raise ValueError(f"`{name}` must be a positive number. Received: {name}={value!r}")


def standardize_kernel_size(kernel_size: Any) -> int | tuple[int, ...]:
    """An odd positive integer or a tuple of one to three of them, else a `ValueError`."""
    single = isinstance(kernel_size, numbers.Integral)
    sizes = [kernel_size] if single else kernel_size
    valid = isinstance(sizes, (list, tuple)) and 1 <= len(sizes) <= 3
    if not valid or not all(_is_odd_positive(size) for size in sizes):
        raise ValueError(
            "`kernel_size` must be an odd positive integer, or one per dimension. "
            f"Received: kernel_size={kernel_size!r}"
        )
    return int(kernel_size) if single else tuple(map(int, sizes))


def _is_odd_positive(size: Any) -> bool:
    is_integer = isinstance(size, numbers.Integral) and not isinstance(size, bool)
    return is_integer and size > 0 and size % 2 == 1


def _is_number(value: Any) -> bool:
    # NumPy's scalars are numbers too.
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def standardize_data_format(data_format: str | None) -> str:
    """`data_format`, or Keras's own where it is `None`; else a `ValueError`."""
    if data_format is None:
        return keras.config.image_data_format()
    return validate_choice("data_format", data_format, ("channels_last", "channels_first"))


def validate_finite(name: str, value: Any) -> None:
    """Raises a `ValueError` unless `value` is a finite number."""
    if not _is_number(value) or not math.isfinite(value):
        raise ValueError(f"`{name}` must be a finite number. Received: {name}={value!r}")


def validate_smoothing(smoothing: Any, smoothing_stddev: Any) -> None:
    """Raises a `ValueError` unless both are valid for a layer."""
    validate_choice("smoothing", smoothing, ("mean", "gaussian"))
    validate_positive("smoothing_stddev", smoothing_stddev)


def validate_floating(inputs: Any) -> None:
    """Raises a `ValueError` unless `inputs` has a floating type."""
    if not keras.backend.is_float_dtype(inputs.dtype):
        raise ValueError(
            "`inputs` must have a floating type. "
            f"Received: dtype={keras.backend.standardize_dtype(inputs.dtype)!r}"
        )


def validate_rate(name: str, value: Any) -> None:
    """Raises a `ValueError` unless `value` is a share that may be dropped."""
    if not _is_number(value) or not 0 <= value < 1:
        raise ValueError(f"`{name}` must be a number in [0, 1). Received: {name}={value!r}")


def validate_probability(name: str, value: Any) -> None:
    """Raises a `ValueError` unless `value` is a number in [0, 1]."""
    if not _is_number(value) or not 0 <= value <= 1:
        raise ValueError(f"`{name}` must be a number in [0, 1]. Received: {name}={value!r}")


def validate_not_negative(name: str, value: Any) -> None:
    """Raises a `ValueError` unless `value` is a finite number of 0 or more."""
    if not _is_number(value) or not 0 <= value < math.inf:
        raise ValueError(f"`{name}` must be a number of 0 or more. Received: {name}={value!r}")


def validate_count(name: str, value: Any) -> None:
    """Raises a `ValueError` unless `value` is an integer of 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"`{name}` must be an integer of 0 or more. Received: {name}={value!r}")


def positive_integer(name: str, value: Any) -> int:
    """The value, or a ValueError that names the argument."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"`{name}` must be a positive integer. Received: {name}={value!r}")
    return value


def validate_positions(input_shape: tuple[int | None, ...]) -> None:
    """Raises a `ValueError` unless there is an axis between the batch and the channels."""
    if len(input_shape) < 3:
        raise ValueError(
            "The input must have a batch axis, one axis of positions or more, and channels. "
            f"Received: {input_shape=}"
        )
