"""One training at a time in a work folder."""

import fcntl
import os
import platform
from typing import BinaryIO

from keras_rms.training.work_dir.work_folder import WorkFolder


class InUseError(ValueError):
    """Another process has the folder, or a part of it."""


def lock(work_dir: str | os.PathLike) -> BinaryIO:
    """Claims the folder for this process until the returned file is closed or the process ends.

    Raises:
        InUseError: If another process has it.
    """
    return lock_file(
        WorkFolder(work_dir).lock,
        f"Another training is running in {work_dir}",
        "Wait for it, stop it, or choose another work_dir.",
    )


def lock_file(path: str | os.PathLike, what: str, remedy: str) -> BinaryIO:
    """Claims a file for this process until what is returned is closed or the process ends.

    Args:
        path: The file, which is made.
        what: Says in an error what has it.
        remedy: Says what to do.

    Raises:
        InUseError: If another process has it; says which.
    """
    file = open(path, "a+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().decode(errors="replace").strip()
        file.close()
        raise InUseError(f"{what} ({holder}). {remedy}") from None
    except OSError:  # a file system without locks; better unprotected than unusable
        return file
    file.truncate(0)
    file.write(f"process {os.getpid()} on {platform.node()}\n".encode())
    file.flush()
    return file
