"""Turn a video file into JPEG frames at a constant rate, upright, at one size.

Everything happens inside libav: decoding, scaling, rotation and JPEG encoding pass YUV planes from
one to the next, and no RGB array is ever made. This is the only file that touches the decoder
(PyAV).
"""

import collections
import itertools
import os
import re
import stat
import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import av
import av.error
import av.filter

from pipelines.frames import frame_clock
from pipelines.system import limits

VERSION = 1  # of the bytes made from a video and settings; part of what decides whether to redo

# Containers that hold their own frames. Play lists (HLS, DASH, ffconcat, SDP) are left out on
# purpose: such a text, named like a video, would make libav open any other file or address.
_CONTAINERS = (
    "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,asf,flv,h264,hevc,av1,obu,ivf,m4v,ogg,rm,mxf,"
    "dv,gif,yuv4mpegpipe,nut,swf,wtv,vob,3gp,mjpeg"
)
_GROUP_PIXELS = 1 << 22  # a second or two of 340x256
_MAX_BYTES = 1 << 30  # of JPEG for one clip: more than an hour of 340x256 at 25 fps
_MAX_JPEG_SIDE = 65_500
_ENCODER_TIME_BASE = Fraction(1, 25)  # any would do: JPEG images carry no time
# Metadata may be in any encoding: PyAV 19 escapes what is no UTF-8, those before raise unless told.
_TEXT_OPTIONS = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}
_RANGES = {1: "tv", 2: "pc"}
_MATRICES = {1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 9: "bt2020nc"}
# JPEG files are BT.601 by definition, so these need no change of matrix.
_JPEG_MATRICES = ("bt470bg", "smpte170m")


class VideoError(ValueError):
    """A video cannot be converted; says which one and why.

    Attributes:
        path, cause: which one and why.
        lasting: whether the file itself is the cause; not so if time, memory or a permission was
            missing.
    """

    def __init__(self, path: str, cause: str, lasting: bool = True):
        super().__init__(f"{path}: {cause}")
        self.path = path
        self.cause = cause
        self.lasting = lasting

    def __reduce__(self):
        return VideoError, (self.path, self.cause, self.lasting)


class EncodedFrames(NamedTuple):
    """One clip as JPEG images, `fps` of them a second."""

    frames: list[bytes]
    height: int
    width: int
    fps: float


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
    Rotation and mirroring from the file's metadata are applied, interlaced frames are deinterlaced,
    and any pixel format and colour range becomes full-range 8-bit 4:2:0, which is what JPEG readers
    expect. The shape of the pixels is ignored, as the field does: many copies of Kinetics are
    340x256 files of 16:9 videos, and the networks have been trained on them as stored.

    Example:

    >>> clip = read_frames("arm_wrestling_28fps.mp4")
    >>> len(clip.frames), clip.height, clip.width
    (250, 256, 340)

    Args:
        path: the video file.
        fps: frames a second of the result.
        short_side: pixels of the shorter side of the result; `None` keeps the size of the file.
        quality: quantiser of the JPEG encoder, from 1 (largest) to 31 (smallest files).
        upscale: whether smaller videos are scaled up to `short_side`.
        start: seconds from the beginning of the video at which the clip begins; `None` for the
            beginning.
        end: seconds at which it ends; `None` for the end. A video that ends earlier gives a shorter
            clip.

    Returns:
        An `EncodedFrames`.

    Raises:
        VideoError: the file cannot be read, is damaged or cut short, or has no frame between
            `start` and `end`.
        ValueError: an argument is out of its range.
    """
    check_settings(fps, short_side, quality)
    _check_times(start, end)
    _check_file(path)
    clock = None
    try:
        with _opened(path) as container:
            stream = _video_stream(path, container)
            clock = frame_clock.FrameClock(fps, stream.time_base, start, end)
            images = _JpegImages(path, short_side, upscale, quality)
            placed = clock.place(_deinterlaced(_decoded(path, stream, start)))
            for frame, copies in itertools.chain.from_iterable(_in_groups(placed)):
                images.add(frame, copies)
    except (av.error.FFmpegError, EOFError) as error:
        place = f" after {float(clock.covered):.2f} s" if clock and clock.covered else ""
        raise VideoError(path, f"damaged or not a video: {_message(error)}{place}") from error
    if not images.frames:
        raise VideoError(path, _nothing_decoded(clock, start, end))
    return EncodedFrames(images.frames, images.height, images.width, float(fps))


def check_settings(fps: float, short_side: int | None, quality: int) -> None:
    """Raises ValueError for a rate, size or quality that `read_frames` does not take."""
    if not 0 < fps <= 1000:
        raise ValueError(f"`fps` must be above 0 and at most 1000. Received: fps={fps}")
    if short_side is not None and not 1 <= short_side <= 8192:
        raise ValueError(
            f"`short_side` must be None or from 1 to 8192. Received: short_side={short_side}"
        )
    if not 1 <= quality <= 31:
        raise ValueError(f"`quality` must be from 1 to 31. Received: quality={quality}")


def _check_times(start: float | None, end: float | None) -> None:
    if start is not None and not start >= 0:
        raise ValueError(f"`start` must be None or at least 0. Received: start={start}")
    if end is not None and not end > (start or 0):
        raise ValueError(f"`end` must be None or after `start`. Received: start={start}, end={end}")


def _check_file(path: str) -> None:
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


def _opened(path: str) -> av.container.InputContainer:
    # "file:" keeps a name such as "concat:a|b" or "http:..." from being taken for a protocol.
    options = {"protocol_whitelist": "file", "format_whitelist": _CONTAINERS}
    return av.open("file:" + os.path.abspath(path), options=options, **_TEXT_OPTIONS)


def _video_stream(path: str, container: av.container.InputContainer) -> av.VideoStream:
    stream = container.streams.best("video")
    if stream is None or stream.codec_context is None:
        raise VideoError(path, "has no video stream that can be decoded")
    codec = stream.codec_context
    if codec.width * codec.height > limits.MAX_PIXELS:
        raise VideoError(
            path,
            f"has frames of {codec.width}x{codec.height}, more than {limits.MAX_PIXELS} pixels",
        )
    # One thread a video: a conversion runs one process a core.
    codec.thread_count = 1
    codec.options = {"max_pixels": str(limits.MAX_PIXELS)}
    return stream


def _decoded(
    path: str, stream: av.VideoStream, start: float | None
) -> Iterator[frame_clock.TimedFrame]:
    """The frames in order of display, from a key frame before `start` on."""
    whole = _timed(path, stream, 0)
    first = next(whole, None)
    if first is None:
        return
    if not start:
        yield from _whole(path, stream, first, whole)
        return
    # Key frames are found by decoding time, which runs ahead of display time: hence the margin.
    wanted = int(Fraction(start) / stream.time_base)
    margin = int(1 / stream.time_base)
    frames = _sought(path, stream, first.begin, max(0, wanted - margin))
    early = next(frames, None)
    if early is None or early.begin > wanted:
        # The index is missing or wrong: decode from the beginning.
        frames = _sought(path, stream, first.begin, 0)
        early = next(frames, None)
    if early is not None:
        yield early
        yield from frames


def _whole(
    path: str,
    stream: av.VideoStream,
    first: frame_clock.TimedFrame,
    rest: Iterator[frame_clock.TimedFrame],
) -> Iterator[frame_clock.TimedFrame]:
    zero, finish = first.begin, 0
    for frame, begin, end in itertools.chain([first], rest):
        finish = max(finish, end - zero)
        yield frame_clock.TimedFrame(frame, begin - zero, end - zero)
    announced, seen = _announced(stream, zero), finish * stream.time_base
    if announced - seen > max(1, announced / 10):
        raise VideoError(
            path,
            f"cut short: its header announces {float(announced):.2f} s, its frames cover "
            f"{float(seen):.2f} s",
        )


def _announced(stream: av.VideoStream, zero: int) -> Fraction:
    """Seconds that the file's header says the video lasts; 0 if it does not say."""
    if stream.duration:
        return stream.duration * stream.time_base
    if not stream.container.format.name.startswith("matroska"):
        return Fraction(0)
    # Matroska says when the last stream ends, which may be the sound; libav adds tags for each.
    tag = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    if tag:
        hours, minutes, seconds = map(Fraction, tag.groups())
        end = 3600 * hours + 60 * minutes + seconds
    elif len(stream.container.streams) == 1:
        end = Fraction(stream.container.duration or 0, av.time_base)
    else:
        return Fraction(0)
    return end - zero * stream.time_base


def _sought(
    path: str, stream: av.VideoStream, zero: int, start: int
) -> Iterator[frame_clock.TimedFrame]:
    """The frames from a key frame before `start`, which counts from `zero` on."""
    try:
        stream.container.seek(zero + start, stream=stream)
    except av.error.FFmpegError:
        if start == 0:
            raise
        return
    yield from _timed(path, stream, zero)


def _timed(path: str, stream: av.VideoStream, zero: int) -> Iterator[frame_clock.TimedFrame]:
    """Adds the times of display since `zero`, in ticks of the stream's time base."""
    usual = max(1, round(1 / (stream.average_rate or 25) / stream.time_base))
    timestamps = frame_clock.Timestamps(stream.container.format.name)
    expected = zero
    for frame in stream.container.decode(stream):
        if frame.is_corrupt:
            seconds = float((expected - zero) * stream.time_base)
            raise VideoError(path, f"damaged: a frame at {seconds:.2f} s misses data")
        timestamp = timestamps.of(frame)
        begin = expected if timestamp is None else timestamp
        expected = begin + (frame.duration or usual)
        yield frame_clock.TimedFrame(frame, begin - zero, expected - zero)


def _deinterlaced(frames: Iterator[frame_clock.TimedFrame]) -> Iterator[frame_clock.TimedFrame]:
    """Deinterlaces from the first interlaced frame on; progressive videos pass untouched."""
    graph = None
    waiting: collections.deque[frame_clock.TimedFrame] = collections.deque()
    for timed in frames:
        if graph is None and timed.frame.interlaced_frame:
            graph = _graph(timed.frame, [("bwdif", "mode=send_frame:deint=interlaced")])
        if graph is None:
            yield timed
            continue
        waiting.append(timed)
        graph.vpush(timed.frame)
        yield from _pulled(graph, waiting)
    if graph is not None:
        graph.vpush(None)
        yield from _pulled(graph, waiting)


def _pulled(graph: av.filter.Graph, waiting: collections.deque) -> Iterator[frame_clock.TimedFrame]:
    while waiting:
        try:
            frame = graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        yield waiting.popleft()._replace(frame=frame)


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


class _JpegImages:
    """Brings frames to one size, upright, and collects them as JPEG images."""

    def __init__(
        self,
        path: str,
        short_side: int | None,
        upscale: bool,
        quality: int,
    ):
        self.frames: list[bytes] = []
        self.width = self.height = 0
        self._path = path
        self._short_side = short_side
        self._upscale = upscale
        self._quality = quality
        self._size = 0
        self._codec = None
        self._graphs: dict[tuple, av.filter.Graph] = {}

    def add(self, frame: av.VideoFrame, copies: int) -> None:
        if self._codec is None:
            self._begin(frame)
        graph = self._graph_of(frame)
        graph.vpush(frame)
        frame = graph.vpull()
        # The encoder refuses times that do not grow.
        frame.pts, frame.time_base = len(self.frames), _ENCODER_TIME_BASE
        (packet,) = self._codec.encode(frame)
        image = bytes(packet)
        self._size += len(image) * copies
        if self._size > _MAX_BYTES:
            raise VideoError(
                self._path, "gives more than 1 GiB of JPEG; cut it with start and end times"
            )
        self.frames.extend([image] * copies)

    def _begin(self, first: av.VideoFrame) -> None:
        self._turns = _turns(first)
        self._scaled = scaled_size(first.width, first.height, self._short_side, self._upscale)
        width, height = self._scaled
        if max(self._scaled) > _MAX_JPEG_SIDE or width * height > limits.MAX_PIXELS:
            raise VideoError(
                self._path,
                f"has frames of {first.width}x{first.height} pixels, which would become "
                f"{width}x{height}: too large",
            )
        if max(self._scaled) > limits.MAX_ASPECT * min(self._scaled):
            raise VideoError(
                self._path,
                f"has frames of {first.width}x{first.height} pixels: one side is more than "
                f"{limits.MAX_ASPECT} times the other",
            )
        transposed = any(name == "transpose" for name, _ in self._turns)
        self.width, self.height = self._scaled[::-1] if transposed else self._scaled
        self._codec = _mjpeg(self.width, self.height, self._quality)

    def _graph_of(self, frame: av.VideoFrame) -> av.filter.Graph:
        """A stream may change its size or format midway: one graph for each form met."""
        key = (frame.width, frame.height, frame.format.name, frame.color_range, frame.colorspace)
        if key not in self._graphs:
            matrix = _MATRICES.get(frame.colorspace)
            scale = f"{self._scaled[0]}:{self._scaled[1]}:flags=bicubic:out_range=pc"
            if matrix and matrix not in _JPEG_MATRICES:
                scale += f":in_color_matrix={matrix}:out_color_matrix=smpte170m"
            filters = [("scale", scale), *self._turns, ("format", "yuvj420p")]
            self._graphs[key] = _graph(frame, filters)
        return self._graphs[key]


def _mjpeg(width: int, height: int, quality: int) -> av.VideoCodecContext:
    codec = av.CodecContext.create("mjpeg", "w")
    codec.width, codec.height, codec.pix_fmt = width, height, "yuvj420p"
    codec.color_range = 2
    codec.time_base = _ENCODER_TIME_BASE
    codec.thread_count = 1
    # With a fixed quantiser libav takes the lowest one allowed. "bitexact" leaves out the comment
    # with libav's version.
    codec.flags |= av.codec.context.Flags.qscale | av.codec.context.Flags.bitexact
    codec.qmin, codec.qmax = quality, 31
    # Tables fitted to each image would save 4 % of the bytes and cost 30 % more encoding time.
    codec.options = {"huffman": "default"}
    return codec


def _graph(frame: av.VideoFrame, filters: list[tuple[str, str | None]]) -> av.filter.Graph:
    """A chain of libav filters for frames like this one."""
    graph = av.filter.Graph()
    graph.threads = 1
    source = (
        f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1/1000000"
        f":pixel_aspect=1/1:colorspace={_MATRICES.get(frame.colorspace, 'unknown')}"
        f":range={_RANGES.get(frame.color_range, 'unknown')}"
    )
    nodes = [graph.add(name, arguments) for name, arguments in [("buffer", source), *filters]]
    graph.link_nodes(*nodes, graph.add("buffersink")).configure()
    return graph


def _turns(frame: av.VideoFrame) -> list[tuple[str, str | None]]:
    """The filters that bring a frame upright, from the display matrix in its metadata."""
    matrix = _display_matrix(frame)
    if matrix is None:
        return []
    a, b, _, c, d = matrix[:5]  # shown at x' = a x + c y, y' = b x + d y
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return [(name, None) for name, turned in (("hflip", a < 0), ("vflip", d < 0)) if turned]
    kinds = {
        (False, False): "cclock_flip",
        (True, False): "clock",
        (False, True): "cclock",
        (True, True): "clock_flip",
    }
    return [("transpose", kinds[c < 0, b < 0])]


def _display_matrix(frame: av.VideoFrame) -> tuple[int, ...] | None:
    data = frame.side_data.get("DISPLAYMATRIX")
    return None if data is None else struct.unpack("=9i", bytes(data))


def scaled_size(
    width: int, height: int, short_side: int | None, upscale: bool = True
) -> tuple[int, int]:
    """Width and height once the shorter side is `short_side`, the other to the nearest pixel."""
    shortest = min(width, height)
    if short_side is None or shortest == short_side or (shortest < short_side and not upscale):
        return width, height
    scale = Fraction(short_side, shortest)
    return tuple(max(1, (side * scale + Fraction(1, 2)).__floor__()) for side in (width, height))
