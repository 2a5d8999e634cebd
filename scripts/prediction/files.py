"""The files that the words of a command line mean."""

import glob
import os
import sys
from collections.abc import Iterator, Sequence

from pipelines.frames.live_source import is_live, without_password
from pipelines.layouts.annotations import VIDEO_SUFFIXES, ends_in
from pipelines.layouts.image_folder import IMAGE_SUFFIXES
from pipelines.system import filesystems
from pipelines.system.text import printable

_SUFFIXES = frozenset({*VIDEO_SUFFIXES, *IMAGE_SUFFIXES})
_NAMED = 3


def listed(words: Sequence[str]) -> list[str]:
    """Files in the order of the words, each once.

    Args:
        words: Files, folders (of which all videos and images below are taken) and patterns such as
            `videos/**/*.mp4`.

    Raises:
        ValueError: If a folder holds no video, a pattern fits nothing, or a word is an address.
    """
    return list(dict.fromkeys(file for word in words for file in _files(word)))


def live(words: Sequence[str]) -> str | None:
    """The camera or the stream, if the words name one.

    Raises:
        ValueError: If they name something beside it.
    """
    found = [word for word in words if is_live(word)]
    if found and len(words) > 1:
        name = printable(without_password(found[0]))
        raise ValueError(
            f"{name} is a camera or a stream, which is watched until it ends. Name it alone."
        )
    return found[0] if found else None


def _files(word: str) -> Iterator[str]:
    if os.path.isdir(word):
        yield from _below(word)
    elif os.path.lexists(word):
        yield word
    elif not filesystems.is_local(word):
        raise ValueError(
            f"{printable(word)} is an address that is not read: name files of this "
            "machine, or to keras-rms predict a stream of http, rtsp, rtmp, rtp, udp or tcp. "
            "Download it first."
        )
    elif glob.has_magic(word):
        found = sorted(glob.glob(word, recursive=True))
        if not found:
            raise ValueError(f"No file fits {printable(word)}.")
        for path in found:
            yield from _below(path) if os.path.isdir(path) else [path]
    else:
        yield word  # its reader says what is wrong with it


def _below(folder: str) -> list[str]:
    """All videos and images in a folder and those below it; hidden ones are left out."""
    files, others = [], []
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in names if not name.startswith(".")):
            (files if ends_in(name, _SUFFIXES) else others).append(os.path.join(where, name))
    if not files:
        raise ValueError(
            f"{printable(folder)} holds no video and no image: their names end in one of "
            f"{' '.join(sorted(_SUFFIXES))}. A file that has another name can be named itself."
        )
    if others:
        named = ", ".join(map(printable, others[:_NAMED])) + (", ..." if others[_NAMED:] else "")
        print(
            f"Left out: {len(others)} files without the ending of a video or image: {named}",
            file=sys.stderr,
        )
    return files
