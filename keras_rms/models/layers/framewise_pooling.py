"""3D max pooling by 2D operations."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


def framewise_max_pool(
    x: Any, pool_size: tuple[int, int, int], strides: tuple[int, int, int], padding: str
) -> Any:
    """3D max pooling as a pooling of every frame and one over time.

    The maximum over a box is the maximum over time of those over the frames. TensorFlow Lite has a
    2D max pooling only, and so have CPUs in half precision.

    Example:

    >>> framewise_max_pool(np.ones((1, 4, 8, 6, 3)), (2, 3, 3), (2, 2, 2), "same").shape
    (1, 2, 4, 3, 3)

    Args:
        x: Of shape (batch, time, height, width, channels).
        pool_size: Over time, height and width.
        strides: Likewise.
        padding: `"valid"` or `"same"`.

    Returns:
        What 3D max pooling with these arguments gives.
    """
    time, height, width, channels = _sizes(x)
    if (pool_size[1:], strides[1:]) != ((1, 1), (1, 1)):
        frames = ops.reshape(x, (-1, height, width, channels))
        frames = ops.max_pool(frames, pool_size[1:], strides[1:], padding, "channels_last")
        height, width = _sizes(frames)[:2]
        x = ops.reshape(frames, (-1, time, height, width, channels))
    if (pool_size[0], strides[0]) != (1, 1):
        rows = ops.reshape(x, (-1, time, height * width, channels))
        rows = ops.max_pool(rows, (pool_size[0], 1), (strides[0], 1), padding, "channels_last")
        x = ops.reshape(rows, (-1, _sizes(rows)[0], height, width, channels))
    return x


@keras.saving.register_keras_serializable(package="keras_rms")
class FramewiseMaxPooling3D(keras.layers.MaxPooling3D):
    """`keras.layers.MaxPooling3D` by 2D operations, channels last.

    Example:

    >>> FramewiseMaxPooling3D(2)(np.ones((1, 4, 8, 6, 3))).shape
    (1, 2, 4, 3, 3)
    """

    def call(self, inputs: Any) -> Any:
        return framewise_max_pool(inputs, self.pool_size, self.strides, self.padding)


def _sizes(x: Any) -> tuple[Any, ...]:
    """All sizes but the batch's; integers where they are known."""
    shape = ops.shape(x)
    return tuple(
        dynamic if known is None else known for known, dynamic in zip(x.shape[1:], shape[1:])
    )
