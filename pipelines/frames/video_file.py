"""Turn a video file into JPEG frames at a constant rate, upright, at one size.

Everything happens inside libav: decoding, scaling, rotation and JPEG encoding pass YUV planes from
one to the next, and no RGB array is ever made.
"""

import itertools
from collections.abc import Iterator

import av
import av.error

from pipelines.frames import damage, decoded_frames, frame_clock, jpeg_images, video_filters
from pipelines.frames.encoded_frames import EncodedFrames, VideoError, check_settings
from pipelines.frames.video_source import VideoSource, check_file

VERSION = 2  # of the bytes made from a video and settings; part of what decides whether to redo

_GROUP_PIXELS = 1 << 22  # a second or two of 340x256


def read_frames(
    path: str,
    *,
    fps: float = 25,
    short_side: int | None = 256,
    quality: int = 4,
    upscale: bool = True,
    start: float | None = None,
    end: float | None = None,
) -> EncodedFrames:
    """Decodes a video file and encodes it as JPEG frames at a constant rate.

    Frames are placed by the clock: frame `k` of the result is the one that a player shows at `k /
    fps` seconds (to the nearest slot), so faster videos lose frames and slower ones repeat some.
    A clock that starts anew, as where files were joined, goes on from there.
    Rotation and mirroring from the file's metadata are applied, interlaced frames are deinterlaced,
    and any pixel format and colour range becomes full-range 8-bit 4:2:0, which is what JPEG readers
    expect. The shape of the pixels is ignored, as the field does: many copies of Kinetics are
    340x256 files of 16:9 videos, and the networks have been trained on them as stored.

    Example:

    >>> clip = read_frames("arm_wrestling_28fps.mp4")
    >>> len(clip.frames), clip.height, clip.width
    (250, 256, 340)

    Args:
        path: The video file.
        fps: Frames a second of the result.
        short_side: Pixels of the shorter side of the result; `None` keeps the size of the file.
        quality: Quantiser of the JPEG encoder, from 1 (largest) to 31 (smallest files).
        upscale: Whether smaller videos are scaled up to `short_side`.
        start: Seconds from the beginning of the video at which the clip begins; `None` for the
            beginning.
        end: Seconds at which it ends; `None` for the end. A video that ends earlier gives a shorter
            clip.

    Returns:
        An `EncodedFrames`. Its notes name what was filled, joined or guessed.

    Raises:
        VideoError: The file cannot be read, is damaged or cut short, or has no frame between
            `start` and `end`.
        ValueError: An argument is out of its range.
    """
    check_settings(fps, short_side, quality)
    _check_times(start, end)
    check_file(path)
    # An error may come before there is one, and then has no place to name.
    clock = None
    try:
        with damage.listening() as heard, VideoSource(path) as source:
            clock = frame_clock.FrameClock(fps, source.time_base, start, end)
            images = jpeg_images.JpegImages(path, short_side, upscale, quality, source.crop())
            frames = video_filters.deinterlaced(decoded_frames.decoded(source, start, heard))
            for frame, copies in itertools.chain.from_iterable(_in_groups(clock.place(frames))):
                images.add(frame, copies)
            notes = (*source.notes(), *clock.notes(), *images.notes, *heard.summary())
    except (av.error.FFmpegError, EOFError) as error:
        place = f" after {float(clock.covered):.2f} s" if clock and clock.covered else ""
        raise VideoError(path, f"damaged or not a video: {_message(error)}{place}") from error
    if not images.frames:
        raise VideoError(path, _nothing_decoded(clock, start, end))
    return EncodedFrames(images.frames, images.height, images.width, float(fps), notes)


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
    for frame, copies in placed:
        group.append((frame, copies))
        pixels += frame.width * frame.height
        if pixels >= _GROUP_PIXELS:
            yield group
            group, pixels = [], 0
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
