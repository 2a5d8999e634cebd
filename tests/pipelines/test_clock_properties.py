"""The clocks of videos against what is right for each output time, looked for one by one."""

from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import tried

from pipelines.frames.announced_length import AnnouncedLength
from pipelines.frames.encoded_frames import VideoError
from pipelines.frames.frame_clock import FrameClock, TimedFrame, Timestamps
from pipelines.frames.packet_clock import GifClock, PacketClock

RATES = [25, 30, 12.5, 29.97, 23.976, 0.1, 1, 60, Fraction(30_000, 1001)]
TICKS = [Fraction(1, 25), Fraction(1, 1000), Fraction(1, 90_000), Fraction(1001, 30_000)]


@st.composite
def timed_frames(draw, backwards=False):
    """Frames over up to three seconds, each to the next one's beginning, and a tick's seconds."""
    tick = draw(st.sampled_from(TICKS))
    longest = int(3 / tick)
    begins = draw(st.lists(st.integers(0, longest), min_size=1, max_size=25))
    # Times at which frames change slots, and those just beside, are where mistakes are.
    rate = draw(st.sampled_from([25, 30]))
    edges = draw(st.lists(st.tuples(st.integers(0, 6 * rate), st.integers(-1, 1)), max_size=10))
    begins += [max(0, int(Fraction(half, 2 * rate) / tick) + beside) for half, beside in edges]
    begins = draw(st.permutations(begins)) if backwards else sorted(begins)
    ends = [*begins[1:], begins[-1] + draw(st.integers(1, max(1, longest // 20)))]
    frames = [TimedFrame(n, *span) for n, span in enumerate(zip(begins, ends))]
    return frames, tick


@st.composite
def clips(draw):
    """Start and end in hundredths, as lists have them."""
    start = draw(st.none() | st.integers(0, 320))
    end = draw(st.none() | st.integers((start or 0) + 1, 400))
    return tuple(None if time is None else time / 100 for time in (start, end))


def placed(frames, tick, fps, start=None, end=None):
    clock = FrameClock(fps, tick, start, end)
    return [frame for frame, copies in clock.place(frames) for _ in range(copies)]


def nearest(time):
    """The next whole number; halves go up."""
    below = time.numerator // time.denominator
    return below + (time - below >= Fraction(1, 2))


def shown_at_each_time(frames, tick, fps, start, end):
    """The definition: at time k / fps the last frame that began before the middle to k + 1."""
    fps, start = Fraction(str(fps)), Fraction(str(start or 0))
    finish = frames[-1].finish * tick - start
    if finish <= 0:
        return []
    count = max(1, nearest(finish * fps))
    if end is not None:
        count = min(count, max(1, nearest((Fraction(str(end)) - start) * fps)))
    begins = [frame.begin * tick - start for frame in frames]
    shown = []
    for slot in range(count):
        began = [n for n, begin in enumerate(begins) if begin < (slot + Fraction(1, 2)) / fps]
        shown.append(max(began, default=0))
    if shown == [shown[0]] and nearest(finish * fps) < 1:
        return [len(frames) - 1]  # shorter than half a slot
    return shown


@tried(150)
@given(timed_frames(), st.sampled_from(RATES), clips())
def test_the_frame_of_each_output_time(timed, fps, clip):
    frames, tick = timed
    assert placed(frames, tick, fps, *clip) == shown_at_each_time(frames, tick, fps, *clip)


def shown_by_libav(frames, tick, fps):
    """What the filter `fps` of libav gives, of images whose grey is their number."""
    graph = av.filter.Graph()
    source = graph.add_buffer(width=16, height=16, format=av.VideoFormat("gray"), time_base=tick)
    rate = graph.add("fps", f"fps={Fraction(str(fps))}:round=near")
    sink = graph.add("buffersink")
    source.link_to(rate)
    rate.link_to(sink)
    graph.configure()
    shown = []
    for timed in [*frames, None]:
        image = None
        if timed is not None:
            image = av.VideoFrame.from_ndarray(np.full((16, 16), timed.frame, np.uint8), "gray")
            image.pts, image.time_base = timed.begin, tick
        source.push(image)
        while True:
            try:
                shown.append(int(sink.pull().to_ndarray()[0, 0]))
            except (av.error.BlockingIOError, av.error.EOFError):
                break
    return shown


@tried(100)
@given(timed_frames(), st.sampled_from([25, 30, 12.5, 60, Fraction(30_000, 1001)]))
def test_the_frames_are_those_of_libav_s_filter(timed, fps):
    frames, tick = timed
    frames = [TimedFrame(0, 0, frames[0].begin)] + [
        frame._replace(frame=number) for number, frame in enumerate(frames, 1)
    ]
    last = len(frames) - 1  # how long it stays is not the filter's to say
    ours = [frame for frame in placed(frames, tick, fps) if frame != last]
    theirs = [frame for frame in shown_by_libav(frames, tick, fps) if frame != last]
    assert ours == theirs


@tried(100)
@given(timed_frames(backwards=True), st.sampled_from(RATES), clips())
def test_times_that_go_back(timed, fps, clip):
    """Libav's program: a frame is dropped once the next one's slot has come."""
    frames, tick = timed
    rate, start = Fraction(str(fps)), Fraction(str(clip[0] or 0))
    most = 10**9
    if clip[1] is not None:
        most = max(1, nearest((Fraction(str(clip[1])) - start) * rate))
    waiting, shown = list(frames), []
    while len(shown) < most:
        while waiting[1:] and nearest((waiting[1].begin * tick - start) * rate) <= len(shown):
            waiting.pop(0)
        ends = nearest((waiting[0].finish * tick - start) * rate)
        if not waiting[1:] and ends <= len(shown):
            break
        shown.append(waiting[0].frame)
    if not shown and frames[-1].finish * tick > start:
        shown = [frames[-1].frame]
    assert placed(frames, tick, fps, *clip) == shown


@tried(50)
@given(st.lists(st.integers(0, 9), min_size=1), st.booleans())
def test_right_times_of_display_are_believed(steps, of_avi):
    dts = np.cumsum([0, *(1 + step for step in steps)]).tolist()
    timestamps = Timestamps("avi" if of_avi else "matroska,webm")
    frames = [SimpleNamespace(pts=time + 7, dts=time) for time in dts]
    assert [timestamps.of(frame) for frame in frames] == [t + 7 * (not of_avi) for t in dts]


# --- packets --------------------------------------------------------------------------------------


def mended(clock, times, duration, delay):
    packets = [
        SimpleNamespace(pts=time + delay, dts=time, duration=duration, is_discard=False)
        for time in times
    ]
    for packet in packets:
        clock.mend(packet)
    assert all(packet.pts - packet.dts == delay for packet in packets)
    return [packet.dts for packet in packets]


@tried(100)
@given(
    st.sampled_from([1000, 90_000]),
    st.booleans(),
    st.lists(st.integers(0, 9_999), max_size=30),
    st.integers(1, 40),
    st.integers(0, 3),
)
def test_a_clock_that_never_jumps_is_left_alone(second, may_jump, pauses, duration, delay):
    """Pauses are in thousandths, less than ten seconds."""
    times = np.cumsum([5, *(duration + pause * second // 1000 for pause in pauses)]).tolist()
    clock = PacketClock(second, duration, may_jump)
    assert mended(clock, times, duration, delay) == times and clock.jumps == 0


@tried(100)
@given(
    st.sampled_from([1000, 90_000]),
    st.booleans(),
    st.lists(
        st.tuples(st.integers(1, 12), st.booleans(), st.integers(1, 10**6)), min_size=1, max_size=6
    ),
    st.integers(1, 40),
    st.integers(0, 3),
)
def test_parts_with_clocks_of_their_own_follow_each_other(second, may_jump, parts, duration, delay):
    times, clock_time = [], 0
    for count, goes_back, distance in parts:
        if goes_back or not may_jump:
            # Formats that derive times of decoding are a second off at most.
            clock_time -= duration + (second // 10 if may_jump else second) + distance
        else:
            clock_time += 10 * second + distance
        times += [clock_time + n * duration for n in range(count)]
        clock_time = times[-1] + duration
    clock = PacketClock(second, duration, may_jump)
    expected = [times[0] + n * duration for n in range(len(times))]
    assert mended(clock, times, duration, delay) == expected
    assert clock.jumps == len(parts) - 1


@tried(50)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=30))
def test_gifs_are_as_slow_as_in_browsers(delays):
    begins = np.cumsum([0, *delays]).tolist()
    clock, time = GifClock(), 0
    for begin, delay in zip(begins, delays):
        packet = SimpleNamespace(pts=begin, dts=begin, duration=delay)
        clock.mend(packet)
        shown = 10 if delay == 1 else delay
        assert (packet.pts, packet.dts, packet.duration) == (time, time, shown)
        time += shown


# --- announced lengths ----------------------------------------------------------------------------

FORMATS = ["mov,mp4,m4a,3gp,3g2,mj2", "avi", "matroska,webm", "matroska without a tag", "flv"]


def announcing(container_format, count, ticks, first):
    """A file whose header announces so many frames of so many milliseconds each."""
    finish = (first + count * ticks) / 1000
    is_tagged = container_format == "matroska,webm"
    tag = f"{int(finish // 3600):02d}:{int(finish // 60) % 60:02d}:{finish % 60:012.9f}"
    is_counted = container_format.startswith(("mov", "avi"))
    stream = SimpleNamespace(
        index=0,
        time_base=Fraction(1, 1000),
        frames=count if is_counted else 0,
        duration=count * ticks if is_counted else None,
        metadata={"DURATION": tag} if is_tagged else {},
    )
    container = SimpleNamespace(
        duration=(first + count * ticks) * 1000, size=100 * count, streams=[stream]
    )
    return SimpleNamespace(
        path="v",
        format=container_format.split(" ")[0],
        stream=stream,
        container=container,
        time_base=Fraction(1, 1000),
        usual_ticks=ticks,
        clock_may_jump=False,
        has_times=True,
    )


@tried(200)
@given(
    st.sampled_from(FORMATS),
    st.integers(1, 400),
    st.integers(1, 100),
    st.integers(0, 300),
    st.floats(0, 1),
)
def test_what_is_cut_off_is_missed(container_format, count, ticks, first, share):
    first = 0 if container_format == "avi" else first
    kept = max(1, round(count * share))
    length = AnnouncedLength(announcing(container_format, count, ticks, first))
    for number in range(kept):
        begin = first + number * ticks
        length.saw(
            SimpleNamespace(stream_index=0, pos=100 * number, size=100, pts=begin, duration=ticks)
        )
    lost = Fraction((count - kept) * ticks, 1000)
    counts_from_0 = not container_format.startswith(("mov", "avi"))
    announced = Fraction(count * ticks + (first if counts_from_0 else 0), 1000)
    seen = Fraction(kept * ticks, 1000)
    if lost > max(1, announced / 10):
        with pytest.raises(VideoError, match="cut short: its header announces"):
            length.missing(seen)
    else:
        frames = count - kept
        assert length.missing(seen) == (pytest.approx(float(lost)) if frames > 3 else 0)
