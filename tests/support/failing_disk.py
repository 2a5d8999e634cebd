"""A disk on which the n-th write, flush to the disk or renaming fails, as it would really.

TensorFlow's errors are those that it was seen to raise when the system call of its own file objects
failed with that number (by strace's `inject`).
"""

import contextlib
import errno
import io
import os
from unittest import mock

import tensorflow as tf

from keras_rms.training.work_dir import whole_files

# The number of an error, and whether all that comes after it fails too.
FAULTS = ((errno.ENOSPC, True), (errno.EIO, True), (errno.EACCES, False), (errno.EINTR, False))

_OF_TENSORFLOW = {
    errno.ENOSPC: tf.errors.ResourceExhaustedError,
    errno.EIO: tf.errors.UnknownError,
    errno.EACCES: tf.errors.PermissionDeniedError,
    errno.EINTR: tf.errors.UnavailableError,
}


def faults_at(place):
    """One that lasts and one that does not, others at the next place; all four with time for it."""
    if os.environ.get("KERAS_RMS_FUZZ_SECONDS"):
        return FAULTS
    return FAULTS[place % 2], FAULTS[2 + place % 2]


class Disk:
    """Counts what is written; `at` is the first call that fails, from 0 on."""

    def __init__(self, at, number, lasts):
        self.calls = 0
        self._at, self._number, self._lasts = at, number, lasts

    def fails(self):
        """Whether the call that is made now does; counts it."""
        self.calls += 1
        place = self.calls - 1 - self._at
        return place >= 0 if self._lasts else place == 0

    def check(self, *names):
        if self.fails():
            raise OSError(self._number, os.strerror(self._number), *names)

    def check_tensorflow(self):
        if self.fails():
            kind = _OF_TENSORFLOW[self._number]
            raise kind(None, None, f"the file; {os.strerror(self._number)}")


@contextlib.contextmanager
def failing(at, number=errno.ENOSPC, lasts=True):
    """The `Disk`; of 2**62 writes none fails."""
    disk = Disk(at, number, lasts)
    fsync, replace = os.fsync, os.replace
    record_write, record_exit = tf.io.TFRecordWriter.write, tf.io.TFRecordWriter.__exit__
    file_write, file_close = tf.io.gfile.GFile.write, tf.io.gfile.GFile.close

    def checked_fsync(descriptor):
        disk.check()
        fsync(descriptor)

    def checked_replace(old, new):
        disk.check(old, None, new)
        replace(old, new)

    def checked_record_write(self, record):
        disk.check_tensorflow()
        record_write(self, record)

    def checked_record_exit(self, *exception):
        record_exit(self, *exception)
        disk.check_tensorflow()

    def checked_file_write(self, content):
        disk.check_tensorflow()
        file_write(self, content)

    def checked_file_close(self):
        file_close(self)
        if self.mode.startswith("w"):
            disk.check_tensorflow()

    class CheckedFile(io.FileIO):
        def write(self, content):
            disk.check()
            return super().write(content)

    with contextlib.ExitStack() as stack:
        for owner, name, function in (
            (os, "fsync", checked_fsync),
            (os, "replace", checked_replace),
            (tf.io.TFRecordWriter, "write", checked_record_write),
            (tf.io.TFRecordWriter, "__exit__", checked_record_exit),
            (tf.io.gfile.GFile, "write", checked_file_write),
            (tf.io.gfile.GFile, "close", checked_file_close),
        ):
            stack.enter_context(mock.patch.object(owner, name, function))
        stack.enter_context(mock.patch.object(whole_files, "open", CheckedFile, create=True))
        yield disk
