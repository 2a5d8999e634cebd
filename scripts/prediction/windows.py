"""Windows that slide over the frames of a video, which are never in memory together."""

import collections
import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import NamedTuple

_BEHIND = 2.0  # seconds after which a camera's window is no news


class Window(NamedTuple):
    """Consecutive frames.

    Attributes:
        first: The number of its first frame in the video.
        frames: JPEG images.
        start, end: Seconds in the video.
    """

    first: int
    frames: list[bytes]
    start: float
    end: float


def windows(
    frames: Iterable[tuple[bytes, int]],
    span: int,
    stride: Fraction,
    fps: float,
    begin: float = 0,
) -> Iterator[Window]:
    """Each window as soon as its last frame has come.

    What is left at the end is in a last window, which ends with the video and begins earlier than
    `stride` says; not so where windows leave gaps. A video shorter than a window is one window.

    Args:
        frames: Images, each with how often it follows on itself.
        span: Frames of a window.
        stride: Frames from one window's beginning to the next one's, whole or not; at least 1.
        fps: Frames a second.
        begin: Seconds of the first frame in the video.
    """
    held: collections.deque[bytes] = collections.deque(maxlen=span)
    count = number = covered = 0

    def window() -> Window:
        first = count - len(held)
        return Window(first, list(held), begin + first / fps, begin + count / fps)

    for image in itertools.chain.from_iterable(itertools.starmap(itertools.repeat, frames)):
        held.append(image)
        count += 1
        if count == math.floor(number * stride + Fraction(1, 2)) + span:
            yield window()
            covered = count
            number += 1
    if count and (not number or (covered < count and stride <= span)):
        yield window()


def without_late_ones(found: Iterable[Window], on_first: Callable[[], None]) -> Iterator[Window]:
    """Leaves out windows of a camera that is ahead of what is done with them.

    Its frames wait for nobody: seen late, they would be seen later and later.

    Args:
        found: The windows as they come.
        on_first: Called when one is left out for the first time.
    """
    clock_at_zero, is_told = None, False
    for window in found:
        now = time.monotonic()
        clock_at_zero = now - window.end if clock_at_zero is None else clock_at_zero
        if now - window.end - clock_at_zero <= _BEHIND:
            yield window
        elif not is_told:
            is_told = True
            on_first()
