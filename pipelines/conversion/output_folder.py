"""The folder that a conversion writes to: one writer a split, and what others have left in it.

Words:
    lock      .<split>.lock, held by the process that writes the split; a kill frees it too.
              Processes that share a split out (--shards) hold one for each part
    leftover  a temporary file of a run that was killed
    old       of a shard: the number behind "of" is another one, so that no index names it

Object stores have no locks: there nothing refuses a second writer, and leftovers stay.
"""

import collections
import contextlib
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from pipelines.system import filesystems, whole_files
from pipelines.system.parts import Part

_OLD_NANOSECONDS = 24 * 3600 * 10**9  # no shard takes a day


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

    Parts exclude themselves and the conversion of the whole, but not each other. Where the file
    system has no locks nothing is cleared: it may be another writer's.

    Raises:
        ValueError: Another conversion holds it.
    """
    if not filesystems.is_local(output):
        _clear_old_objects(output, split)
        yield
        return
    import fcntl

    if part.is_whole:
        locks = {f".{split}.lock": fcntl.LOCK_EX}
    else:
        own = f".{split}.{part.number}-of-{part.count}.lock"
        locks = {f".{split}.lock": fcntl.LOCK_SH, own: fcntl.LOCK_EX}
    with contextlib.ExitStack() as stack:
        try:
            held = [
                stack.enter_context(_locked(os.path.join(output, name), kind | fcntl.LOCK_NB))
                for name, kind in locks.items()
            ]
        except BlockingIOError as error:
            raise ValueError(
                f"Another conversion is writing split {split!r} to {output}. Wait until it has "
                "ended, or choose another --output."
            ) from error
        # Only the holder of the lock may: to others these are files that are being written.
        if all(held):
            shard = re.compile(re.escape(split) + r"-(\d{5})-of-\d{5}\.\w+")
            _clear(output, lambda name: (m := shard.fullmatch(name)) and int(m[1]) in part)
        yield


@contextlib.contextmanager
def sole_finisher(output: str, split: str) -> Iterator[None]:
    """Waits until no other part removes or writes the manifest; clears what a killed one left."""
    if not filesystems.is_local(output):  # two that write it there write the same bytes
        yield
        return
    import fcntl

    with _locked(os.path.join(output, f".{split}.manifest.lock"), fcntl.LOCK_EX) as held:
        if held:
            _clear(output, lambda name: name in (f"{split}.json", f"{split}.index.npz"))
        yield


@contextlib.contextmanager
def sole_writer_of_labels(output: str) -> Iterator[None]:
    """Waits for a lock on the label map, which all splits share, and clears what a kill has left.

    Hold it only while the label map is written.
    """
    if not filesystems.is_local(output):
        yield
        return
    import fcntl

    with _locked(os.path.join(output, ".labels.lock"), fcntl.LOCK_EX) as held:
        if held:
            _clear(output, lambda name: name == "labels.txt")
        yield


@contextlib.contextmanager
def _locked(path: str, kind: int) -> Iterator[bool]:
    """Gives whether the file could be locked; some file systems have no locks.

    Raises:
        BlockingIOError: Another process has locked it.
    """
    import fcntl

    # The file stays: were it removed, one process could hold the old one and another the new one.
    with open(path, "a+") as lock:  # a shared lock over NFS needs a file that can be read
        try:
            fcntl.flock(lock, kind)
            held = True
        except BlockingIOError:
            raise
        except OSError:  # better unprotected than unusable
            held = False
        yield held


def _clear(output: str, belongs: Callable[[str], Any]) -> None:
    """Removes the temporary files of those files whose name `belongs` accepts."""
    temporary = re.compile(r"(.*)\.[0-9a-f]+" + re.escape(whole_files.ENDING))
    for match in filter(None, map(temporary.fullmatch, os.listdir(output))):
        if belongs(match[1]):
            os.remove(os.path.join(output, match[0]))


def _clear_old_objects(output: str, split: str) -> None:
    """Removes temporary objects of a killed run; there are no locks, so their age has to tell."""
    names = rf"labels\.txt|{re.escape(split)}(-\d+-of-\d+\.[a-z]+|\.json|\.index\.npz)"
    temporary = re.compile(rf"({names})\.[0-9a-f]+{re.escape(whole_files.ENDING)}")
    with contextlib.suppress(tf.errors.NotFoundError):  # what another run removes
        for name in filter(temporary.fullmatch, filesystems.names(output)):
            path = os.path.join(output, name)
            written = tf.io.gfile.stat(path).mtime_nsec  # 0 where a store does not tell
            if written and time.time_ns() - written > _OLD_NANOSECONDS:
                tf.io.gfile.remove(path)


def name_old_shards(output: str, split: str, num_shards: int) -> None:
    """Says which shards another number of shards has left behind: a terabyte, it may be."""
    shard = re.compile(re.escape(split) + r"-\d{5}-of-(\d{5})\.tfrecord")
    found = filter(None, map(shard.fullmatch, filesystems.names(output)))
    old = collections.Counter(match[1] for match in found if int(match[1]) != num_shards)
    for number, count in sorted(old.items()):
        print(
            f"{count} shards of an earlier conversion remain, which nothing reads any more. Remove "
            f"{os.path.join(output, f'{split}-*-of-{number}.*')} to get their space back.",
            file=sys.stderr,
        )
