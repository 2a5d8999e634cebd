"""Files of results that are written as these come, so that a stop loses none."""

import contextlib
import json
import os
import shutil
import time
import zipfile
from collections.abc import Iterator
from typing import BinaryIO, TextIO

import numpy as np

from pipelines.system import whole_files
from pipelines.system.text import printable

_SECONDS = 30.0
_SHARE = 20  # a twentieth of the time may go into copies


class FeatureFile:
    """An `.npz` file of an array a video, under its name.

    After an error, Ctrl-C or SIGTERM it holds all that was added. After SIGKILL it holds what was
    added up to half a minute before, or up to a twentieth of the time.

    Example:

    >>> with FeatureFile("features.npz") as features:
    ...     features.add("some_video.mp4", vector)

    Args:
        path: The file, which is replaced by the first array.
    """

    def __init__(self, path: str):
        self._path = path
        # An archive has its list of members at its end: it is written elsewhere, and copied.
        self._file: BinaryIO | None = None
        self._archive: zipfile.ZipFile | None = None
        self._next = time.monotonic() + _SECONDS

    def __enter__(self) -> "FeatureFile":
        return self

    def add(self, name: str, array: np.ndarray) -> None:
        """Adds an array; `name` may be any that a file can have."""
        self._file = self._file or whole_files.claimed(self._path)
        if self._archive is None:
            self._archive = zipfile.ZipFile(self._file, "a", zipfile.ZIP_DEFLATED)
        with self._archive.open(f"{printable(name)}.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)
        if time.monotonic() >= self._next:
            self._copy(self._file)

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            with self._file:
                self._close()
                whole_files.publish(self._file.name, self._path)

    def _copy(self, file: BinaryIO) -> None:
        started = time.monotonic()
        self._close()
        with whole_files.claimed(self._path) as copy:
            try:
                shutil.copyfile(file.name, copy.name)
                whole_files.publish(copy.name, self._path)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.remove(copy.name)
        ended = time.monotonic()
        self._next = ended + max(_SECONDS, _SHARE * (ended - started))

    def _close(self) -> None:
        archive, self._archive = self._archive, None
        if archive is not None:
            archive.close()
            self._file.flush()


@contextlib.contextmanager
def json_lines(path: str | None) -> Iterator["JsonLines"]:
    """A file of JSON, one object a line; nothing is written where `path` is None."""
    if path is None:
        yield JsonLines(None)
        return
    with open(path, "w", encoding="utf-8") as file:
        yield JsonLines(file)


class JsonLines:
    """Writes objects, each as a line that is in the file at once.

    Args:
        file: Where to write; None for nowhere.
    """

    def __init__(self, file: TextIO | None):
        self._file = file

    def add(self, **values: object) -> None:
        """Writes the values as one object."""
        if self._file is not None:
            with whole_files.naming(self._file.name):
                print(json.dumps(values), file=self._file, flush=True)
