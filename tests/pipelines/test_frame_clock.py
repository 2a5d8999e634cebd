from fractions import Fraction
from types import SimpleNamespace

import pytest

from pipelines.frames.frame_clock import FrameClock, TimedFrame, Timestamps

TICK = Fraction(1, 100)


def frames(*times, length=4):
    """Frames named 0, 1, ... at these seconds; each ends where the next begins."""
    times = [int(Fraction(str(time)) / TICK) for time in times]
    ends = [*times[1:], times[-1] + length]
    return [TimedFrame(n, *span) for n, span in enumerate(zip(times, ends))]


def slots(clock, timed):
    return [frame for frame, copies in clock.place(timed) for _ in range(copies)]


def test_docstring_example():
    timed = [TimedFrame(n, n, n + 1) for n in range(3)]
    assert list(FrameClock(25, tick=Fraction(1, 10)).place(timed)) == [(0, 3), (1, 2), (2, 3)]


@pytest.mark.parametrize(
    "times, expected",
    [
        ((0, "0.04", "0.08"), [0, 1, 2]),
        ((0, "0.02", "0.04", "0.06"), [0, 2, 3]),  # halves go up: 1 and 2 begin at slot 1
        ((0, "0.1"), [0, 0, 0, 1]),
        ((0, "0.01", "0.02", "0.03", "0.08"), [1, 3, 4]),
        ((0, "0.08", "0.04", "0.12"), [0, 0, 2, 3]),  # a time that goes back
    ],
)
def test_slots_are_the_nearest(times, expected):
    assert slots(FrameClock(25, TICK), frames(*times)) == expected


def test_a_float_rate_is_the_decimal_number():
    # 0.1 is a little more than a tenth in binary: 30 slots of 10 s would become 29 or 31.
    timed = [TimedFrame(n, n * 10, n * 10 + 10) for n in range(30)]
    assert slots(FrameClock(0.1, Fraction(1)), timed) == list(range(30))


def test_start_and_end_count_from_the_first_frame():
    timed = frames(*(n / 25 for n in range(100)))
    assert slots(FrameClock(25, TICK, start=0.4, end=0.8), timed) == list(range(10, 20))
    assert slots(FrameClock(25, TICK, start=3.9), timed) == [97, 98, 99]  # halves go up
    assert slots(FrameClock(5, TICK, start=0.4, end=1.2), timed) == [12, 17, 22, 27]
    assert slots(FrameClock(25, TICK, start=4.5), timed) == []


def test_a_first_frame_after_the_start_fills_the_gap():
    assert slots(FrameClock(25, TICK, start=0.0), frames("0.08", "0.12")) == [0, 0, 0, 1]


def test_decoding_ends_with_the_clip():
    seen = []

    def watched():
        for timed in frames(*(n / 25 for n in range(100))):
            seen.append(timed.frame)
            yield timed

    assert slots(FrameClock(25, TICK, end=0.4), watched()) == list(range(10))
    assert len(seen) == 11


def test_covered_is_what_was_seen():
    clock = FrameClock(25, TICK)
    slots(clock, frames(0, "0.04"))
    assert clock.covered == Fraction(2, 25)


def chosen(container, times):
    timestamps = Timestamps(container)
    return [timestamps.of(SimpleNamespace(pts=pts, dts=dts)) for pts, dts in times]


def test_display_times_are_used_where_they_are_right():
    times = [(2, 0), (3, 1), (4, 2), (5, None)]
    assert chosen("matroska,webm", times) == [2, 3, 4, 5]


def test_display_times_that_go_back_give_way_to_decoding_times():
    times = [(1, 1), (4, 2), (3, 3), (2, 4), (8, 5), (None, 6)]
    assert chosen("mpeg", times) == [1, 4, 3, 4, 5, 6]


def test_avi_has_decoding_times_only():
    assert chosen("avi", [(1, 1), (4, 2), (3, 3), (2, None)]) == [1, 2, 3, 4]


def test_what_an_avi_decoder_held_back_goes_on_by_steps():
    assert chosen("avi", [(9, 4), (9, 6), (9, 8), (9, None), (9, None)]) == [4, 6, 8, 10, 12]
