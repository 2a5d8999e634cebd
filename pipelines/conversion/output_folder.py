"""The folder that a conversion writes to: one writer a split, and what others have left in it."""

import collections
import contextlib
import fcntl
import glob
import os
import re
import sys
from collections.abc import Iterator

import tensorflow as tf

from pipelines.conversion.split_plans import Part
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
def sole_writer(output: str, split: str, part: Part) -> Iterator[None]:
    """Holds a lock on a part of the split, and clears what a killed run has left of its shards.

    Parts exclude themselves and the conversion of the whole, but not each other.
    """
    if not filesystems.is_local(output):
        yield
        return
    with contextlib.ExitStack() as stack:
        if part.is_whole:
            locks = {f".{split}.lock": fcntl.LOCK_EX}
        else:
            own = f".{split}.{part.number}-of-{part.count}.lock"
            locks = {f".{split}.lock": fcntl.LOCK_SH, own: fcntl.LOCK_EX}
        for name, kind in locks.items():
            try:
                stack.enter_context(_locked(os.path.join(output, name), kind | fcntl.LOCK_NB))
            except BlockingIOError as error:
                raise ValueError(
                    f"Another conversion is writing split {split!r} to {output}. Wait until it has "
                    "ended, or choose another --output."
                ) from error
        shard = re.compile(
            re.escape(split) + r"-(\d{5})-of-\d{5}\.\w+\..*" + re.escape(whole_files.ENDING)
        )
        for match in filter(None, map(shard.fullmatch, os.listdir(output))):
            if int(match[1]) in part:
                os.remove(os.path.join(output, match[0]))
        yield


@contextlib.contextmanager
def sole_finisher(output: str, split: str) -> Iterator[None]:
    """Waits until no other part removes or writes the manifest; clears what a killed one left."""
    if not filesystems.is_local(output):  # two that write it there write the same bytes
        yield
        return
    with _locked(os.path.join(output, f".{split}.manifest.lock"), fcntl.LOCK_EX):
        stem = glob.escape(os.path.join(output, split))
        for ending in (".json", ".index.npz"):
            for leftover in glob.glob(f"{stem}{ending}.*{whole_files.ENDING}"):
                os.remove(leftover)
        yield


@contextlib.contextmanager
def _locked(path: str, kind: int) -> Iterator[None]:
    with open(path, "a+") as lock:  # a shared lock over NFS needs a file that can be read
        fcntl.flock(lock, kind)
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
