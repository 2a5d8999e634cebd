"""Turn whatever file a dataset has into JPEG frames: a video, an image, a file of many images."""

import os
from typing import Any

from pipelines import decoding

_IMAGES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
_CIFAR = (b"\x1f\x8b", b"\x80\x02}")  # a compressed archive, a pickled dictionary


def encode_file(path: str, **settings: Any) -> decoding.EncodedFrames:
    """Encodes a file by what it holds, which its name need not tell: ImageNet has a PNG `.JPEG`.

    An image becomes a video of one frame.

    Args:
        path: the file.
        **settings: arguments of `decoding.encode_video`; `start` is the number of the image in a
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
        from pipelines import images  # not needed for videos, and slow to import

        settings = {name: settings[name] for name in settings if name not in ("start", "end")}
        return images.encode_image(path, **settings)
    if beginning.startswith(_CIFAR) and settings.get("start") is not None:
        from pipelines import cifar

        settings = {name: settings[name] for name in settings if name != "end"}
        return cifar.encode_image(path, int(settings.pop("start")), **settings)
    return decoding.encode_video(path, **settings)


def _beginning(path: str) -> bytes:
    try:
        if os.path.isfile(path):  # opening a pipe would wait for its other end
            with open(path, "rb") as file:
                return file.read(8)
    except OSError:
        pass
    return b""  # `encode_video` says what is wrong with it
