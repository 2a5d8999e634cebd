"""Frames as JPEG images of one size, upright."""

from fractions import Fraction

import av
import av.filter

from pipelines.frames import matroska_crop, video_filters
from pipelines.frames.encoded_frames import VideoError, scaled_size, too_large
from pipelines.system import limits

_TIME_BASE = Fraction(1, 25)  # any would do: JPEG images carry no time


class JpegImages:
    """Brings frames to one size, upright, and encodes them as JPEG images.

    Args:
        path: The video's, for messages.
        short_side, upscale, quality: As for `video_file.read_frames`.
        crop: Pixels that are cut off before anything else.

    Attributes:
        height, width: Pixels of each.
        notes: How colours were guessed or changed.
    """

    def __init__(
        self,
        path: str,
        short_side: int | None,
        upscale: bool,
        quality: int,
        crop: matroska_crop.Crop = matroska_crop.NOTHING,
    ):
        self.width = self.height = 0
        self.notes: list[str] = []
        self._path = path
        self._short_side = short_side
        self._upscale = upscale
        self._quality = quality
        self._crop = crop
        self._count = 0
        self._codec: av.VideoCodecContext | None = None
        self._graphs: dict[tuple, av.filter.Graph] = {}

    def encoded(self, frame: av.VideoFrame) -> bytes:
        """The next frame as a JPEG image.

        Raises:
            VideoError: The frames are too large.
        """
        codec = self._codec or self._begin(frame)
        self._note(video_filters.prepare_colours(frame))
        graph = self._graph_of(frame)
        graph.vpush(frame)
        frame = graph.vpull()
        # The encoder refuses times that do not grow.
        frame.pts, frame.time_base = self._count, _TIME_BASE
        self._count += 1
        (packet,) = codec.encode(frame)
        return bytes(packet)

    def _note(self, note: str | None) -> None:
        if note and note not in self.notes:
            self.notes.append(note)

    def _begin(self, first: av.VideoFrame) -> av.VideoCodecContext:
        self._turns = video_filters.turns(first)
        size = video_filters.cropped_size(first, self._crop)
        self._scaled = scaled_size(*size, self._short_side, self._upscale)
        width, height = self._scaled
        if too_large(width, height):
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
        # Frames are turned behind the scaling: `_scaled` is their size before it.
        transposed = any(name == "transpose" for name, _ in self._turns)
        self.width, self.height = self._scaled[::-1] if transposed else self._scaled
        self._codec = _mjpeg(self.width, self.height, self._quality)
        return self._codec

    def _graph_of(self, frame: av.VideoFrame) -> av.filter.Graph:
        """A stream may change its size or format midway: one graph for each form met."""
        key = video_filters.form(frame)
        if key not in self._graphs:
            scale = video_filters.scale(frame, *self._scaled)
            crop = video_filters.crop(frame, self._crop)
            filters = [*crop, *scale, *self._turns, ("format", "yuvj420p")]
            self._graphs[key] = video_filters.graph(frame, filters)
        return self._graphs[key]


def _mjpeg(width: int, height: int, quality: int) -> av.VideoCodecContext:
    codec = av.CodecContext.create("mjpeg", "w")
    codec.width, codec.height, codec.pix_fmt = width, height, "yuvj420p"
    codec.color_range = 2
    codec.time_base = _TIME_BASE
    codec.thread_count = 1
    # With a fixed quantiser libav takes the lowest one allowed. "bitexact" leaves out the comment
    # with libav's version.
    codec.flags |= av.codec.context.Flags.qscale | av.codec.context.Flags.bitexact
    codec.qmin, codec.qmax = quality, 31
    # Tables fitted to each image would save 4 % of the bytes and cost 30 % more encoding time.
    codec.options = {"huffman": "default"}
    return codec
