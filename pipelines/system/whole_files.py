"""Local files that are there as a whole or not at all; no TensorFlow.

`filesystems` does the same for paths of every scheme.
"""

import contextlib
import os
import secrets

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


def write(path: str | os.PathLike, content: bytes) -> None:
    """Writes a file under a temporary name and publishes it; after an error nothing stays.

    Raises:
        OSError: It cannot be written.
    """
    path = os.fspath(path)
    temporary = temporary_name(path)
    try:
        with open(temporary, "wb") as file:
            file.write(content)
        publish(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        raise


def _flush(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:  # a full disk may show here first, and the error names no file
        raise OSError(error.errno, error.strerror, path) from error
    finally:
        os.close(descriptor)
