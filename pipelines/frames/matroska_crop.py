"""The part of a Matroska video's frames that is meant to be seen.

libav's programs cut off the rest. libav's library only says that it is there, to those who ask for
a kind of data that PyAV does not give.
"""

import io
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

# Identifiers of elements, from RFC 9559.
_SEGMENT, _TRACKS, _TRACK = 0x18538067, 0x1654AE6B, 0xAE
_TRACK_TYPE, _VIDEO_TYPE, _VIDEO = 0x83, 1, 0xE0
_CLUSTER = 0x1F43B675
_LEFT, _TOP, _RIGHT, _BOTTOM = 0x54CC, 0x54BB, 0x54DD, 0x54AA
_LARGEST_TABLE = 1 << 20  # bytes that describe the tracks


class Crop(NamedTuple):
    """Pixels to cut off at each side."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0


NOTHING = Crop()


def crop_of(path: str, number: int) -> Crop:
    """What is to be cut off from the frames of a Matroska file; nothing if it does not say.

    Args:
        path: The file.
        number: Of the video track, counting from 0 and video tracks only.
    """
    with open(path, "rb") as file:
        tables = _tracks(file)
    videos = [track for track in _elements(tables, _TRACK) if _is_video(track)]
    if number >= len(videos):
        return NOTHING
    values = {}
    for video in _elements(videos[number], _VIDEO):
        for name, kind in zip(Crop._fields, (_LEFT, _TOP, _RIGHT, _BOTTOM)):
            for value in _elements(video, kind):
                values[name] = int.from_bytes(value, "big")
    return Crop(**values)


def _tracks(file: BinaryIO) -> bytes:
    """The table of tracks, which stands before the first frames; empty if it does not."""
    while header := _header(file):
        kind, size = header
        if kind == _TRACKS:
            # A size may say anything.
            return file.read(min(size or 0, _LARGEST_TABLE))
        if kind == _SEGMENT:
            continue  # go into it
        if size is None or kind == _CLUSTER:
            break
        file.seek(size, 1)
    return b""


def _is_video(track: bytes) -> bool:
    kinds = _elements(track, _TRACK_TYPE)
    return any(int.from_bytes(kind, "big") == _VIDEO_TYPE for kind in kinds)


def _header(file: BinaryIO) -> tuple[int, int | None] | None:
    """Identifier and size of the next element; the size is None where it is not known."""
    kind, _ = _number(file)
    size, length = _number(file)
    if kind is None or size is None:
        return None
    # Without the bit that ends the zeros; all ones then stand for "until the end".
    size -= 1 << 7 * length
    return kind, None if size == (1 << 7 * length) - 1 else size


def _number(file: BinaryIO) -> tuple[int | None, int]:
    """A number that begins with its length in zero bits, which are left in, and its length."""
    first = file.read(1)
    if not first or not first[0]:
        return None, 0
    length = 9 - first[0].bit_length()
    return int.from_bytes(first + file.read(length - 1), "big"), length


def _elements(content: bytes, wanted: int) -> Iterator[bytes]:
    """The contents of all elements of a kind, directly inside another one."""
    file = io.BytesIO(content)
    while header := _header(file):
        kind, size = header
        inside = file.read(len(content) if size is None else size)
        if kind == wanted:
            yield inside
