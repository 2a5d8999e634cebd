"""Files that are there as a whole or not at all."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import keras

from keras_rms.training.work_dir.network_record import add_record

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


def save_model(
    model: keras.Model, path: str | os.PathLike, settings: Mapping[str, Any] | None = None
) -> None:
    """Saves a `.keras` file as a `whole_file`.

    Args:
        model: The network.
        path: Of the file.
        settings: What the file is to say of the network's clips; see `add_record`.

    Raises:
        OSError: If the disk is full or the folder cannot be written.
    """
    with saving(str(path)), whole_file(path) as unfinished:
        model.save(unfinished)
        if settings is not None:
            add_record(unfinished, settings)


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
