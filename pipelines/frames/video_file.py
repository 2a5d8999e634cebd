"""Turn a video file into JPEG frames at a constant rate, upright, at one size.

Everything happens inside libav: decoding, scaling, rotation and JPEG encoding pass YUV planes from
one to the next, and no RGB array is ever made.
"""

import contextlib
import itertools
from collections.abc import Generator, Iterator
from typing import Any

import av
import av.error

from pipelines.frames import (
    damage,
    decoded_frames,
    frame_clock,
    jpeg_encoders,
    jpeg_images,
    live_source,
    video_filters,
)
from pipelines.frames.encoded_frames import EncodedFrames, VideoError, check_settings
from pipelines.frames.frame_clock import TimedFrame
from pipelines.frames.video_source import VideoSource, check_file

VERSION = 2  # of the bytes made from a video and settings; part of what decides whether to redo

_MAX_BYTES = 1 << 30  # of JPEG for one clip: more than an hour of 340x256 at 25 fps
_LONGEST_STREAM = 7 * 24 * 3600  # seconds
_GROUP_PIXELS = 1 << 22  # a second or two of 340x256


def read_frames(path: str, **settings: Any) -> EncodedFrames:
    """Decodes a video file and encodes it as JPEG frames at a constant rate.

    Example:

    >>> clip = read_frames("arm_wrestling_28fps.mp4")
    >>> len(clip.frames), clip.height, clip.width
    (250, 256, 340)

    Args:
        path: The video file.
        **settings: Of `FrameStream`.

    Returns:
        An `EncodedFrames`. Its notes name what was filled, joined or guessed.

    Raises:
        VideoError: The file cannot be read, is damaged or cut short, has no frame between
            `start` and `end`, or too many for the memory.
        ValueError: An argument is out of its range.
    """
    stream = FrameStream(path, **settings)
    frames: list[bytes] = []
    size = 0
    with contextlib.closing(stream.frames()) as placed:
        for image, copies in placed:
            size += len(image) * copies
            if size > _MAX_BYTES:
                raise VideoError(
                    path, "gives more than 1 GiB of JPEG; cut it with start and end times"
                )
            frames.extend([image] * copies)
    return EncodedFrames(frames, stream.height, stream.width, stream.fps, stream.notes)


def stream_frames(path: str, **settings: Any) -> Iterator[tuple[bytes, int]]:
    """The frames of `read_frames` as they are decoded, each with how often it follows on itself.

    The memory is that of a few frames, however long the video is.

    Args:
        path: The video file, or what is live.
        **settings: Of `FrameStream`.

    Raises:
        VideoError: As for `read_frames`, where the fault is: what comes before it was given.
        ValueError: An argument is out of its range.
    """
    stream = FrameStream(path, **settings)
    slots = 0
    for image, copies in stream.frames():
        slots += copies
        # A header of a few bytes can have one frame shown for centuries.
        if slots > _LONGEST_STREAM * stream.fps and not settings.get("live"):
            raise VideoError(path, "lasts longer than a week; cut it with start and end times")
        yield image, copies


class FrameStream:
    """The frames of a video, as JPEG images at a constant rate.

    Frames are placed by the clock: frame `k` of the result is the one that a player shows at `k /
    fps` seconds (to the nearest slot), so faster videos lose frames and slower ones repeat some.
    A clock that starts anew, as where files were joined, goes on from there.
    Rotation and mirroring from the file's metadata are applied, interlaced frames are deinterlaced,
    and any pixel format and colour range becomes full-range 8-bit 4:2:0, which is what JPEG readers
    expect. The shape of the pixels is ignored, as the field does: many copies of Kinetics are
    340x256 files of 16:9 videos, and the networks have been trained on them as stored.

    Args:
        path: The video file.
        fps: Frames a second of the result.
        short_side: Pixels of the shorter side of the result; `None` keeps the size of the file.
        quality: Quantiser of the JPEG encoder, from 1 (largest) to 31 (smallest files).
        upscale: Whether smaller videos are scaled up to `short_side`.
        encoder: Of the JPEG images: `"libav"`, or `"turbo"`, which takes less time and more bytes
            and needs the package simplejpeg.
        start: Seconds from the beginning of the video at which the clip begins; `None` for the
            beginning.
        end: Seconds at which it ends; `None` for the end. A video that ends earlier gives a shorter
            clip.
        live: Whether `path` is a camera or a stream, see `live_source`. Damage is passed over then.

    Attributes:
        fps: Frames a second.
        height, width: Pixels of each frame, once one was given.
        notes: Of `EncodedFrames`, once the last was given.

    Raises:
        VideoError: The file cannot be read.
        ValueError: An argument is out of its range.
    """

    def __init__(
        self,
        path: str,
        *,
        fps: float = 25,
        short_side: int | None = 256,
        quality: int = 4,
        upscale: bool = True,
        encoder: str = jpeg_encoders.LIBAV,
        start: float | None = None,
        end: float | None = None,
        live: bool = False,
    ):
        check_settings(fps, short_side, quality)
        _check_times(start, end)
        if not live:
            check_file(path)
        self.fps = float(fps)
        self.height = self.width = 0
        self.notes: tuple[str, ...] = ()
        self._path = path
        self._rate = fps
        self._size = (short_side, upscale, quality, encoder)
        self._part = (start, end)
        self._live = live

    def frames(self) -> Generator[tuple[bytes, int], None, None]:
        """Each JPEG image with the number of frames that it is, in order.

        Raises:
            VideoError: As for `read_frames`.
        """
        # An error may come before there is one, and then has no place to name.
        clock = None
        try:
            with damage.listening() as heard, self._opened() as source:
                clock = frame_clock.FrameClock(self._rate, source.time_base, *self._part)
                images = jpeg_images.JpegImages(self._path, *self._size, source.crop())
                decoded = video_filters.deinterlaced(self._decoded(source, heard))
                for frame, copies in self._in_turn(clock.place(decoded)):
                    image = images.encoded(frame)
                    self.height, self.width = images.height, images.width
                    yield image, copies
                self.notes = (*source.notes(), *clock.notes(), *images.notes, *heard.summary())
        except (av.error.FFmpegError, EOFError) as error:
            place = f" after {float(clock.covered):.2f} s" if clock and clock.covered else ""
            fault = "damaged or not a video"
            if self._live:
                fault = "broke off" if place else "cannot be read"
            raise VideoError(self._path, f"{fault}: {_message(error)}{place}") from error
        if not self.height:
            raise VideoError(self._path, _nothing_decoded(clock, *self._part))

    def _opened(self) -> VideoSource:
        return (live_source.LiveSource if self._live else VideoSource)(self._path)

    def _decoded(self, source: VideoSource, heard: damage.Heard) -> Iterator[TimedFrame]:
        if isinstance(source, live_source.LiveSource):
            return live_source.live_frames(source, heard)
        return decoded_frames.decoded(source, self._part[0], heard)

    def _in_turn(self, placed: Iterator[tuple[Any, int]]) -> Iterator[tuple[Any, int]]:
        # What is live is seen at once.
        return placed if self._live else itertools.chain.from_iterable(_in_groups(placed))


def _check_times(start: float | None, end: float | None) -> None:
    if start is not None and not start >= 0:
        raise ValueError(f"`start` must be None or at least 0. Received: start={start}")
    if end is not None and not end > (start or 0):
        raise ValueError(f"`end` must be None or after `start`. Received: start={start}, end={end}")


def _in_groups(
    placed: Iterator[tuple[av.VideoFrame, int]],
) -> Iterator[list[tuple[av.VideoFrame, int]]]:
    """Collects frames, so that decoder and encoder work for a while each.

    Changing between them at every frame empties the processor's caches of either's code and tables
    and takes 8 % more time.
    """
    group, pixels = [], 0
    try:
        for frame, copies in placed:
            group.append((frame, copies))
            pixels += frame.width * frame.height
            if pixels >= _GROUP_PIXELS:
                yield group
                group, pixels = [], 0
    except (av.error.FFmpegError, EOFError, VideoError):
        yield group  # of a stream, what was whole is wanted
        raise
    yield group


def _nothing_decoded(clock: frame_clock.FrameClock, start: float | None, end: float | None) -> str:
    if start is not None and clock.covered:
        return (
            f"has no frame from {start} s to {'its end' if end is None else f'{end} s'}: it ends "
            f"after {float(clock.covered):.2f} s"
        )
    return "has no frame that can be decoded"


def _message(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
