"""Turn whatever file a dataset has into JPEG frames: a video, an image, a file of many images."""

import os
from typing import Any

from pipelines.frames import video_file

_IMAGES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
_CIFAR = (b"\x1f\x8b", b"\x80\x02}")  # a compressed archive, a pickled dictionary


def read_frames(path: str, **settings: Any) -> video_file.EncodedFrames:
    """Encodes a file by what it holds, which its name need not tell: ImageNet has a PNG `.JPEG`.

    An image becomes a video of one frame.

    Args:
        path: the file.
        **settings: arguments of `video_file.read_frames`; `start` is the number of the image in a
            file of CIFAR's.

    Returns:
        An `EncodedFrames`.

    Raises:
        VideoError: the file cannot be converted.
        ValueError: an argument is out of its range.
    """
    beginning = _beginning(path)
    # A stream of JPEGs is a video, and begins like an image.
    is_stream = path.lower().endswith((".mjpeg", ".mjpg"))
    if beginning.startswith(_IMAGES) and not is_stream:
        from pipelines.frames import image_file  # not needed for videos, and slow to import

        settings = {name: settings[name] for name in settings if name not in ("start", "end")}
        return image_file.read_frames(path, **settings)
    if beginning.startswith(_CIFAR) and settings.get("start") is not None:
        from pipelines.frames import cifar_file

        settings = {name: settings[name] for name in settings if name != "end"}
        return cifar_file.read_frames(path, int(settings.pop("start")), **settings)
    return video_file.read_frames(path, **settings)


def _beginning(path: str) -> bytes:
    try:
        if os.path.isfile(path):  # opening a pipe would wait for its other end
            with open(path, "rb") as file:
                return file.read(8)
    except OSError:
        pass
    return b""  # `read_frames` says what is wrong with it
