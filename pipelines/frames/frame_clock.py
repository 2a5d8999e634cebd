"""Which decoded frame is shown in which slot of a constant frame rate, in exact arithmetic.

Words:
    tick    the unit of a stream's times, for example 1/90000 s
    pts     when a frame is shown; dts, when its packet is decoded: B frames make another order
    slot    a frame of the result: slot k is shown at k / fps seconds
    copies  how many slots a frame fills; none if the result has fewer frames than the video

Times are whole ticks and rates are fractions, never floats, so that nothing drifts over hours.
"""

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, NamedTuple

_LONG = 2  # seconds; a frame that is shown longer is worth a look


class TimedFrame(NamedTuple):
    """A decoded frame and the time from the beginning of the video during which it is shown."""

    frame: Any
    begin: int  # in ticks of the video's time base
    finish: int


class Timestamps:
    """Chooses between the two times of a frame, its own and its packet's order of decoding.

    AVI files know no times of display; for B frames libav makes them up in the wrong order. In
    other files they are right, unless they go back oftener than the decoding times do, which is
    the rule of libav's programs.

    Attributes:
        step: Ticks from one frame to the next, where the frames themselves do not say it.
    """

    def __init__(self, container_format: str):
        self._decoding_only = container_format == "avi"
        self._faults = {"pts": 0, "dts": 0}
        self._last: dict[str, int] = {}
        self.step: int | None = None

    def of(self, frame: Any) -> int | None:
        """The time of a frame with the attributes `pts` and `dts`, in the units of both."""
        if self._decoding_only:
            return self._decoded_at(frame.dts)
        times = {"pts": frame.pts, "dts": frame.dts}
        for name, time in times.items():
            if time is not None:
                # A time that stands still is a fault as well; the first one has none before it.
                self._faults[name] += time <= self._last.get(name, time - 1)
                self._last[name] = time
        ordered = self._faults["pts"] <= self._faults["dts"] or frame.dts is None
        return frame.pts if ordered and frame.pts is not None else frame.dts

    def _decoded_at(self, time: int | None) -> int | None:
        last = self._last.get("dts")
        if time is None:  # what a decoder holds back until the end
            if last is None:
                return None
            time = last + (self.step or 1)
        elif last is not None and time > last:
            self.step = time - last
        self._last["dts"] = time
        return time


class FrameClock:
    """Gives each frame the number of slots of a constant rate in which it is shown.

    A frame begins at the slot nearest to its time, as with libav's `fps` filter, and stays until
    the next frame's slot, the last one until its own end. Frames that begin in the same slot as the
    next one are dropped.

    Example:

    >>> frames = [TimedFrame(n, n, n + 1) for n in range(3)]
    >>> list(FrameClock(25, tick=Fraction(1, 10)).place(frames))
    [(0, 3), (1, 2), (2, 3)]

    Args:
        fps: Slots a second.
        tick: Seconds that one unit of the frames' times lasts.
        start: Seconds at which the first slot begins; `None` for the first frame.
        end: Seconds at which the last slot ends; `None` for the end of the last frame.
    """

    def __init__(
        self, fps: float, tick: Fraction, start: float | None = None, end: float | None = None
    ):
        rate, begin = _decimal(fps), _decimal(start or 0)
        self._tick = tick
        self._start = begin / tick
        # slot(t) = floor((t * tick - start) * fps + 1/2), in whole numbers over one denominator.
        factor, term = tick * rate, Fraction(1, 2) - begin * rate
        self._denominator = math.lcm(factor.denominator, term.denominator)
        self._factor = int(factor * self._denominator)
        self._term = int(term * self._denominator)
        length = None if end is None else (_decimal(end) - begin) * rate
        self._slots = None if length is None else max(1, math.floor(length + Fraction(1, 2)))
        self._rate = rate
        self._covered = 0
        self._fills = 0
        self._longest = (0, 0)  # slots, and the first of them

    @property
    def covered(self) -> Fraction:
        """Seconds of the video seen so far."""
        return self._covered * self._tick

    def place(self, frames: Iterable[TimedFrame]) -> Iterator[tuple[Any, int]]:
        """Yields each frame that is shown at all with its number of slots, in order."""
        filled = 0
        held = None
        for timed in frames:
            self._covered = timed.finish
            # A frame is held until the next one says how long it was shown.
            copies = self._until(timed.begin) - filled
            if held is not None and copies > 0:
                self._watch(copies, filled)
                yield held.frame, copies
                filled += copies
            held = timed
            if self._slots is not None and filled >= self._slots:
                return
        if held is None or held.finish <= self._start:
            return
        # A clip shorter than half a slot still has one frame.
        copies = max(self._until(held.finish) - filled, 0 if filled else 1)
        if copies:
            self._watch(copies, filled)
            yield held.frame, copies

    def notes(self) -> list[str]:
        """A sentence about gaps between frames that were filled, so that a person can look."""
        if not self._fills:
            return []
        slots, first = self._longest
        seconds, begin = (float(count / self._rate) for count in (slots, first))
        others = f", the longest of {self._fills} such gaps" if self._fills > 1 else ""
        return [f"one frame is shown for {seconds:.2f} s from {begin:.2f} s on{others}"]

    def _watch(self, slots: int, first: int) -> None:
        if slots > _LONG * self._rate:
            self._fills += 1
            self._longest = max(self._longest, (slots, first), key=lambda gap: gap[0])

    def _until(self, time: int) -> int:
        slot = (time * self._factor + self._term) // self._denominator
        return slot if self._slots is None else min(slot, self._slots)


def _decimal(value: float) -> Fraction:
    """The number as it was written: 0.1 is one tenth, which no binary fraction is."""
    return Fraction(repr(value)) if isinstance(value, float) else Fraction(value)
