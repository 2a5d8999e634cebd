"""Files from elsewhere: what they are, and how much memory and time reading one may take.

A small file can ask for a lot: a compressed entry that unfolds a thousandfold, an array that is
filed once and named often. Reading takes at most ten times the file's size, and a margin.
"""

import os
import zipfile
from typing import NamedTuple

FACTOR = 10
MARGIN = 16 << 20
# Steps of reading that a small file may take, about a second's worth; longer files take more.
STEPS = 300_000
BYTES_PER_STEP = 32

# First bytes, what the file then is, and what to do.
_KINDS = (
    (
        b"version https://git-lfs.github.com/",
        "a pointer of Git LFS, which stands for the file in a clone",
        "Fetch the file itself with `git lfs pull`, or download it from the project's page",
    ),
    (b"\x1f\x8b", "compressed by gzip", "Unpack it with `gunzip`, or `tar xzf`"),
    (b"BZh", "compressed by bzip2", "Unpack it with `bunzip2`"),
    (b"\xfd7zXZ\0", "compressed by xz", "Unpack it with `unxz`"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "Unpack it with `unzstd`"),
    (b"\x89HDF\r\n\x1a\n", "in the format HDF5", "Its name has to end in .weights.h5 or .h5"),
)
_WEB_PAGE = ("a web page", "It may be an error that was downloaded: download the file again")
_SAFETENSORS = (
    "in the format safetensors",
    "Convert it: torch.save({'state_dict': safetensors.torch.load_file(FILE)}, 'checkpoint.pth')",
)


class TooLargeError(ValueError):
    """A file that unfolds to much more than its size."""


class Allowance:
    """What is left of the memory and the time that reading a file may take.

    Args:
        path: Of the file.
    """

    def __init__(self, path: str) -> None:
        size = os.path.getsize(path)
        self._bytes = FACTOR * size + MARGIN
        self._steps = STEPS + size // BYTES_PER_STEP

    def take(self, num_bytes: int) -> None:
        """Counts memory that is about to be used.

        Raises:
            TooLargeError: If it is more than the file's size accounts for.
        """
        self._bytes -= num_bytes
        if self._bytes < 0:
            raise TooLargeError(
                f"it unfolds to more than {FACTOR} times its size, as no file of weights does"
            )

    def step(self, count: int = 1) -> None:
        """Counts steps of reading that are about to be taken.

        Raises:
            TooLargeError: If they are more than the file's size accounts for.
        """
        self._steps -= count
        if self._steps < 0:
            raise TooLargeError("it takes more steps to read than any file of weights does")

    def read_entry(self, archive: zipfile.ZipFile, name: str) -> bytes:
        """The content of an entry of a zip file; `KeyError` if there is none of that name."""
        self.take_entry(archive.getinfo(name))
        return archive.read(name)

    def take_entry(self, entry: zipfile.ZipInfo) -> None:
        """Counts what reading an entry of a zip file will use."""
        # What is read ends at the size that the entry declares; but a buffer of the packed size is
        # made before, whatever the file holds.
        self.take(max(entry.file_size, entry.compress_size))


class Kind(NamedTuple):
    """What a file is, and how to make of it what is wanted; both go on in a sentence."""

    name: str
    remedy: str


def foreign_kind(path: str) -> Kind | None:
    """What a file is by its first bytes, where that is something else than a weights file."""
    with open(path, "rb") as file:
        start = file.read(64)
    if not start:
        return Kind("empty", "Download or write it again")
    if start.lstrip().startswith(b"<"):
        return Kind(*_WEB_PAGE)
    for magic, name, remedy in _KINDS:
        if start.startswith(magic):
            return Kind(name, remedy)
    is_safetensors = start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1 << 32
    return Kind(*_SAFETENSORS) if is_safetensors else None
