"""The files of a run, which are there as a whole or not at all."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO

import keras

from keras_rms.models.network_record import add_record
from keras_rms.whole_files import whole_file


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
