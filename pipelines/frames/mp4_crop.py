"""The part of an MP4 or MOV video's frames that is meant to be seen: its clean aperture (clap).

ISO/IEC 14496-12, 12.1.4. libav's programs cut off the rest; its library says so to those who ask
for a kind of data that PyAV does not give.
"""

import os
import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO

from pipelines.frames.matroska_crop import NOTHING, Crop

Place = tuple[int, int]  # where the content of a box begins and ends in the file

_SAMPLE_ENTRY = 78  # bytes of a visual sample entry before the boxes inside it
_SIZE = 24  # where in them its width and height are


def crop_of(path: str, number: int) -> Crop:
    """What is to be cut off from the frames of an MP4 or MOV file; nothing if it does not say.

    Args:
        path: The file.
        number: Of the video track, counting from 0 and video tracks only.
    """
    try:
        with open(path, "rb") as file:
            whole = (0, os.fstat(file.fileno()).st_size)
            tracks = [t for t in _find(file, whole, b"moov", b"trak") if _is_video(file, t)]
            return _crop(file, tracks[number]) if number < len(tracks) else NOTHING
    except struct.error:  # the file ends in the middle of a box
        return NOTHING


def _crop(file: BinaryIO, track: Place) -> Crop:
    for begin, end in _find(file, track, b"mdia", b"minf", b"stbl", b"stsd"):
        for _, (entry, entry_end) in _boxes(file, (begin + 8, end)):
            width, height = _read(file, entry + _SIZE, ">2H")
            for place, _ in _find(file, (entry + _SAMPLE_ENTRY, entry_end), b"clap"):
                numbers = _read(file, place, ">IIIIiIiI")
                return _cut_off(width, height, *zip(numbers[::2], numbers[1::2]))
    return NOTHING


def _cut_off(width: int, height: int, *aperture: tuple[int, int]) -> Crop:
    """The aperture is its width, its height, and how far its centre is from that of the frame."""
    if not all(below for _, below in aperture):
        return NOTHING
    shown_width, shown_height, right, down = (Fraction(*each) for each in aperture)
    left = round((width - shown_width) / 2 + right)
    top = round((height - shown_height) / 2 + down)
    crop = Crop(left, top, width - left - round(shown_width), height - top - round(shown_height))
    # libav, too, takes no notice of an aperture that is larger than the frame, or empty.
    is_inside = min(crop) >= 0 and round(shown_width) > 0 and round(shown_height) > 0
    return crop if is_inside else NOTHING


def _is_video(file: BinaryIO, track: Place) -> bool:
    places = _find(file, track, b"mdia", b"hdlr")
    return any(_read(file, begin + 8, ">4s") == (b"vide",) for begin, _ in places)


def _find(file: BinaryIO, place: Place, kind: bytes, *deeper: bytes) -> Iterator[Place]:
    """The contents of all boxes of a kind inside another one, or of those further inside them."""
    for found, inside in _boxes(file, place):
        if found == kind and deeper:
            yield from _find(file, inside, *deeper)
        elif found == kind:
            yield inside


def _boxes(file: BinaryIO, place: Place) -> Iterator[tuple[bytes, Place]]:
    position, end = place
    while position + 8 <= end:
        size, kind = _read(file, position, ">I4s")
        header = 8
        if size == 1:
            (size,), header = _read(file, position + 8, ">Q"), 16
        elif size == 0:  # to the end
            size = end - position
        if size < header:
            return
        yield kind, (position + header, min(position + size, end))
        position += size


def _read(file: BinaryIO, position: int, form: str) -> tuple:
    file.seek(position)
    return struct.unpack(form, file.read(struct.calcsize(form)))
