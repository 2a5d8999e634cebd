"""What goes on while it is watched: a camera, or a stream that a network address gives.

A file is whole or an error. Of a stream one sees what comes: it begins anywhere, and what gets lost
on the way is passed over.
"""

import os
import re
import stat
from collections.abc import Iterator
from typing import Any

import av
import av.error

from pipelines.frames import damage, decoded_frames, matroska_crop
from pipelines.frames.encoded_frames import VideoError
from pipelines.frames.frame_clock import TimedFrame
from pipelines.frames.video_source import CONTAINERS, TEXT_OPTIONS, VideoSource

_SCHEMES = ("http", "https", "rtsp", "rtsps", "rtmp", "rtmps", "rtp", "udp", "tcp")
# What the address of a network leads to may name other addresses, and never a file.
_PROTOCOLS = (*_SCHEMES, "tls", "httpproxy", "crypto")
_FORMATS = f"{CONTAINERS},rtsp,sdp,rtp,hls,mpjpeg"
_ADDRESS = re.compile(rf"({'|'.join(_SCHEMES)})://", re.IGNORECASE)


def is_live(name: str) -> bool:
    """Whether a user who writes this means a camera or a stream.

    Example:

    >>> is_live("rtsp://camera/1"), is_live("/videos/rtsp.mp4")
    (True, False)
    """
    return bool(_ADDRESS.match(name)) or _is_device(name)


def keeps_pace(name: str) -> bool:
    """Whether its frames come as fast as they happen and wait for nobody; HTTP waits."""
    return not re.match("https?://", name, re.IGNORECASE)


def without_password(name: str) -> str:
    """The name as it may be shown: addresses of cameras often hold a password."""
    return re.sub(r"^(\w+://[^/@:]*):[^/@]*@", r"\1@", name)


def _is_device(name: str) -> bool:
    try:
        return stat.S_ISCHR(os.stat(name).st_mode)
    except (OSError, ValueError):
        return False


class LiveSource(VideoSource):
    """A camera or a stream, opened; see `is_live`.

    Args:
        path: A device such as `/dev/video0`, or an address.

    Raises:
        VideoError: It holds no video, or one too large.
        av.error.FFmpegError: libav cannot read it.
    """

    @property
    def clock_may_jump(self) -> bool:
        """A camera's clock may be set while it runs."""
        return True

    def crop(self) -> matroska_crop.Crop:
        """Nothing; headers of files are looked at for it."""
        return matroska_crop.NOTHING

    def _container(self) -> Any:
        if _is_device(self.path):
            return av.open(self.path, format="v4l2", **TEXT_OPTIONS)
        if not _ADDRESS.match(self.path):
            raise VideoError(self.path, "is neither a camera nor the address of a stream")
        options = {"protocol_whitelist": ",".join(_PROTOCOLS), "format_whitelist": _FORMATS}
        return av.open(self.path, options=options, **TEXT_OPTIONS)


def live_frames(source: LiveSource, heard: damage.Heard) -> Iterator[TimedFrame]:
    """The frames in order of display; their times count from the first."""
    zero = None
    for frame, begin, end in decoded_frames.timed(source, LiveReader(source, heard)):
        zero = begin if zero is None else zero
        yield TimedFrame(frame, begin - zero, end - zero)


class LiveReader:
    """Decodes what comes from the first key frame on; see `decoded_frames.Reader`.

    Args:
        source: The stream.
        heard: What libav says, which is passed over.
    """

    repeated_until: int | None = None

    def __init__(self, source: LiveSource, heard: damage.Heard):
        self._source = source
        self._heard = heard

    def frames(self) -> Iterator[av.VideoFrame]:
        codec = self._source.stream.codec_context
        is_ready = False
        for packet in self._source.packets():
            self._heard.pass_over()
            is_ready = is_ready or packet.is_keyframe
            if not packet.size or not is_ready:
                continue
            try:
                frames = codec.decode(packet)
            except av.error.InvalidDataError:
                continue
            yield from (frame for frame in frames if not frame.is_corrupt)
        yield from codec.decode(None)

    def check(self, number: int, ticks: int, frame: av.VideoFrame | None = None) -> None:
        """Nothing is wrong with a stream as long as it goes on."""
