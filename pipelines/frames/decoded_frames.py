"""The decoded frames of a video in order of display, from its beginning or from about a time on."""

import itertools
from collections.abc import Iterator
from fractions import Fraction
from typing import Protocol

import av

from pipelines.frames import announced_length, damage, frame_clock
from pipelines.frames.encoded_frames import VideoError
from pipelines.frames.frame_clock import TimedFrame
from pipelines.frames.video_source import VideoSource


class Reader(Protocol):
    """Decodes the packets of a source.

    Attributes:
        repeated_until: Until when the last frame is shown by the empty packets after it.
    """

    repeated_until: int | None

    def frames(self) -> Iterator[av.VideoFrame]:
        """The frames in order of display."""
        ...

    def check(self, number: int, ticks: int, frame: av.VideoFrame | None = None) -> None:
        """Raises VideoError if something is wrong by the frame of this number and time."""
        ...


def decoded(source: VideoSource, start: float | None, heard: damage.Heard) -> Iterator[TimedFrame]:
    """The frames from a key frame before `start` on; their times count from the first frame.

    Args:
        source: The file, opened and not yet read.
        start: Seconds; `None` or 0 for all frames, of which it is then checked that none is cut
            off at the end.
        heard: What libav says while it reads.

    Raises:
        VideoError: Frames are damaged, or the file is cut short.
    """
    length = None if start else announced_length.AnnouncedLength(source)
    frames = timed(source, _FileReader(source, _packets(source, length), heard, length))
    first = next(frames, None)
    if first is None:
        return
    # Clocks of files begin anywhere: seconds count from the first frame.
    zero, finish = first.begin, 0
    frames = itertools.chain([first], frames)
    if start:
        frames = _from_before(source, zero, int(Fraction(start) / source.time_base), heard)
    for frame, begin, end in frames:
        finish = max(finish, end - zero)
        yield TimedFrame(frame, begin - zero, end - zero)
    if length is not None:
        heard.check_end(source, length.missing(finish * source.time_base))
        heard.notes.extend(length.notes())


def _packets(
    source: VideoSource, length: announced_length.AnnouncedLength | None = None
) -> Iterator[av.Packet]:
    return source.packets(others=length is not None and length.needs_all_streams)


def _from_before(
    source: VideoSource, zero: int, wanted: int, heard: damage.Heard
) -> Iterator[TimedFrame]:
    # Key frames are found by decoding time, which runs ahead of display time: hence the margin.
    early = zero + wanted - int(1 / source.time_base)
    packets = _since_key_frame(source, early) if early > zero else None
    if packets is not None:
        frames = timed(source, _FileReader(source, packets, heard))
        landed = next(frames, None)
        if landed is not None and zero <= landed.begin <= zero + wanted:
            yield landed
            yield from frames
            return
    # The index is missing or wrong, or the decoder cannot begin there.
    source.reopen()
    yield from timed(source, _FileReader(source, _packets(source), heard))


def _since_key_frame(source: VideoSource, time: int) -> Iterator[av.Packet] | None:
    """The packets from the last key frame before a time on; None if it cannot be found."""
    if source.can_seek:
        return _packets(source) if source.seek(time) else None
    if not source.has_times:
        return None
    source.reopen()
    return _after_skipping(_packets(source), time)


def _after_skipping(packets: Iterator[av.Packet], time: int) -> Iterator[av.Packet]:
    held: list[av.Packet] = []
    for packet in packets:
        at = packet.pts if packet.dts is None else packet.dts
        if packet.is_keyframe and at is not None and at <= time:
            held.clear()
        held.append(packet)
        if at is not None and at > time:
            break
    yield from held
    yield from packets


def timed(source: VideoSource, reader: Reader) -> Iterator[TimedFrame]:
    """Adds the times of display, in ticks of the stream's time base."""
    timestamps = frame_clock.Timestamps(source.format)
    usual = source.usual_ticks
    held: TimedFrame | None = None
    begin, zero = 0, None
    for number, frame in enumerate(reader.frames()):
        timestamp = timestamps.of(frame)
        begin = (held.finish if held else 0) if timestamp is None else timestamp
        zero = begin if zero is None else zero
        reader.check(number, begin - zero, frame)
        if held is not None:
            yield held
        length_of_frame = timestamps.step or frame.duration or usual
        held = TimedFrame(frame, begin, begin + length_of_frame)
    if held is not None:
        reader.check(number + 1, begin - (zero or 0))
        yield held._replace(finish=max(held.finish, reader.repeated_until or held.finish))


class _FileReader:
    """Decodes packets, and notices what libav lets pass."""

    def __init__(
        self,
        source: VideoSource,
        packets: Iterator[av.Packet],
        heard: damage.Heard,
        length: announced_length.AnnouncedLength | None = None,
    ):
        self.repeated_until: int | None = None
        self._source = source
        self._packets = packets
        self._heard = heard
        self._length = length
        self._corrupt = damage.CorruptPackets(source, heard)

    def frames(self) -> Iterator[av.VideoFrame]:
        stream = self._source.stream
        # From what lies before the first key frame HEVC's decoder makes grey pictures.
        is_ready = stream.codec_context.name != "hevc"
        for packet in self._packets:
            self._heard.check_packet(self._source)
            if self._length is not None:
                self._length.saw(packet)
            if packet.stream_index != stream.index:
                continue
            self._corrupt.check(packet)
            # An empty packet shows the last frame again. Decoders take it for the end.
            time = packet.dts if packet.pts is None else packet.pts
            is_ready = is_ready or packet.is_keyframe
            if packet.size and is_ready:
                self.repeated_until = None
                yield from stream.codec_context.decode(packet)
            elif time is not None and not packet.size:
                self.repeated_until = time + (packet.duration or self._source.usual_ticks)
        yield from stream.codec_context.decode(None)

    def check(self, number: int, ticks: int, frame: av.VideoFrame | None = None) -> None:
        self._heard.check_frames(self._source, number, ticks)
        if frame is not None and frame.is_corrupt:
            seconds = float(ticks * self._source.time_base)
            raise VideoError(self._source.path, f"damaged: a frame at {seconds:.2f} s misses data")
