"""Turn whatever file a dataset has into JPEG frames: a video, an image, a file of many images."""

import os
import re
from collections.abc import Iterator
from typing import Any

from pipelines.frames import image_stream, video_file

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_IMAGE_NAMES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png")
_STREAM_NAMES = (".mjpeg", ".mjpg")
_CIFAR = re.compile(rb"\x1f\x8b|\x80[\x02-\x05]")  # a compressed archive, a pickle


def read_frames(path: str, **settings: Any) -> video_file.EncodedFrames:
    """Encodes a file by what it holds, which its name need not tell: ImageNet has a PNG `.JPEG`.

    An image becomes a video of one frame, for which `encoder` makes no difference.

    Args:
        path: The file.
        **settings: Arguments of `video_file.read_frames`; `start` is the number of the image in a
            file of CIFAR's.

    Returns:
        An `EncodedFrames`.

    Raises:
        VideoError: The file cannot be converted.
        ValueError: An argument is out of its range.
    """
    kind = _kind(path, settings)
    if kind == "image":
        from pipelines.frames import image_file  # not needed for videos, and slow to import

        others = ("start", "end", "encoder")
        settings = {name: settings[name] for name in settings if name not in others}
        return image_file.read_frames(path, **settings)
    if kind == "images":
        from pipelines.frames import cifar_file

        settings = {name: settings[name] for name in settings if name not in ("end", "encoder")}
        return cifar_file.read_frames(path, int(settings.pop("start")), **settings)
    return video_file.read_frames(path, **settings)


def stream_frames(path: str, **settings: Any) -> Iterator[tuple[bytes, int]]:
    """`video_file.stream_frames` of a file of any kind, with the arguments of `read_frames`."""
    if _kind(path, settings) == "video":
        yield from video_file.stream_frames(path, **settings)
    else:
        yield from ((image, 1) for image in read_frames(path, **settings).frames)


def _kind(path: str, settings: dict[str, Any]) -> str:
    beginning = _beginning(path)
    if _is_image(path, beginning):
        return "image"
    is_numbered = settings.get("start") is not None
    return "images" if _CIFAR.match(beginning) and is_numbered else "video"


def _is_image(path: str, beginning: bytes) -> bool:
    if not beginning.startswith((_JPEG, _PNG)):
        return False
    name = path.lower()
    # Cameras write streams of images, and some under the names of videos.
    is_stream = name.endswith(_STREAM_NAMES)
    return name.endswith(_IMAGE_NAMES) or not (is_stream or image_stream.has_several(path))


def _beginning(path: str) -> bytes:
    try:
        if os.path.isfile(path):  # opening a pipe would wait for its other end
            with open(path, "rb") as file:
                return file.read(8)
    except OSError:
        pass
    return b""  # `read_frames` says what is wrong with it
