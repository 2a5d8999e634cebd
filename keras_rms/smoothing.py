"""Low-pass filters: the mean and the Gaussian over a local window (paper, eq. 1).

Words:
    window   the positions around one, as 3x3x3 of time, height and width
    border   the positions whose window is not whole; "renormalize" divides by the weights of the
             neighbours that exist, "zeros" counts the others as zeros
    axis     one dimension of time or space
    blend    `gain * x + change * smooth(x)`, which is all that the layers need

Both filters are separable: the window's weights are products of weights along each axis. So three
passes along the axes give what one over the whole window would, with 9 instead of 27 products.
Along one axis the filter is a banded matrix, with the weights around the diagonal. Its gradient is
the product with the transposed matrix, so backwards the same steps are taken in reverse order, and
nothing has to be kept from the forward pass. TensorFlow is told so; JAX and PyTorch find it.

There are two formulations, because the time goes into passes over the memory and not into sums. A
compiler that fuses operations (JAX; XLA under TensorFlow) makes one pass of a sum of shifted
tensors. Where nothing fuses, a depthwise convolution over space and a product with the matrix over
time take the fewest passes.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_rms.arguments import (
    standardize_data_format,
    standardize_kernel_size,
    validate_choice,
    validate_floating,
    validate_positive,
)
from keras_rms.compilation import is_compiled_by_xla


def local_mean(
    inputs: Any,
    kernel_size: int | Sequence[int] = 3,
    border: str = "renormalize",
    data_format: str | None = None,
) -> Any:
    """The mean over the window around each position (paper, eq. 1 with `w_j = 1 / |W_i|`).

    Example:

    >>> smoothed = keras_rms.local_mean(np.array([[[3.0], [6.0], [0.0]]], "float32"))
    >>> keras.ops.convert_to_numpy(smoothed).ravel().round(2).tolist()
    [4.5, 3.0, 3.0]

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

    >>> keras_rms.gaussian_smooth(np.ones((1, 5, 5, 2), "float32"), stddev=1.0).shape
    (1, 5, 5, 2)

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
    along each axis. Elsewhere it is a depthwise convolution over space and a product with a banded
    matrix over time (TensorFlow), or such products along all axes (PyTorch).
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
        self._renormalizes = border == "renormalize"

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
            change: Likewise. Both without a gradient of their own.
        """
        # Keras multiplies matrices of float64 in float32 on PyTorch.
        by_shifts = is_compiled_by_xla() or keras.backend.standardize_dtype(x.dtype) == "float64"
        formulation = self._by_shifts if by_shifts else self._by_kernels
        scaled, transposed = formulation(x, change)
        # PyTorch's own gradient costs the same, JAX's a fifth more, and JAX's custom gradients know
        # neither forward mode nor what they close over inside of `scan`, `cond` or `checkpoint`.
        if keras.backend.backend() != "tensorflow":
            return _with_share(x, gain, scaled(x))

        # TensorFlow's own gradient is slower than the same steps backwards.
        @ops.custom_gradient
        def blended(x: Any) -> Any:
            def gradient(upstream: Any) -> Any:
                return _with_share(upstream, gain, transposed(upstream))

            return _with_share(x, gain, scaled(x)), gradient

        return blended(x)

    def sizes(self, rank: int) -> tuple[int, ...]:
        """The window's size in each of the dimensions of a tensor of this rank."""
        if not 3 <= rank <= 5:
            raise ValueError(
                "`inputs` must have rank 3, 4 or 5: batch, one to three dimensions of space and "
                f"time, channels. Received: rank={rank}"
            )
        if isinstance(self.kernel_size, int):
            return (self.kernel_size,) * (rank - 2)
        if len(self.kernel_size) != rank - 2:
            raise ValueError(
                f"`kernel_size` must be an integer or have one per dimension, {rank - 2} for "
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

    def _by_shifts(self, x: Any, change: Any) -> tuple[Callable, Callable]:
        """`change * smooth(x)` and its transpose, as sums of shifted tensors along each axis."""
        steps = []
        for axis, weights in self._axes(x):
            # Weights relative to the centre's: the centre itself then takes no product.
            scale = center = weights[len(weights) // 2]
            if self._renormalizes:
                scale = _over_weight_inside(center, x, axis, weights)
            steps.append((axis, [weight / center for weight in weights], scale))

        def scaled(x: Any) -> Any:
            for axis, ratios, scale in steps:
                x = _times(_sum_of_shifts(x, axis, ratios), scale)
            return _times(x, change)

        def transposed(x: Any) -> Any:
            for axis, ratios, scale in reversed(steps):
                x = _sum_of_shifts(_times(x, scale), axis, ratios)
            return _times(x, change)

        return scaled, transposed

    def _by_kernels(self, x: Any, change: Any) -> tuple[Callable, Callable]:
        """The same, as a depthwise convolution over space and a product with a matrix over time.

        The matrix takes `change` along, where one number serves a whole sample: that saves a pass
        over the memory. Without a depthwise convolution there is a product for each axis.
        """
        convolved = (
            len(x.shape) > 3
            and self.data_format == "channels_last"
            and keras.backend.backend() == "tensorflow"
        )
        first_convolved = len(x.shape) - 3 if convolved else len(x.shape)
        scale, matrices = 1, []
        for axis, weights in self._axes(x):
            if axis < first_convolved:
                matrices.append((axis, self._matrix(x, axis, weights)))
            elif self._renormalizes:
                scale = scale * _over_weight_inside(1, x, axis, weights)
        if matrices and _is_one_per_sample(change):
            axis, matrix = matrices[0]
            matrices[0] = axis, matrix * _as_matrices(change)
        else:
            scale = scale * change

        def scaled(x: Any) -> Any:
            x = self._depthwise(x) if convolved else x
            for axis, matrix in matrices:
                x = _matmul_along(x, axis, matrix)
            return _times(x, scale)

        def transposed(x: Any) -> Any:
            for axis, matrix in reversed(matrices):
                x = _matmul_along(x, axis, ops.swapaxes(matrix, -1, -2))
            x = _times(x, scale)
            return self._depthwise(x) if convolved else x

        return scaled, transposed

    def _matrix(self, x: Any, axis: int, weights: list[float]) -> Any:
        matrix = _banded_matrix(x, axis, weights)
        if self._renormalizes:
            matrix = matrix / ops.sum(matrix, axis=1, keepdims=True)
        return ops.cast(matrix, x.dtype)

    def _depthwise(self, x: Any) -> Any:
        """The filter over height and width, the last two axes before the channels."""
        shape = ops.shape(x)
        rows, columns = (self.weights(size) for size in self.sizes(len(x.shape))[-2:])
        kernel = np.outer(rows, columns).astype("float64")[..., None, None]
        kernel = ops.broadcast_to(ops.cast(kernel, x.dtype), (*kernel.shape[:2], shape[-1], 1))
        images = ops.reshape(x, (-1, *shape[-3:]))
        images = ops.depthwise_conv(images, kernel, 1, "same", "channels_last")
        return ops.reshape(images, shape)


def _times(x: Any, factor: Any) -> Any:
    return x if isinstance(factor, int) and factor == 1 else x * factor


def _with_share(x: Any, gain: Any, smoothed: Any) -> Any:
    return smoothed if isinstance(gain, int) and gain == 0 else _times(x, gain) + smoothed


def _is_one_per_sample(change: Any) -> bool:
    return all(size == 1 for size in getattr(change, "shape", ())[1:])


def _as_matrices(change: Any) -> Any:
    return ops.reshape(change, (-1, 1, 1, 1)) if hasattr(change, "shape") else change


def _sum_of_shifts(x: Any, axis: int, ratios: list[float]) -> Any:
    """The neighbours along an axis, each times its weight's ratio to the centre's."""
    radius = len(ratios) // 2
    rank = len(x.shape)
    padded = ops.pad(x, [[radius, radius] if i == axis else [0, 0] for i in range(rank)])

    def shifted(offset: int) -> Any:
        window = slice(offset, offset - 2 * radius or None)
        return padded[tuple(window if i == axis else slice(None) for i in range(rank))]

    # Filters are symmetric: a pair at the same distance shares its product.
    total = x
    for offset in range(radius):
        pair = shifted(offset) + shifted(2 * radius - offset)
        total = total + (pair if ratios[offset] == 1 else pair * ratios[offset])
    return total


def _banded_matrix(x: Any, axis: int, weights: list[float]) -> Any:
    """The filter along one axis as a matrix, zeros beyond the border; sizes may be unknown."""
    position = ops.arange(ops.shape(x)[axis], dtype="int32")
    distance = ops.abs(position[:, None] - position[None, :])
    radius = len(weights) // 2
    by_distance = ops.convert_to_tensor([*weights[radius:], 0.0], dtype=_at_least_float32(x))
    return ops.take(by_distance, ops.minimum(distance, radius + 1), axis=0)


def _over_weight_inside(numerator: float, x: Any, axis: int, weights: list[float]) -> Any:
    """`numerator` over the weight of the neighbours that exist, by position along the axis."""
    inside = ops.sum(_banded_matrix(x, axis, weights), axis=1)
    shape = [-1 if i == axis else 1 for i in range(len(x.shape))]
    return ops.cast(ops.reshape(numerator / inside, shape), x.dtype)


def _matmul_along(x: Any, axis: int, matrix: Any) -> Any:
    """The product along one axis with a matrix, or with one for each sample: (samples, 1, n, n)."""
    shape = ops.shape(x)
    rows = ops.reshape(x, (shape[0], -1, shape[axis], math.prod(shape[axis + 1 :])))
    return ops.reshape(ops.matmul(matrix, rows), shape)


def _at_least_float32(x: Any) -> str:
    return "float64" if keras.backend.standardize_dtype(x.dtype) == "float64" else "float32"
