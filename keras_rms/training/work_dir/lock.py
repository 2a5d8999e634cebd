"""One training at a time in a work folder."""

import fcntl
import os
import platform
from typing import BinaryIO

from keras_rms.training.work_dir.work_folder import WorkFolder


class InUseError(ValueError):
    """Another process trains in the folder."""


def lock(work_dir: str | os.PathLike) -> BinaryIO:
    """Claims the folder for this process until the returned file is closed or the process ends.

    Raises:
        InUseError: If another process has it.
    """
    file = open(WorkFolder(work_dir).lock, "a+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().decode(errors="replace").strip()
        file.close()
        raise InUseError(
            f"Another training is running in {work_dir} ({holder}). Wait for it, stop it, or "
            "choose another work_dir."
        ) from None
    except OSError:  # a file system without locks; better unprotected than unusable
        return file
    file.truncate(0)
    file.write(f"process {os.getpid()} on {platform.node()}\n".encode())
    file.flush()
    return file
