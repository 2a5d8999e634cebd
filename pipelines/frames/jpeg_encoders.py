"""What turns frames of YUV planes into JPEG images: libav's encoder, or libjpeg-turbo's."""

import functools
import importlib.util
import itertools
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av

LIBAV, TURBO = "libav", "turbo"
ENCODERS = (LIBAV, TURBO)
_TIME_BASE = Fraction(1, 25)  # any would do: JPEG images carry no time


def check_encoder(encoder: str) -> None:
    """Raises ValueError for an encoder that there is not, or not here."""
    if encoder not in ENCODERS:
        raise ValueError(f"`encoder` must be one of {ENCODERS}. Received: encoder={encoder!r}")
    if encoder == TURBO and importlib.util.find_spec("simplejpeg") is None:
        raise ValueError(
            "encoder='turbo' needs the package simplejpeg, not installed here: "
            "pip install 'keras_rms[turbo]', or leave out --encoder."
        )


def encoder_of(
    encoder: str, width: int, height: int, quality: int
) -> Callable[[av.VideoFrame], bytes]:
    """Encodes frames of one size, in yuvj420p, one by one.

    Args:
        encoder: Of `ENCODERS`. `"turbo"` takes less time and more bytes.
        width, height: Pixels of each frame.
        quality: Quantiser, from 1 to 31.

    Raises:
        ValueError: As `check_encoder`.
    """
    check_encoder(encoder)
    if encoder == TURBO:
        import simplejpeg

        encode = functools.partial(
            simplejpeg.encode_jpeg_yuv_planes, quality=turbo_quality(quality), fastdct=True
        )
        return lambda frame: encode(*map(_array, frame.planes))
    codec, numbers = _mjpeg(width, height, quality), itertools.count()

    def by_libav(frame: av.VideoFrame) -> bytes:
        # The encoder refuses times that do not grow.
        frame.pts, frame.time_base = next(numbers), _TIME_BASE
        (packet,) = codec.encode(frame)
        return bytes(packet)

    return by_libav


def turbo_quality(quality: int) -> int:
    """libjpeg's quality, from 1 to 100, whose steps are those of a quantiser of libav.

    libjpeg scales its tables by 200 - 2 * quality per cent above 50, and by 5000 / quality below.
    At 8 per cent for each step of the quantiser both encoders' luma is as good, or turbo's better.
    """
    per_cent = 8 * quality
    return round(100 - per_cent / 2 if per_cent <= 100 else 5000 / per_cent)


def _array(plane: Any) -> Any:
    """The plane's pixels, in a piece of memory that has an even number of rows and columns.

    libjpeg-turbo reads whole pairs of pixels of luma: at an odd side those of whatever lies behind.
    """
    import numpy as np  # the process that reads videos does without, unless for this

    height, width = plane.height, plane.width
    rows = np.frombuffer(plane, np.uint8).reshape(height, plane.line_size)[:, :width]
    if height % 2 or width % 2:
        rows = np.pad(rows, ((0, height % 2), (0, width % 2)), "edge")[:height, :width]
    return rows


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
