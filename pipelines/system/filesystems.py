"""Paths with and without a scheme: what TensorFlow needs to open them, and whole files only."""

import contextlib
import errno
import importlib
import os
import re
from collections.abc import Iterator

import tensorflow as tf

from pipelines.system import whole_files

# viewfs and har are Hadoop's.
PLUGIN_SCHEMES = ("s3", "hdfs", "viewfs", "har", "az")
# There an object appears whole when its writer is closed, so it needs no other name before.
_OBJECT_STORES = ("gs", "s3", "az")

_loaded: set[str] = set()


def scheme(path: str) -> str:
    """The scheme of a path: `"s3"` for `s3://bucket/key`, `""` for a local path.

    Example:

    >>> scheme("s3://bucket/kinetics"), scheme("/data/kinetics")
    ('s3', '')
    """
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", path)
    return match.group(1).lower() if match else ""


def is_local(path: str) -> bool:
    """Whether a path names a file on this machine's own filesystems."""
    return scheme(path) in ("", "file")


def without_file_scheme(path: str) -> str:
    """`file:///data` as `/data`, which Python opens too; any other path as it is."""
    return path.removeprefix("file://")


def require(path: str) -> None:
    """Make TensorFlow able to open `path`, or say why it cannot.

    Local paths and `gs://` need nothing. For `s3://`, `hdfs://`, `viewfs://`, `har://` and `az://`
    tensorflow-io is imported, and only for these: its S3 client makes the interpreter abort
    when it exits (see `used_plugin`).

    Args:
        path: A file or folder, with or without a scheme.

    Raises:
        ValueError: If tensorflow-io is missing or does not load on this TensorFlow, or the scheme
            is one that neither of them knows.
    """
    name = scheme(path)
    if name not in PLUGIN_SCHEMES and name not in tf.io.gfile.get_registered_schemes():
        raise ValueError(
            "A path must be local or begin with file://, gs:// or one of "
            f"{', '.join(known + '://' for known in PLUGIN_SCHEMES)}. Received: {path}"
        )
    if name not in PLUGIN_SCHEMES or name in _loaded:
        return
    # Its download in parts gives other bytes than those asked for where a buffer is small.
    os.environ.setdefault("S3_DISABLE_MULTI_PART_DOWNLOAD", "1")
    try:
        importlib.import_module("tensorflow_io")
    # The plug-in fails in as many ways as there are TensorFlow releases it was not built for.
    except Exception as error:
        cause = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"TensorFlow needs tensorflow-io to open {name}:// paths, and it could not be loaded. "
            "Its last release, 0.37.1, works with TensorFlow 2.16 and 2.17 on Python 3.12 or "
            f"older, and this is TensorFlow {tf.__version__}. Make an environment by "
            "`VENV=.venv-io bash scripts/setup.sh io` in the folder of this project, or copy the "
            f"folder to a local disk or to gs://. Received: path={path} (cause: {cause})"
        ) from error
    _loaded.add(name)


def used_plugin() -> bool:
    """Whether tensorflow-io was loaded.

    After any use of `s3://` its destructors abort the interpreter at exit with code 134
    (tensorflow/io issue 1912), so a command that loaded it has to flush and leave by `os._exit`.
    """
    return bool(_loaded)


@contextlib.contextmanager
def explained(path: str, done: str = "read") -> Iterator[None]:
    """Turns TensorFlow's errors about files into OSError with the path and a remedy."""
    # tensorflow-io's errors come as bare RuntimeErrors.
    kinds = tf.errors.OpError if is_local(path) else (tf.errors.OpError, RuntimeError)
    try:
        yield
    except kinds as error:
        full = isinstance(error, tf.errors.ResourceExhaustedError)
        cause = getattr(error, "message", str(error))
        raise OSError(_explanation(path, done, cause, full)) from error


def _explanation(path: str, done: str, cause: str, full: bool) -> str:
    return (
        f"{path} cannot be {done}: {cause.rstrip('.')}. "
        f"{'Free some space' if full else 'Mend the cause'} and run the same command again; "
        "what is finished stays."
    )


@contextlib.contextmanager
def temporary_beside(path: str) -> Iterator[str]:
    """A name for a file that is written and then `publish`ed; after an error nothing stays there.

    In an object store it is `path` itself, so that a kill leaves nothing: an object is there when
    all of it has come.

    Raises:
        OSError: The file cannot be written.
    """
    require(path)
    temporary = path
    if is_local(path) and whole_files.is_device(without_file_scheme(path)):
        with explained(path, "written"):
            yield path
        return
    if scheme(path) not in _OBJECT_STORES:
        temporary = whole_files.temporary_name(path)
    elif tf.io.gfile.exists(path):
        # tensorflow-io writes no empty object, and an old one would stay in its place.
        with contextlib.suppress(tf.errors.NotFoundError):
            tf.io.gfile.remove(path)
    try:
        with explained(path, "written"):
            yield temporary
    except BaseException:
        with contextlib.suppress(tf.errors.OpError):
            tf.io.gfile.remove(temporary)
        raise


def write_file(path: str, content: bytes) -> None:
    """Write a small file so that a file under `path` is always a whole one.

    Raises:
        OSError: It cannot be written; says what to do.
    """
    with temporary_beside(path) as temporary:
        with tf.io.gfile.GFile(temporary, "wb") as file:
            file.write(content)
        publish(temporary, path)


def names(folder: str) -> set[str]:
    """Names of what is in a folder; none of a folder that is not there.

    An object store has no empty folders: one that was made is there with its first object only.
    """
    with contextlib.suppress(tf.errors.NotFoundError):
        # Object stores list folders with a slash.
        return {name.rstrip("/") for name in tf.io.gfile.listdir(folder)}
    return set()


def size(path: str) -> int:
    """Bytes of a file; 0 if there is none, because some stores hold no empty files."""
    try:
        return tf.io.gfile.stat(path).length
    except tf.errors.NotFoundError:
        return 0


def publish(temporary: str, path: str) -> None:
    """Move a finished file to its place, where it appears whole or not at all.

    Raises:
        OSError: It cannot be moved; says what to do.
    """
    if temporary == path:
        return
    if is_local(path):
        try:
            whole_files.publish(without_file_scheme(temporary), without_file_scheme(path))
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            cause = error.strerror or str(error)
            raise OSError(_explanation(path, "written", cause, full)) from error
    elif tf.io.gfile.exists(temporary):
        tf.io.gfile.rename(temporary, path, overwrite=True)
    elif tf.io.gfile.exists(path):  # the new file is empty, which tensorflow-io never writes
        tf.io.gfile.remove(path)
