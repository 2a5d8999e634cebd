"""Changes of colour: functions on float32 frames (..., height, width, 3) of levels 0 to 255.

A clip's frames count as one picture: where a change depends on its levels, as the contrast does,
these are of all frames, so that all are changed by the same map. The first four are torchvision's
`adjust_*`, the others Pillow's `ImageOps` and `ImageEnhance`.
"""

from typing import Any

from keras import ops

HIGHEST = 255.0
LEVELS = 256


def brightness(frames: Any, factor: Any) -> Any:
    """Towards black (0) or away from it."""
    return _clipped(frames * factor)


def contrast(frames: Any, factor: Any) -> Any:
    """Towards the mean grey of all frames (0) or away from it."""
    return _blend(ops.mean(_grey(frames)), frames, factor)


def saturation(frames: Any, factor: Any) -> Any:
    """Towards grey frames (0) or away from them."""
    return _blend(_grey(frames), frames, factor)


def hue(frames: Any, shift: Any) -> Any:
    """Turns all hues by a share of the circle, positive from red to green."""
    red, green, blue = ops.unstack(frames, axis=-1)
    value = ops.max(frames, axis=-1)
    chroma = value - ops.min(frames, axis=-1)
    # In sixths of the circle; a grey has any hue.
    divisor = ops.where(chroma > 0, chroma, 1.0)
    angle = ops.where(
        ops.equal(value, red),
        (green - blue) / divisor,
        ops.where(ops.equal(value, green), (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )
    # Smith, "Color gamut transform pairs", SIGGRAPH 1978, in the form without cases.
    sixths = ops.mod(angle[..., None] + 6 * shift + ops.array([5.0, 3.0, 1.0]), 6.0)
    missing = ops.clip(ops.minimum(sixths, 4 - sixths), 0.0, 1.0)
    return value[..., None] - chroma[..., None] * missing


def sharpness(frames: Any, factor: Any) -> Any:
    """Towards smoothed frames (0) or away from them; their outermost pixels stay."""
    padded = ops.pad(frames, [(0, 0)] * (len(frames.shape) - 3) + [(1, 1), (1, 1), (0, 0)])
    rows = padded[..., :-2, :, :] + padded[..., 1:-1, :, :] + padded[..., 2:, :, :]
    window = rows[..., :-2, :] + rows[..., 1:-1, :] + rows[..., 2:, :]
    smooth = ops.floor((window + 4 * frames) / 13 + 0.5)
    height, width = ops.shape(frames)[-3:-1]
    inside = _inside(height)[:, None, None] & _inside(width)[None, :, None]
    return _blend(ops.where(inside, smooth, frames), frames, factor)


def posterize(frames: Any, bits: int) -> Any:
    """Keeps the highest `bits` of eight bits."""
    step = float(2 ** (8 - bits))
    return ops.floor(frames / step) * step


def solarize(frames: Any, threshold: float) -> Any:
    """Inverts the levels from `threshold` on."""
    return ops.where(frames >= threshold, HIGHEST - frames, frames)


def auto_contrast(frames: Any) -> Any:
    """Spreads the levels of each channel over 0 to 255."""
    axes = tuple(range(len(frames.shape) - 1))
    low = ops.min(frames, axis=axes)
    room = ops.max(frames, axis=axes) - low
    spread = ops.floor((frames - low) * HIGHEST / ops.where(room > 0, room, 1.0))
    return ops.where(room > 0, spread, frames)


def equalize(frames: Any) -> Any:
    """Makes all levels of each channel equally frequent; takes whole levels."""
    # The levels of each channel have numbers of their own, so that one sum counts all.
    levels = ops.cast(frames, "int32") + LEVELS * ops.arange(3)
    flat = ops.reshape(levels, (-1,))
    # In float32, which counts to 16 million, and which accelerators add up.
    counts = ops.segment_sum(ops.ones_like(flat, "float32"), flat, num_segments=3 * LEVELS)
    counts = ops.cast(ops.reshape(counts, (3, LEVELS)), "int32")
    below = ops.cumsum(counts, axis=1) - counts
    # All pixels but those of the highest level, divided over the 255 levels.
    highest = ops.max(ops.where(counts > 0, ops.arange(LEVELS), 0), axis=1, keepdims=True)
    step = ops.take_along_axis(below, highest, axis=1) // 255
    spread = ops.minimum((below + step // 2) // ops.maximum(step, 1), 255)
    table = ops.where(step > 0, spread, ops.arange(LEVELS))
    return ops.cast(ops.take(ops.reshape(table, (-1,)), levels), "float32")


def _grey(frames: Any) -> Any:
    """The luma of ITU-R BT.601, of one channel."""
    weights = ops.array([0.299, 0.587, 0.114])
    return ops.sum(frames * weights, axis=-1, keepdims=True)


def _blend(origin: Any, frames: Any, factor: Any) -> Any:
    return _clipped(origin + (frames - origin) * factor)


def _clipped(frames: Any) -> Any:
    return ops.clip(frames, 0.0, HIGHEST)


def _inside(size: Any) -> Any:
    place = ops.arange(size)
    return (place > 0) & (place < size - 1)
