"""Low-pass filters: the mean and the Gaussian over a local window (paper, eq. 1)."""

import math
import sys
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
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
    return Smoothing(kernel_size, None, border, data_format).smooth(inputs)


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
    return Smoothing(kernel_size, stddev, border, data_format).smooth(inputs)


class Smoothing:
    """A separable low-pass filter, in the formulation that is fastest where it runs.

    Where a compiler fuses operations (JAX, or XLA under TensorFlow) it is a sum of shifted tensors
    along each axis; elsewhere under TensorFlow a pooling or a depthwise convolution with a
    gradient of its own; under PyTorch a product with a banded matrix along each axis.
    """

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

    def smooth(self, inputs: Any) -> Any:
        """The smoothed tensor."""
        inputs = ops.convert_to_tensor(inputs)
        self.sizes(len(inputs.shape))
        validate_floating(inputs)
        return self.blend(inputs, 0, 1)

    def blend(self, x: Any, gain: Any, change: Any) -> Any:
        """`gain * x + change * smooth(x)`.

        Args:
            x: Floating tensor.
            gain: Number, or tensor of the type of `x` in a shape that spreads over it.
            change: Likewise. No gradient flows into either.
        """
        if keras.backend.backend() == "torch":
            return _sum(x, gain, self._by_matrices(x), change)
        # TensorFlow has no pooling of float16 on a CPU outside of XLA.
        if _is_fused() or keras.backend.standardize_dtype(x.dtype) == "float16":
            return _sum(x, gain, self._by_shifts(x), change)
        return self._by_kernels(x, gain, change)

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

    def _axes(self, x: Any) -> list[tuple[int, list[float]]]:
        """The filtered axes of x, each with its weights."""
        first = 1 if self.data_format == "channels_last" else 2
        sizes = self.sizes(len(x.shape))
        return [(axis, self.weights(size)) for axis, size in enumerate(sizes, first) if size > 1]

    def _by_shifts(self, x: Any) -> Any:
        for axis, weights in self._axes(x):
            total = _weighted_sum_of_shifts(x, axis, weights)
            if self.border == "renormalize":
                total = total * (1 / _weight_inside(x, axis, weights))
            x = total
        return x

    def _by_matrices(self, x: Any) -> Any:
        for axis, weights in self._axes(x):
            matrix = _banded_matrix(x, axis, weights)
            if self.border == "renormalize":
                matrix = matrix / ops.sum(matrix, axis=1, keepdims=True)
            x = _matmul_along(x, axis, matrix)
        return x

    def _by_kernels(self, x: Any, gain: Any, change: Any) -> Any:
        """One kernel for several axes at once, and the same kernel again for the gradient.

        With B the filter that takes zeros beyond the border and D the weights that lie inside,
        renormalising is D^-1 B, and its gradient B D^-1, since B is symmetric. The pooling computes
        D^-1 B and the convolution B.
        """
        pooled = self.stddev is None
        kernel = self._mean_kernel if pooled else self._gaussian_kernel
        inside = 1
        for axis, weights in self._axes(x):
            inside = inside * _weight_inside(x, axis, weights)
        if self.border == "zeros":
            before_back, after = 1, inside if pooled else 1
            after_back = after
        else:
            before_back = 1 / inside
            after, after_back = (1, inside) if pooled else (1 / inside, 1)

        @ops.custom_gradient
        def blended(x: Any) -> Any:
            def gradient(upstream: Any) -> Any:
                smoothed = kernel(_times(upstream, before_back))
                return _sum(upstream, gain, _times(smoothed, after_back), change)

            return _sum(x, gain, _times(kernel(x), after), change), gradient

        return blended(x)

    def _mean_kernel(self, x: Any) -> Any:
        return ops.average_pool(x, self.sizes(len(x.shape)), 1, "same", self.data_format)

    def _gaussian_kernel(self, x: Any) -> Any:
        axes = self._axes(x)
        rank = len(x.shape)
        if rank > 3 and self.data_format == "channels_last":
            x = self._depthwise(x)
            axes = [(axis, weights) for axis, weights in axes if axis < rank - 3]
        for axis, weights in axes:
            x = _matmul_along(x, axis, _banded_matrix(x, axis, weights))
        return x

    def _depthwise(self, x: Any) -> Any:
        """The filter over height and width, the last two axes before the channels."""
        shape = ops.shape(x)
        rows, columns = (self.weights(size) for size in self.sizes(len(x.shape))[-2:])
        kernel = np.outer(rows, columns).astype("float64")[..., None, None]
        kernel = ops.broadcast_to(ops.cast(kernel, x.dtype), (*kernel.shape[:2], shape[-1], 1))
        images = ops.reshape(x, (-1, *shape[-3:]))
        images = ops.depthwise_conv(images, kernel, 1, "same", "channels_last")
        return ops.reshape(images, shape)


def _is_fused() -> bool:
    """Whether a compiler makes one pass over the memory of many small operations."""
    if keras.backend.backend() != "tensorflow":
        return True
    # Keras has imported TensorFlow: this package itself does without.
    return sys.modules["tensorflow"].__internal__.get_enclosing_xla_context() is not None


def _times(x: Any, factor: Any) -> Any:
    return x if isinstance(factor, int) and factor == 1 else x * factor


def _sum(x: Any, gain: Any, smoothed: Any, change: Any) -> Any:
    scaled = _times(smoothed, change)
    return scaled if isinstance(gain, int) and gain == 0 else _times(x, gain) + scaled


def _weighted_sum_of_shifts(x: Any, axis: int, weights: list[float]) -> Any:
    radius = len(weights) // 2
    rank = len(x.shape)
    padded = ops.pad(x, [[radius, radius] if i == axis else [0, 0] for i in range(rank)])
    total = None
    for offset, weight in enumerate(weights):
        window = slice(offset, offset - 2 * radius or None)
        shifted = padded[tuple(window if i == axis else slice(None) for i in range(rank))]
        total = shifted * weight if total is None else total + shifted * weight
    return total


def _banded_matrix(x: Any, axis: int, weights: list[float]) -> Any:
    """The filter along one axis as a matrix, zeros beyond the border; sizes may be unknown."""
    position = ops.arange(ops.shape(x)[axis], dtype="int32")
    distance = ops.abs(position[:, None] - position[None, :])
    radius = len(weights) // 2
    by_distance = ops.convert_to_tensor([*weights[radius:], 0.0], dtype=_at_least_float32(x))
    return ops.take(by_distance, ops.minimum(distance, radius + 1), axis=0)


def _weight_inside(x: Any, axis: int, weights: list[float]) -> Any:
    """For each position along the axis the weight of its neighbours that exist, spread over x."""
    inside = ops.sum(_banded_matrix(x, axis, weights), axis=1)
    shape = [-1 if i == axis else 1 for i in range(len(x.shape))]
    return ops.cast(ops.reshape(inside, shape), x.dtype)


def _matmul_along(x: Any, axis: int, matrix: Any) -> Any:
    shape = ops.shape(x)
    rows = ops.reshape(x, (-1, shape[axis], math.prod(shape[axis + 1 :])))
    return ops.reshape(ops.matmul(ops.cast(matrix, x.dtype), rows), shape)


def _at_least_float32(x: Any) -> str:
    return "float64" if keras.backend.standardize_dtype(x.dtype) == "float64" else "float32"


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


def validate_finite(name: str, value: Any) -> None:
    """Raises a `ValueError` unless `value` is a finite number."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value):
        raise ValueError(f"`{name}` should be a finite number. Received: {name}={value!r}")


def validate_smoothing(smoothing: Any, smoothing_stddev: Any) -> None:
    """Raises a `ValueError` unless both are valid for a layer."""
    validate_choice("smoothing", smoothing, ("mean", "gaussian"))
    validate_positive("smoothing_stddev", smoothing_stddev)


def validate_floating(inputs: Any) -> None:
    """Raises a `ValueError` unless `inputs` has a floating type."""
    if not keras.backend.is_float_dtype(inputs.dtype):
        raise ValueError(
            "`inputs` should have a floating type. "
            f"Received: dtype={keras.backend.standardize_dtype(inputs.dtype)!r}"
        )
