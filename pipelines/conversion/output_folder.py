"""The folder that a conversion writes to: one writer a split, and what others have left in it."""

import collections
import contextlib
import glob
import os
import re
import sys
from collections.abc import Iterator
from typing import IO

import tensorflow as tf

from pipelines.system import filesystems, whole_files


def make_folder(output: str) -> None:
    """Makes the folder if it is not there, or raises OSError if nothing can be written to it."""
    filesystems.require(output)
    if not filesystems.is_local(output):
        return
    try:
        os.makedirs(output, exist_ok=True)
    except OSError as error:
        raise OSError(f"--output={output} cannot be made: {error.strerror}.") from error
    if not os.access(output, os.W_OK | os.X_OK):
        raise OSError(f"--output={output} cannot be written to: permission denied.")


@contextlib.contextmanager
def sole_writer(output: str, split: str) -> Iterator[None]:
    """Holds a lock on the split, and clears what a killed run has left behind.

    Where the file system has no locks nothing is cleared: it may be another writer's.

    Raises:
        ValueError: Another conversion holds it.
    """
    if not filesystems.is_local(output):
        yield
        return
    with open(os.path.join(output, f".{split}.lock"), "w") as lock:
        try:
            is_locked = _lock(lock)
        except BlockingIOError as error:
            raise ValueError(
                f"Another conversion is writing split {split!r} to {output}. Wait until it has "
                "ended, or choose another --output."
            ) from error
        if is_locked:
            _clear(os.path.join(output, split))
        yield


def _lock(file: IO) -> bool:
    """Whether the file could be locked; some file systems have no locks.

    Raises:
        BlockingIOError: Another process has locked it.
    """
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # better unprotected than unusable
        return False
    return True


def _clear(split: str) -> None:
    stem = glob.escape(split)
    for ending in ("-[0-9]*-of-[0-9]*", ".json", ".index.npz"):
        for leftover in glob.glob(f"{stem}{ending}.*{whole_files.ENDING}"):
            os.remove(leftover)


def name_old_shards(output: str, split: str, num_shards: int) -> None:
    """Says which shards another number of shards has left behind: a terabyte, it may be."""
    shard = re.compile(re.escape(split) + r"-\d{5}-of-(\d{5})\.tfrecord")
    found = filter(None, map(shard.fullmatch, tf.io.gfile.listdir(output)))
    old = collections.Counter(match[1] for match in found if int(match[1]) != num_shards)
    for number, count in sorted(old.items()):
        print(
            f"{count} shards of an earlier conversion remain, which nothing reads any more. Remove "
            f"{os.path.join(output, f'{split}-*-of-{number}.*')} to get their space back.",
            file=sys.stderr,
        )
