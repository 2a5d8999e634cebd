"""Whether a file holds all that it announces, by what it says of its video itself.

Words:
    announced  seconds that the header promises, of the video or of the longest stream
    covered    seconds from the first to the last packet that was read
    counted    of formats whose tables have a line for each frame: there frames are compared

libav reads a file that was cut off to where it ends, and says nothing. So the header is compared
with what came. Headers are off by some frames, or mean another stream: a little that is missing is
a note, more than a second and a tenth of the length is an error.
"""

import re
from fractions import Fraction

import av

from pipelines.frames.encoded_frames import VideoError
from pipelines.frames.video_source import VideoSource

_COUNTED = "mov"  # whose tables have a line for each frame
_SMALL = 1 << 16  # bytes
_INEXACT = 3  # frames by which announced lengths are off
_SHORTEST = 1  # seconds; and a tenth of the length


class AnnouncedLength:
    """Compares the length that a file announces with what is read from its beginning to its end.

    A container's whole length is that of its longest stream. It is compared with the end of the
    last one.

    Args:
        source: The file.
    """

    def __init__(self, source: VideoSource):
        self._source = source
        self._stream = source.stream
        self._packets = 0
        self._end = 0
        # First and last tick of each stream: fractions of every packet would take time.
        self._firsts: dict[int, int] = {}
        self._lasts: dict[int, int] = {}
        self._announced, self._of_all = self._length()

    @property
    def needs_all_streams(self) -> bool:
        """Whether `saw` wants the packets of all streams."""
        return self._of_all

    def saw(self, packet: av.Packet) -> None:
        """Takes notice of a packet, of the video or of another stream."""
        stream = packet.stream_index
        self._packets += stream == self._stream.index
        if packet.pos is not None:
            self._end = max(self._end, packet.pos + packet.size)
        begin = packet.pts
        if begin is not None:
            self._firsts[stream] = min(begin, self._firsts.get(stream, begin))
            self._lasts[stream] = max(begin + (packet.duration or 0), self._lasts.get(stream, 0))

    def missing(self, seen: Fraction) -> float:
        """Seconds that are missing at the end, if it is little.

        Args:
            seen: Seconds that the frames last.

        Raises:
            VideoError: More than a second and a tenth of the length is missing.
        """
        covered = self._covered(seen)
        if self._announced - covered > max(Fraction(_SHORTEST), self._announced / 10):
            raise VideoError(
                self._source.path,
                f"cut short: its header announces {float(self._announced):.2f} s, its frames cover "
                f"{float(covered):.2f} s",
            )
        frame = self._source.usual_ticks * self._source.time_base
        missing = self._announced - covered
        return float(missing) if missing > _INEXACT * frame else 0.0

    def notes(self) -> list[str]:
        """Sentences about frames of which the header speaks, and bytes that are no frames."""
        notes = []
        if self._counts_all and self._packets < self._stream.frames:
            notes.append(
                f"its header announces {self._stream.frames} frames, it holds {self._packets}"
            )
        if self._source.format == "asf" and not self._announced:
            notes.append("its header's length is another file's: it may be cut short")
        size = self._source.container.size
        unread = size - self._end
        # Tables at the end are small; a second file behind the first is not read by libav.
        if self._end and self._saw_all and unread > max(_SMALL, size / 4):
            notes.append(f"its last {unread} bytes hold nothing that is read; was it joined?")
        return notes

    @property
    def _counts_all(self) -> bool:
        # Some AVI files count fields.
        share = self._packets / max(1, self._stream.frames)
        return self._is_counted or (self._source.format == "avi" and share > 0.6)

    @property
    def _saw_all(self) -> bool:
        return self._of_all or len(self._source.container.streams) == 1

    def _covered(self, seen: Fraction) -> Fraction:
        if self._is_counted and self._stream.frames:
            share = Fraction(min(self._packets, self._stream.frames), self._stream.frames)
            return self._announced * share
        streams = self._lasts if self._of_all else self._lasts.keys() & {self._stream.index}
        last = max((self._seconds(self._lasts, stream) for stream in streams), default=Fraction(0))
        first = min((self._seconds(self._firsts, stream) for stream in self._firsts), default=0)
        # Some writers mean the time of the end, some the length.
        return max(seen, last, last - first)

    def _seconds(self, ticks: dict[int, int], stream: int) -> Fraction:
        return ticks[stream] * self._source.container.streams[stream].time_base

    @property
    def _is_counted(self) -> bool:
        return self._source.format.startswith(_COUNTED)

    def _length(self) -> tuple[Fraction, bool]:
        """Seconds that are announced, 0 if none are, and whether they are those of all streams."""
        source, stream = self._source, self._stream
        # In such streams nothing is announced, and what libav says instead depends on the bytes it
        # looked at.
        if source.clock_may_jump or not source.has_times:
            return Fraction(0), False  # libav guesses it
        own = Fraction(stream.duration or 0) * source.time_base
        if self._is_counted or source.format == "avi":
            return own, False
        whole = Fraction(source.container.duration or 0, av.time_base)
        # mkvmerge and libav write each stream's own length as a tag; the header has the longest
        # one's only.
        tag = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
        if source.format.startswith("matroska") and tag:
            hours, minutes, seconds = map(Fraction, tag.groups())
            return 3600 * hours + 60 * minutes + seconds, False
        return max(own, whole), True
