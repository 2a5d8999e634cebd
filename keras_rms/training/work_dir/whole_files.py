"""Files that are there as a whole or not at all."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import keras

UNFINISHED = "unfinished."


@contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[Path]:
    """A name to write a file under, which becomes `path` once it is complete and on the disk.

    Example:

    >>> with whole_file("runs/rms/model.keras") as unfinished:
    ...     model.save(unfinished)

    Args:
        path: Replaced if it exists; after an error it is as it was.
    """
    path = Path(path)
    # Before the name: Keras looks at endings. Always the same, so that the next save removes what a
    # killed one left.
    unfinished = path.with_name(UNFINISHED + path.name)
    try:
        yield unfinished
        _flush(unfinished)
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    _flush(path.parent)


def write_whole(path: str | os.PathLike, write: Callable[[BinaryIO], object]) -> None:
    """Lets `write`, which takes a binary file, fill a `whole_file`."""
    with whole_file(path) as unfinished, open(unfinished, "wb") as file:
        write(file)


def save_model(model: keras.Model, path: str | os.PathLike) -> None:
    """Saves a `.keras` file as a `whole_file`.

    Raises:
        OSError: If the disk is full or the folder cannot be written.
    """
    with saving(str(path)), whole_file(path) as unfinished:
        model.save(unfinished)


@contextmanager
def saving(what: str) -> Iterator[None]:
    """Explains an OSError inside, as of a full disk; `what` was to be written."""
    try:
        yield
    except OSError as error:
        raise OSError(
            f"{what} could not be written ({error.strerror or error}). The checkpoints saved "
            "before are untouched: make room, or repair the disk or its permissions, then run the "
            "same command again to continue from the newest of them."
        ) from error


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
