"""What the readers of all kinds of files take, give and raise."""

import math
from fractions import Fraction
from typing import NamedTuple

from pipelines.system import limits

_MAX_JPEG_SIDE = 65_500  # libjpeg's limit, by which TensorFlow reads the frames


class VideoError(ValueError):
    """A video cannot be converted; says which one and why.

    Attributes:
        path, cause: Which one and why.
        lasting: Whether the file itself is the cause; not so if time, memory or a permission was
            missing.
    """

    def __init__(self, path: str, cause: str, lasting: bool = True):
        super().__init__(f"{path}: {cause}")
        self.path = path
        self.cause = cause
        self.lasting = lasting

    def __reduce__(self):
        return VideoError, (self.path, self.cause, self.lasting)


class EncodedFrames(NamedTuple):
    """One clip as JPEG images.

    Attributes:
        frames: The images, one a frame; repeated frames are one object.
        height, width: Pixels of each.
        fps: Frames a second.
        notes: Sentences about what a person should look at, such as a gap that was filled.
    """

    frames: list[bytes]
    height: int
    width: int
    fps: float
    notes: tuple[str, ...] = ()


def check_settings(fps: float, short_side: int | None, quality: int) -> None:
    """Raises ValueError for a rate, size or quality that the readers do not take."""
    if not 0 < fps <= 1000:
        raise ValueError(f"`fps` must be above 0 and at most 1000. Received: fps={fps}")
    if short_side is not None and not 1 <= short_side <= 8192:
        raise ValueError(
            f"`short_side` must be None or from 1 to 8192. Received: short_side={short_side}"
        )
    # The quantisers that libav's encoder of JPEG knows; `image_file` maps them to Pillow's scale.
    if not 1 <= quality <= 31:
        raise ValueError(f"`quality` must be from 1 to 31. Received: quality={quality}")


def scaled_size(
    width: int, height: int, short_side: int | None, upscale: bool = True
) -> tuple[int, int]:
    """Width and height once the shorter side is `short_side`, the other to the nearest pixel."""
    shortest = min(width, height)
    if short_side is None or shortest == short_side or (shortest < short_side and not upscale):
        return width, height
    # A fraction, because a float just below a half would round a side to another pixel.
    scale = Fraction(short_side, shortest)
    scaled = [max(1, math.floor(side * scale + Fraction(1, 2))) for side in (width, height)]
    return scaled[0], scaled[1]


def too_large(width: int, height: int) -> bool:
    """Whether frames of this size, once scaled, cannot be stored or would cost gigabytes."""
    return max(width, height) > _MAX_JPEG_SIDE or width * height > limits.MAX_PIXELS
