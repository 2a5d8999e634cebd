"""Tells a stream of JPEG or PNG images, which is a video, from a file of one image."""

import mmap
import re

_START = b"\xff\xd8\xff"
_NEXT_PNG = b"IEND\xaeB`\x82\x89PNG\r\n\x1a\n"  # the end of one, the beginning of another
_END = 0xD9
# Of JPEG's markers: TEM, the restarts, and the start of an image.
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}
_MORE_VIEWS = b"MPF\0"  # says that the images behind the first are other views of it
# In the data of a scan, a marker is what is neither a stuffed byte nor a restart.
_MARKER = re.compile(rb"\xff+[\x01-\xcf\xd8-\xfe]")
_FILLING = re.compile(rb"[\x00\xff]*?(?=\xff\xd8\xff)")


def has_several(path: str) -> bool:
    """Whether another image follows on the one with which a file begins.

    Raises:
        OSError: The file cannot be read.
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content[: len(_START)] != _START:
            return content.find(_NEXT_PNG) >= 0
        end = _end_of_first_jpeg(content)
        return end is not None and _FILLING.match(content, end) is not None


def _end_of_first_jpeg(content: mmap.mmap) -> int | None:
    """Where the first image ends; None if nowhere, or if the next ones belong to it."""
    place = len(_START) - 1
    while marker := _MARKER.search(content, place):
        kind, place = content[marker.end() - 1], marker.end()
        if kind == _END:
            return place
        if kind in _WITHOUT_LENGTH:
            continue
        if content[place + 2 : place + 2 + len(_MORE_VIEWS)] == _MORE_VIEWS:
            return None
        place += int.from_bytes(content[place : place + 2], "big")
    return None
