"""Low-pass filters: the mean and the Gaussian over a local window (paper, eq. 1)."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


def local_mean(
    inputs: Any,
    kernel_size: int | Sequence[int] = 3,
    border: str = "renormalize",
    data_format: str | None = None,
) -> Any:
    """The mean over the window around each position (paper, eq. 1 with `w_j = 1 / |W_i|`).

    Example:

    >>> keras.ops.squeeze(keras_rms.local_mean(np.array([[[3.0], [6.0], [0.0]]])))
    array([4.5, 3.0, 3.0], dtype=float32)

    Args:
        inputs: Floating tensor of shape `(batch, *space, channels)` or, channels first,
            `(batch, channels, *space)`, with one to three dimensions of space and time.
        kernel_size: Odd integer, or one per dimension: the window's size.
        border: `"renormalize"`: the mean over the neighbours that exist, so that a constant stays
            constant up to the border; `"zeros"`: neighbours outside count as zeros.
        data_format: `"channels_last"`, `"channels_first"`, or `None` for Keras's setting.

    Returns:
        A tensor of the shape and type of `inputs`.

    Raises:
        ValueError: If an argument is not one of the above.
    """
    return Smoothing(kernel_size, None, border, data_format)(inputs)


def gaussian_smooth(
    inputs: Any,
    kernel_size: int | Sequence[int] = 3,
    stddev: float = 0.4,
    border: str = "renormalize",
    data_format: str | None = None,
) -> Any:
    """The Gaussian mean over the window around each position.

    The weights are proportional to `exp(-|j - i|^2 / (2 stddev^2))`; they sum to 1 over the window.

    Example:

    >>> smoothed = keras_rms.gaussian_smooth(np.ones((1, 5, 5, 2), "float32"), stddev=1.0)

    Args:
        inputs: Floating tensor of shape `(batch, *space, channels)` or, channels first,
            `(batch, channels, *space)`, with one to three dimensions of space and time.
        kernel_size: Odd integer, or one per dimension: the window's size.
        stddev: Positive number, the Gaussian's standard deviation in positions.
        border: `"renormalize"`: the weights of the neighbours that exist sum to 1, so that a
            constant stays constant up to the border; `"zeros"`: neighbours outside count as zeros.
        data_format: `"channels_last"`, `"channels_first"`, or `None` for Keras's setting.

    Returns:
        A tensor of the shape and type of `inputs`.

    Raises:
        ValueError: If an argument is not one of the above.
    """
    validate_positive("stddev", stddev)
    return Smoothing(kernel_size, stddev, border, data_format)(inputs)


class Smoothing:
    """A separable filter with its arguments validated once: a function from tensor to tensor."""

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        stddev: float | None,
        border: str,
        data_format: str | None,
    ) -> None:
        self.kernel_size = standardize_kernel_size(kernel_size)
        self.stddev = stddev
        self.border = validate_choice("border", border, ("renormalize", "zeros"))
        self.data_format = standardize_data_format(data_format)

    def __call__(self, inputs: Any) -> Any:
        inputs = ops.convert_to_tensor(inputs)
        rank = len(inputs.shape)
        first = 1 if self.data_format == "channels_last" else 2
        for axis, size in enumerate(self.sizes(rank), first):
            inputs = _filter_axis(inputs, axis, self.weights(size), self.border)
        return inputs

    def sizes(self, rank: int) -> tuple[int, ...]:
        """The window's size in each of the dimensions of a tensor of this rank."""
        if not 3 <= rank <= 5:
            raise ValueError(
                "`inputs` should have rank 3, 4 or 5: batch, one to three dimensions of space and "
                f"time, channels. Received: rank={rank}"
            )
        if isinstance(self.kernel_size, int):
            return (self.kernel_size,) * (rank - 2)
        if len(self.kernel_size) != rank - 2:
            raise ValueError(
                f"`kernel_size` should be an integer or have one per dimension, {rank - 2} for "
                f"inputs of rank {rank}. Received: kernel_size={self.kernel_size}"
            )
        return self.kernel_size

    def weights(self, size: int) -> list[float]:
        """The weights along one dimension; those of the window are their products."""
        if self.stddev is None:
            return [1 / size] * size
        radius = size // 2
        weights = [math.exp(-(d**2) / (2 * self.stddev**2)) for d in range(-radius, radius + 1)]
        return [weight / sum(weights) for weight in weights]


def _filter_axis(x: Any, axis: int, weights: list[float], border: str) -> Any:
    if len(weights) == 1:
        return x
    smoothed = _weighted_sum_of_shifts(x, axis, weights)
    if border == "zeros":
        return smoothed
    line = ops.ones_like(x[tuple(slice(None) if i == axis else 0 for i in range(len(x.shape)))])
    weight_inside = _weighted_sum_of_shifts(line, 0, weights)
    shape = [-1 if i == axis else 1 for i in range(len(x.shape))]
    return smoothed / ops.reshape(weight_inside, shape)


def _weighted_sum_of_shifts(x: Any, axis: int, weights: list[float]) -> Any:
    radius = len(weights) // 2
    rank = len(x.shape)
    padded = ops.pad(x, [[radius, radius] if i == axis else [0, 0] for i in range(rank)])
    total = None
    for offset, weight in enumerate(weights):
        stop = offset - 2 * radius or None
        window = slice(offset, stop)
        shifted = padded[tuple(window if i == axis else slice(None) for i in range(rank))]
        total = shifted * weight if total is None else total + shifted * weight
    return total


def validate_choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """Returns `value`, or raises a `ValueError` unless it is one of `choices`."""
    if value not in choices:
        raise ValueError(f"`{name}` should be one of {choices}. Received: {name}={value!r}")
    return value


def validate_positive(name: str, value: Any) -> None:
    """Raises a `ValueError` unless `value` is a positive finite number."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 0 < value < math.inf:
        raise ValueError(f"`{name}` should be a positive number. Received: {name}={value!r}")


def standardize_kernel_size(kernel_size: Any) -> int | tuple[int, ...]:
    """An odd positive integer or a tuple of one to three of them, else a `ValueError`."""
    single = isinstance(kernel_size, int)
    sizes = [kernel_size] if single else kernel_size
    valid = isinstance(sizes, (list, tuple)) and 1 <= len(sizes) <= 3
    if not valid or not all(_is_odd_positive(size) for size in sizes):
        raise ValueError(
            "`kernel_size` should be an odd positive integer, or one per dimension. "
            f"Received: kernel_size={kernel_size!r}"
        )
    return kernel_size if single else tuple(sizes)


def _is_odd_positive(size: Any) -> bool:
    return isinstance(size, int) and not isinstance(size, bool) and size > 0 and size % 2 == 1


def standardize_data_format(data_format: str | None) -> str:
    """`data_format`, or Keras's own where it is `None`; else a `ValueError`."""
    if data_format is None:
        return keras.config.image_data_format()
    return validate_choice("data_format", data_format, ("channels_last", "channels_first"))
