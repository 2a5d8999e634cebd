"""Files that are there as a whole or not at all."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import keras


def save_model(model: keras.Model, path: str | os.PathLike) -> None:
    """Saves a `.keras` file that is there as a whole or not at all.

    Raises:
        OSError: If the disk is full or the folder cannot be written.
    """
    path = Path(path)
    unfinished = path.with_name(f"{path.stem}.unfinished.keras")
    with saving(str(path)):
        try:
            model.save(unfinished)
            os.replace(unfinished, path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise


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


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Lets `write` fill a file that appears under `path` only when it is complete and on the disk.

    Args:
        path: Replaced if it exists.
        write: Takes a binary file.
    """
    # A fixed name, so that the next save removes what a killed one left.
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        with open(unfinished, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
