"""Small video files whose pixels say which frame they are, where they lie and which way is up."""

import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction

import av
import numpy as np
import tensorflow as tf

# Corners of an upright frame: red and green above, blue and white below.
CORNERS = {
    "top left": (255, 0, 0),
    "top right": (0, 255, 0),
    "bottom left": (0, 0, 255),
    "bottom right": (255, 255, 255),
}
_BITS = 10


def numbered_frame(number: int, height: int = 64, width: int = 96) -> np.ndarray:
    """A frame with coloured corners and its number as black and white blocks in the middle row."""
    image = np.full((height, width, 3), 96, np.uint8)
    h, w = height // 4, width // 4
    image[:h, :w] = CORNERS["top left"]
    image[:h, -w:] = CORNERS["top right"]
    image[-h:, :w] = CORNERS["bottom left"]
    image[-h:, -w:] = CORNERS["bottom right"]
    edges = np.linspace(0, width, _BITS + 1).astype(int)
    for bit in range(_BITS):
        value = 255 if number >> bit & 1 else 0
        image[height // 3 : height - height // 3, edges[bit] : edges[bit + 1]] = value
    return image


def frame_number(image: np.ndarray) -> int:
    """The number that `numbered_frame` put into an upright image of any size."""
    height, width = image.shape[:2]
    edges = np.linspace(0, width, _BITS + 1)
    row = image[height // 2].astype(float).mean(-1)
    centres = ((edges[1:] + edges[:-1]) / 2).astype(int)
    return sum(1 << bit for bit, centre in enumerate(centres) if row[centre] > 128)


def corner_names(image: np.ndarray) -> list[str]:
    """Which corner of the frame is seen top left, top right, bottom left and bottom right."""
    height, width = image.shape[:2]
    y, x = height // 8, width // 8
    seen = [image[y, x], image[y, -x - 1], image[-y - 1, x], image[-y - 1, -x - 1]]
    return [
        min(CORNERS, key=lambda name: np.abs(np.subtract(CORNERS[name], pixel, dtype=int)).sum())
        for pixel in seen
    ]


def decode(jpeg: bytes) -> np.ndarray:
    """The RGB image of a JPEG file, through another decoder than the one under test."""
    return tf.io.decode_jpeg(jpeg, channels=3, dct_method="INTEGER_ACCURATE").numpy()


def numbers(frames: Sequence[bytes]) -> list[int]:
    """The numbers of JPEG frames."""
    return [frame_number(decode(frame)) for frame in frames]


def write_video(
    path,
    images: Iterable[np.ndarray],
    *,
    rate: Fraction | int = 25,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    times: Sequence[float] | None = None,
    audio: bool = False,
    **codec_attributes,
) -> str:
    """Writes RGB images as a video.

    Args:
        path: where; the ending decides the container.
        images: arrays of shape (height, width, 3), uint8.
        rate: frames a second.
        codec: an encoder of libav.
        pixel_format: of the stored frames.
        options: of the encoder.
        container_options: of the container.
        times: seconds at which each frame is shown, instead of a constant rate.
        audio: adds a second of silence.
        codec_attributes: set on the encoder, e.g. `color_range=2`.

    Returns:
        The path as a string.
    """
    path = str(path)
    images = iter(images)
    first = next(images)
    with av.open(path, "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = pixel_format
        stream.codec_context.thread_count = 1
        time_base = Fraction(1, 90_000) if times is not None else 1 / Fraction(rate)
        stream.codec_context.time_base = time_base
        for name, value in codec_attributes.items():
            setattr(stream.codec_context, name, value)
        sound = container.add_stream("aac", rate=8000) if audio else None
        number = 0
        for image in _chain(first, images):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24")
            conversion = {"dst_color_range": codec_attributes.get("color_range", 1)}
            if codec_attributes.get("colorspace"):
                conversion["dst_colorspace"] = codec_attributes["colorspace"]
            frame = frame.reformat(format=pixel_format, **conversion)
            frame.time_base = time_base
            frame.pts = number if times is None else round(times[number] / time_base)
            container.mux(stream.encode(frame))
            number += 1
        container.mux(stream.encode(None))
        if sound is not None:
            write_silence(container, sound)
    return path


def write_numbered(path, count: int = 25, *, height: int = 64, width: int = 96, **options) -> str:
    """Writes a video of numbered frames; the options are those of `write_video`."""
    images = (numbered_frame(number, height, width) for number in range(count))
    return write_video(path, images, **options)


def write_audio(path) -> str:
    """Writes a file with sound only."""
    with av.open(str(path), "w") as container:
        write_silence(container, container.add_stream("aac", rate=8000))
    return str(path)


def set_display_matrix(path, a: int, b: int, c: int, d: int) -> None:
    """Sets rotation and mirroring of an MP4 or MOV file: shown at x' = ax + cy, y' = bx + dy."""
    with open(path, "rb") as file:
        content = bytearray(file.read())
    place = content.index(b"tkhd") + 4 + 40
    fixed = [value << 16 for value in (a, b, c, d)]
    matrix = [fixed[0], fixed[1], 0, fixed[2], fixed[3], 0, 0, 0, 1 << 30]
    content[place : place + 36] = struct.pack(">9i", *matrix)
    with open(path, "wb") as file:
        file.write(content)


def cut(path, share: float) -> None:
    """Truncates a file to a share of its bytes."""
    with open(path, "rb+") as file:
        file.seek(0, 2)
        file.truncate(int(file.tell() * share))


def _chain(first: np.ndarray, rest: Iterable[np.ndarray]) -> Iterable[np.ndarray]:
    yield first
    yield from rest


def write_silence(
    container: av.container.OutputContainer, stream: av.AudioStream, seconds: float = 1
) -> None:
    """Writes silence to a stream of sound, and ends it."""
    rate = stream.codec_context.sample_rate
    for number in range(int(seconds * rate / 1024)):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = rate
        frame.pts = number * 1024
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
