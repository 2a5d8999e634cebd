"""Local files that are there as a whole or not at all; no TensorFlow.

`filesystems` does the same for paths of every scheme.
"""

import contextlib
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from typing import BinaryIO

ENDING = ".tmp"


def temporary_name(path: str) -> str:
    """Another name beside `path`, different each time; it ends in `ENDING`."""
    # Processes on different machines can have the same number.
    return f"{path}.{secrets.token_hex(8)}{ENDING}"


def publish(temporary: str, path: str) -> None:
    """Moves a finished file to its place, once it is on the disk."""
    _flush(temporary)
    os.replace(temporary, path)
    _flush(os.path.dirname(path) or ".")


def is_device(path: str | os.PathLike) -> bool:
    """Whether a device or a pipe is there, as /dev/null, in whose place no file may be put.

    So is what a process has open, as /dev/stdout: that may be a file, and is still in use.
    """
    path = os.fspath(path)
    target = os.readlink(path) if os.path.islink(path) else path
    if target.startswith(("/proc/", "/dev/fd/")):
        return True
    return os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path))


def write(path: str | os.PathLike, content: bytes) -> None:
    """Writes a file under a temporary name and publishes it; after an error nothing stays.

    A device or a pipe, as /dev/null, is written itself.

    Raises:
        OSError: If it cannot be written.
    """
    path = os.fspath(path)
    if is_device(path):
        with naming(path), open(path, "wb") as file:
            file.write(content)
        return
    temporary = temporary_name(path)
    try:
        with naming(path), open(temporary, "wb") as file:
            file.write(content)
        publish(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        raise


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
    """Names the file in an error of the disk, which says of an open file only that it is full."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename:
            raise
        raise OSError(error.errno, error.strerror, path) from error


def claimed(path: str | os.PathLike) -> BinaryIO:
    """A new temporary file beside `path`, open for reading and writing, for what takes long.

    It is locked for as long as it is open. So those that killed processes left for the same path
    are known, and removed.
    """
    path = os.fspath(path)
    _remove_abandoned(path)
    while True:
        file = open(temporary_name(path), "x+b")
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Before it was locked, another process may have taken it for an abandoned one.
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()


def _remove_abandoned(path: str) -> None:
    folder, name = os.path.split(path)
    temporary = re.compile(rf"{re.escape(name)}\.[0-9a-f]{{16}}{re.escape(ENDING)}")
    for other in filter(temporary.fullmatch, os.listdir(folder or ".")):
        # Without locks nothing is known of it: it stays.
        with contextlib.suppress(OSError), open(os.path.join(folder, other), "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.remove(file.name)


def _flush(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with naming(path):  # a full disk may show here first
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
