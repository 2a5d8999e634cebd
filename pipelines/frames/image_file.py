"""Turn an image into a JPEG of its own, which is a video of one frame.

Images are read by Pillow and not by the decoder of videos: it reads the same JPEG files as the
training's input pipeline does, among them the grey and CMYK ones that ImageNet has.
"""

import contextlib
import io

import av
import av.error
from PIL import Image

from pipelines.frames import damage, encoded_frames
from pipelines.system import limits

_JPEG_MODES = ("L", "RGB")  # as TensorFlow reads them; it does not read CMYK


def read_frames(
    path: str,
    *,
    fps: float = 25,
    short_side: int | None = None,
    quality: int = 1,
    upscale: bool = True,
) -> encoded_frames.EncodedFrames:
    """Encodes a JPEG or PNG file as a video of one frame.

    A JPEG that is not scaled stays as it is, byte for byte, unless it is CMYK. Orientation in Exif
    data is ignored: ImageNet's accuracies are those of images as they are stored.

    Example:

    >>> clip = read_frames("ILSVRC2012_val_00000001.JPEG")
    >>> len(clip.frames), clip.height, clip.width
    (1, 375, 500)

    Args:
        path: The file.
        fps: Frames a second that the video claims to have.
        short_side, quality, upscale: As for `video_file.read_frames`.

    Returns:
        An `EncodedFrames`.

    Raises:
        VideoError: The file cannot be read or is damaged.
        ValueError: An argument is out of its range.
    """
    encoded_frames.check_settings(fps, short_side, quality)
    try:
        with open(path, "rb") as file:
            content = file.read()
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as opened:
            image: Image.Image = opened
            if image.width * image.height > limits.MAX_PIXELS:
                raise ValueError(
                    f"{image.width}x{image.height} is more than {limits.MAX_PIXELS} pixels"
                )
            if max(image.size) > limits.MAX_ASPECT * min(image.size):
                raise ValueError(
                    f"{image.width}x{image.height}: one side is more than {limits.MAX_ASPECT} "
                    "times the other"
                )
            if image.mode[0] in "IF":
                raise ValueError("it has more than 8 bits a channel")
            image.load()
            if opened.format != "PNG":
                _check_jpeg(content)
            size = encoded_frames.scaled_size(*image.size, short_side, upscale)
            if encoded_frames.too_large(*size):
                raise ValueError(
                    f"{image.width}x{image.height} would become {size[0]}x{size[1]}: too large"
                )
            if opened.format != "PNG" and image.mode in _JPEG_MODES and image.size == size:
                return encoded_frames.EncodedFrames(
                    [content], image.height, image.width, float(fps)
                )
            image = image.convert("RGB")
    except MemoryError:
        raise
    except Exception as error:  # what damage raises depends on where in the file it is
        raise encoded_frames.VideoError(path, f"damaged or not an image: {error}") from error
    return encode_pixels(image, size, quality, fps)


def _check_jpeg(content: bytes) -> None:
    """Raises ValueError for pixels that are lost, which Pillow shows as grey without a word."""
    with damage.listening() as heard, contextlib.suppress(av.error.FFmpegError):
        decoder = av.CodecContext.create("mjpeg", "r")
        decoder.thread_count = 1
        decoder.decode(av.Packet(content))
        decoder.decode(None)
    heard.check_jpeg()


def encode_pixels(
    image: Image.Image, size: tuple[int, int], quality: int, fps: float
) -> encoded_frames.EncodedFrames:
    """Encodes an RGB image at a size (width, height) as a video of one frame.

    Colours keep their full resolution. At `quality` 1 a value is off by one grey level at most: the
    quantisers are 1, and red, green and blue are stored themselves. CIFAR's images are stored so
    and not as PNG, because the input pipeline then has one kind of frame, of which it can decode
    parts.

    Args:
        image: Of mode RGB.
        size: Width and height of the result.
        quality: Quantiser, from 1 to 31, as for `video_file.read_frames`.
        fps: Frames a second that the video claims to have.
    """
    if image.size != size:
        image = image.resize(size, Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(
        buffer,
        "JPEG",
        # From 100 down, which about follows the tables of libav's encoder: 4 is 91, 8 is 79.
        quality=103 - 3 * quality,
        subsampling="4:4:4",
        keep_rgb=quality == 1,
    )
    return encoded_frames.EncodedFrames([buffer.getvalue()], image.height, image.width, float(fps))
