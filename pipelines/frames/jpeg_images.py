"""Frames as JPEG images of one size, upright."""

from collections.abc import Callable

import av
import av.filter

from pipelines.frames import jpeg_encoders, matroska_crop, video_filters
from pipelines.frames.encoded_frames import VideoError, scaled_size, too_large
from pipelines.system import limits


class JpegImages:
    """Brings frames to one size, upright, and encodes them as JPEG images.

    Args:
        path: The video's, for messages.
        short_side, upscale, quality, encoder: As for `video_file.read_frames`.
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
        encoder: str = jpeg_encoders.LIBAV,
        crop: matroska_crop.Crop = matroska_crop.NOTHING,
    ):
        self.width = self.height = 0
        self.notes: list[str] = []
        self._path = path
        self._short_side = short_side
        self._upscale = upscale
        self._quality = quality
        self._encoder = encoder
        self._crop = crop
        self._encode: Callable[[av.VideoFrame], bytes] | None = None
        self._graphs: dict[tuple, av.filter.Graph] = {}

    def encoded(self, frame: av.VideoFrame) -> bytes:
        """The next frame as a JPEG image.

        Raises:
            VideoError: The frames are too large.
        """
        encode = self._encode or self._begin(frame)
        self._note(video_filters.prepare_colours(frame))
        graph = self._graph_of(frame)
        graph.vpush(frame)
        return encode(graph.vpull())

    def _note(self, note: str | None) -> None:
        if note and note not in self.notes:
            self.notes.append(note)

    def _begin(self, first: av.VideoFrame) -> Callable[[av.VideoFrame], bytes]:
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
        try:
            self._encode = jpeg_encoders.encoder_of(
                self._encoder, self.width, self.height, self._quality
            )
        except ValueError as error:  # where the videos are read a package may be missing
            raise VideoError(self._path, str(error), lasting=False) from error
        return self._encode

    def _graph_of(self, frame: av.VideoFrame) -> av.filter.Graph:
        """A stream may change its size or format midway: one graph for each form met."""
        key = video_filters.form(frame)
        if key not in self._graphs:
            scale = video_filters.scale(frame, *self._scaled)
            crop = video_filters.crop(frame, self._crop)
            filters = [*crop, *scale, *self._turns, ("format", "yuvj420p")]
            self._graphs[key] = video_filters.graph(frame, filters)
        return self._graphs[key]
