"""The folder that a conversion writes to: one writer a split, and what others have left in it.

Words:
    lock      .<split>.lock, held by the process that writes the split; a kill frees it too
    leftover  a temporary file of a run that was killed
    old       of a shard: the number behind "of" is another one, so that no index names it

Object stores have no locks: there nothing refuses a second writer, and leftovers stay.
"""

import collections
import contextlib
import glob
import os
import re
import sys
from collections.abc import Iterator

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
    """Holds a lock on the split, and clears what a killed run has left behind."""
    if not filesystems.is_local(output):
        yield
        return
    import fcntl

    # The file stays: were it removed, one process could hold the old one and another the new one.
    with open(os.path.join(output, f".{split}.lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(
                f"Another conversion is writing split {split!r} to {output}. Wait until it has "
                "ended, or choose another --output."
            ) from error
        # Only the holder of the lock may: to others these are files that are being written.
        stem = glob.escape(os.path.join(output, split))
        for ending in ("-[0-9]*-of-[0-9]*", ".json", ".index.npz"):
            for leftover in glob.glob(f"{stem}{ending}.*{whole_files.ENDING}"):
                os.remove(leftover)
        yield


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
