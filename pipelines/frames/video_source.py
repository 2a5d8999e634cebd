"""An open video file: which containers are read, which stream, and its packets in order."""

import os
import stat
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import av.container

from pipelines.frames import matroska_crop, mp4_crop, packet_clock
from pipelines.frames.encoded_frames import VideoError
from pipelines.system import limits

# Containers that hold their own frames. Play lists (HLS, DASH, ffconcat, SDP) are left out on
# purpose: such a text, named like a video, would make libav open any other file or address.
CONTAINERS = (
    "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,asf,flv,h264,hevc,av1,obu,ivf,m4v,ogg,rm,mxf,"
    "dv,gif,yuv4mpegpipe,nut,swf,wtv,vob,3gp,mjpeg,png_pipe"
)
# Metadata may be in any encoding: PyAV 19 escapes what is no UTF-8, those before raise unless told.
TEXT_OPTIONS: dict[str, Any] = (
    {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}
)


def check_file(path: str) -> None:
    """Raises VideoError for what is no readable file."""
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise VideoError(path, getattr(error, "strerror", None) or str(error)) from error
    if not stat.S_ISREG(status.st_mode):
        raise VideoError(path, "is not a regular file")
    if status.st_size == 0:
        raise VideoError(path, "is empty (0 bytes)")
    if not os.access(path, os.R_OK):
        raise VideoError(path, "may not be read (permission denied)", lasting=False)


class VideoSource:
    """A video file that is read from its beginning, and from any other place.

    Args:
        path: The file.

    Attributes:
        path: The file.
        container, stream: Libav's, new after each `reopen`.
        clock: Mends the times of the packets that are read.

    Raises:
        VideoError: It holds no video, or one too large.
        av.error.FFmpegError: libav cannot read it.
    """

    def __init__(self, path: str):
        self.path = path
        self._open()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.container.close()

    @property
    def format(self) -> str:
        """Name of the container's format, as libav's demuxer calls itself."""
        return self.container.format.name

    @property
    def has_times(self) -> bool:
        """Whether the container says when its frames are shown; streams without one do not."""
        return not self._flags & av.format.Flags.no_timestamps

    @property
    def clock_may_jump(self) -> bool:
        """Whether the format allows a clock that starts anew, as in recordings of broadcasts."""
        return bool(self._flags & av.format.Flags.ts_discont)

    @property
    def can_seek(self) -> bool:
        """Whether a time leads to a place in the file.

        Where clocks start anew, the same time is in several places.
        """
        return self.has_times and not self.clock_may_jump and self.format not in ("flv", "gif")

    @property
    def time_base(self) -> Fraction:
        """Seconds of one tick of the stream's times."""
        return self.stream.time_base or Fraction(1, av.time_base)

    @property
    def usual_ticks(self) -> int:
        """How long a frame usually lasts, in ticks of the stream's time base."""
        rate = self.stream.average_rate or Fraction(25)
        return max(1, round(1 / rate / self.time_base))

    def crop(self) -> matroska_crop.Crop:
        """What the file says is not to be seen."""
        number = self.container.streams.video.index(self.stream)
        if self.format.startswith("matroska"):
            return matroska_crop.crop_of(self.path, number)
        if self.format.startswith("mov"):
            return mp4_crop.crop_of(self.path, number)
        return matroska_crop.NOTHING

    def notes(self) -> list[str]:
        """A sentence about the clock, if it had to be mended."""
        if not self.clock.jumps:
            return []
        times = "once" if self.clock.jumps == 1 else f"{self.clock.jumps} times"
        return [f"its clock starts anew or jumps {times}; what follows was shown next"]

    def reopen(self) -> None:
        """Goes to the beginning, which no seek does in every format."""
        self.container.close()
        self._open()

    def seek(self, ticks: int) -> bool:
        """Goes to a key frame about before a time; says whether libav says that it did."""
        try:
            self.container.seek(ticks, stream=self.stream)
        except av.error.FFmpegError:
            return False
        self.clock = self._new_clock()
        return True

    def packets(self, others: bool = False) -> Iterator[av.Packet]:
        """The packets from here on, with mended times.

        Args:
            others: Whether to give those of the other streams too, with times as they are.
        """
        wanted = [self.stream]
        if others:
            wanted += [*self.container.streams.audio]
        for packet in self.container.demux(wanted):
            if packet.dts is None and packet.pts is None and not packet.size:
                continue  # PyAV's own, which ends a stream
            if packet.stream_index == self.stream.index:
                self.clock.mend(packet)
            yield packet

    @property
    def _flags(self) -> av.format.Flags:
        return av.format.Flags(self.container.format.flags)

    def _container(self) -> Any:  # PyAV's types tell less than an InputContainer has
        # "file:" keeps a name such as "concat:a|b" or "http:..." from being taken for a protocol.
        options: dict[str, str] = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}
        return av.open("file:" + os.path.abspath(self.path), options=options, **TEXT_OPTIONS)

    def _open(self) -> None:
        self.container = self._container()
        self.stream = self._video_stream()
        self.clock = self._new_clock()

    def _new_clock(self) -> packet_clock.PacketClock | packet_clock.GifClock:
        if self.format == "gif":
            return packet_clock.GifClock()
        second = int(1 / self.time_base)
        return packet_clock.PacketClock(second, self.usual_ticks, self.clock_may_jump)

    def _video_stream(self) -> av.VideoStream:
        stream = self.container.streams.best("video")
        if stream is None or stream.codec_context is None:
            raise VideoError(self.path, "has no video stream that can be decoded")
        if stream.disposition & av.stream.Disposition.attached_pic:
            raise VideoError(self.path, "has no video: its only picture is the cover of its sound")
        codec = stream.codec_context
        if codec.width * codec.height > limits.MAX_PIXELS:
            raise VideoError(
                self.path,
                f"has frames of {codec.width}x{codec.height}, more than {limits.MAX_PIXELS} pixels",
            )
        # One thread a video: a conversion runs one process a core.
        codec.thread_count = 1
        codec.options = {"max_pixels": str(limits.MAX_PIXELS)}
        return stream
