"""Finds what is missing in a file that libav reads without raising: it logs, marks or just stops.

Words:
    hole     bytes that the demuxer passes over to find the next whole piece
    broken   of a picture: the decoder says that it lacks something, and shows it all the same
    corrupt  of a packet: the counter of MPEG-TS says that others before it are missing
    join     where recordings were put one behind the other, so that the counter starts anew

Of holes and broken pictures libav tells the log only. So the log is heard while a file is read, and
its words are the only ones there are: they are matched as text.
"""

import collections
import contextlib
import re
from collections.abc import Iterator

import av
import av.logging

from pipelines.frames.encoded_frames import VideoError
from pipelines.frames.video_source import VideoSource

# What decoders say that go on with pictures that lack something. Those whose pictures depend on no
# other show what an error leaves of each, whatever they call it; of H.264 and its elders libav
# marks the frames themselves.
_BROKEN = re.compile(
    "Could not find ref|Error constructing the frame RPS|LZW decode failed|CRC mismatch"
)
_ABOUT_PICTURES = re.compile(r"^(?!.*(APP|ICC|[Ee][Xx][Ii][Ff]|comment|metadata))", re.DOTALL)
_LOST_PIXELS = re.compile("overread|error (count|dc|y=)|bad vlc")
_BEHIND_THE_END = "Packet mismatch"  # FLV's word for anything that is no packet
_NO_END = "EOI missing"
_MOST_CORRUPT_BEFORE_JOIN = 2  # packets
_MOST_NOTES = 3


class Heard:
    """What libav says while it reads one file.

    Args:
        logs: Libav's messages: level, name of who says it, text. It grows, and what was looked at
            is taken out: a stream may have no end.
    """

    def __init__(self, logs: list[tuple[int, str, str]]):
        self._logs = logs
        self._hole: str | None = None
        self._broken: str | None = None
        self._without_end = 0
        self._others: collections.Counter[str] = collections.Counter()
        self.notes: list[str] = []

    def check_packet(self, source: VideoSource) -> None:
        """Raises VideoError if the demuxer met a hole, now that a packet comes behind it."""
        self._listen(source)
        if self._hole:
            raise VideoError(source.path, f"damaged: libav found a hole in it ({self._hole})")

    def check_end(self, source: VideoSource, missing: float) -> None:
        """Raises VideoError if the demuxer met a hole and the file ends before it should.

        Without an announced end, the hole may be what other programs write behind a video.
        """
        self._listen(source)
        if self._hole and missing > 0:
            raise VideoError(
                source.path,
                f"damaged: libav found a hole in it ({self._hole}), {missing:.2f} s are missing",
            )

    def check_frames(self, source: VideoSource, number: int, ticks: int) -> None:
        """Raises VideoError if the decoder said that a picture lacks something.

        Args:
            source: The file.
            number: Of frames decoded so far.
            ticks: The time of the last one.
        """
        self._listen(source)
        # Some cameras leave the end mark out of every picture.
        if self._without_end and number > self._without_end:
            self._broken = self._broken or _NO_END
        if self._broken:
            seconds = float(ticks * source.time_base)
            raise VideoError(
                source.path, f"damaged: libav says {self._broken!r} before {seconds:.2f} s"
            )

    def pass_over(self) -> None:
        """Lets go of what was said: of a stream that goes on, whatever it lacks."""
        self._logs.clear()

    def check_jpeg(self) -> None:
        """Raises ValueError if the decoder of one JPEG image missed pixels.

        What else it says may be of what it does not know, such as CMYK.
        """
        for level, name, text in self._logs:
            if name == "mjpeg" and level <= av.logging.ERROR and _LOST_PIXELS.search(text):
                raise ValueError(f"libav says {text.strip()!r}")

    def summary(self) -> list[str]:
        """The notes, and what else libav called an error."""
        # A recording of many parts would say it for each.
        notes = self.notes[:_MOST_NOTES]
        # A hole with nothing behind it did not stop the conversion, and is worth a look.
        others = self._others + collections.Counter([self._hole] if self._hole else [])
        said = [f"libav says {text!r} {count}x" for text, count in others.most_common(2)]
        return notes + said

    def _listen(self, source: VideoSource) -> None:
        if not self._logs:
            return
        codec = source.stream.codec_context.codec
        while self._logs:
            level, name, text = self._logs.pop(0)
            message = f"{name}: {text.strip()}"
            if name == codec.name and _NO_END in text:
                self._without_end += 1
            elif level > av.logging.ERROR:
                continue
            elif name != codec.name:
                is_hole = name == source.format and _BEHIND_THE_END not in text
                self._hole = message if is_hole else self._hole
            elif _BROKEN.search(text) or (codec.intra_only and _ABOUT_PICTURES.match(text)):
                self._broken = self._broken or message
            else:
                self._others[message] += 1


@contextlib.contextmanager
def listening() -> Iterator[Heard]:
    """Hears libav's log in this thread."""
    level, skips = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.WARNING)
    # The same message as the last file's would not be heard.
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture() as logs:
            yield Heard(logs)
    finally:
        av.logging.set_skip_repeated(skips)
        av.logging.set_level(level)


class CorruptPackets:
    """Tells packets that lack data from the last ones before a place where files were joined.

    MPEG-TS counts its packets; the count that starts anew at such a place looks like a loss. What
    comes then begins with a key frame.
    """

    def __init__(self, source: VideoSource, heard: Heard):
        self._source = source
        self._heard = heard
        self._waiting: int | None = None
        self._first: int | None = None

    def check(self, packet: av.Packet) -> None:
        """Raises VideoError if data is missing before this packet of the video."""
        self._first = packet.pts if self._first is None else self._first
        if packet.is_corrupt:
            self._waiting = self._waiting or _MOST_CORRUPT_BEFORE_JOIN + 1
        elif packet.is_keyframe and self._waiting is not None:
            self._waiting = None
            self._heard.notes.append(
                f"data is missing, or parts are joined, at {self._seconds(packet):.2f} s"
            )
        if self._waiting is None:
            return
        self._waiting -= 1
        if self._waiting < 0:
            raise VideoError(
                self._source.path,
                f"damaged: packets are missing before {self._seconds(packet):.2f} s",
            )

    def _seconds(self, packet: av.Packet) -> float:
        return float(((packet.pts or 0) - (self._first or 0)) * packet.time_base)
