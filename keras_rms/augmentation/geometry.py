"""Moves of pixels: functions on float32 frames (..., height, width, channels).

Each takes the nearest pixel, as Pillow's `Image.transform` does by default; what comes from outside
of the frame is `fill`.
"""

import math
from typing import Any

from keras import ops


def shear_x(frames: Any, amount: Any, fill: float) -> Any:
    """Moves each row by `amount` pixels for each row from the top, to the left where positive."""
    return _warp(frames, (1.0, amount, 0.0), (0.0, 1.0, 0.0), fill)


def shear_y(frames: Any, amount: Any, fill: float) -> Any:
    """Moves each column by `amount` pixels for each from the left, up where positive."""
    return _warp(frames, (1.0, 0.0, 0.0), (amount, 1.0, 0.0), fill)


def translate_x(frames: Any, share: Any, fill: float) -> Any:
    """Moves to the left by a share of the width, where positive."""
    width = ops.cast(ops.shape(frames)[-2], "float32")
    return _warp(frames, (1.0, 0.0, share * width), (0.0, 1.0, 0.0), fill)


def translate_y(frames: Any, share: Any, fill: float) -> Any:
    """Moves up by a share of the height, where positive."""
    height = ops.cast(ops.shape(frames)[-3], "float32")
    return _warp(frames, (1.0, 0.0, 0.0), (0.0, 1.0, share * height), fill)


def rotate(frames: Any, degrees: Any, fill: float) -> Any:
    """Turns around the middle, against the clock where positive."""
    angle = degrees * (math.pi / 180)
    cosine, sine = ops.cos(angle), ops.sin(angle)
    y, x = (ops.cast(size, "float32") / 2 for size in ops.shape(frames)[-3:-1])
    across = (cosine, -sine, x - cosine * x + sine * y)
    down = (sine, cosine, y - sine * x - cosine * y)
    return _warp(frames, across, down, fill)


def _warp(frames: Any, across: tuple, down: tuple, fill: float) -> Any:
    """Takes each pixel from the place that two rows of an affine matrix say, times (x, y, 1)."""
    height, width, channels = ops.shape(frames)[-3:]
    x = ops.arange(width, dtype="float32")[None, :] + 0.5
    y = ops.arange(height, dtype="float32")[:, None] + 0.5
    column = ops.floor(across[0] * x + across[1] * y + across[2])
    row = ops.floor(down[0] * x + down[1] * y + down[2])
    row, column = ops.cast(row, "int32"), ops.cast(column, "int32")
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    source = ops.where(inside, row * width + column, 0)
    pixels = ops.reshape(frames, (-1, height * width, channels))
    moved = ops.take(pixels, ops.reshape(source, (-1,)), axis=1)
    return ops.where(inside[..., None], ops.reshape(moved, ops.shape(frames)), fill)
