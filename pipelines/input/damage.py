"""Going on where a record cannot be read or a JPEG not decoded."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from pipelines.input import batching, service_watch
from pipelines.system import filesystems

POLICIES = ("stop", "skip")

# What TensorFlow says where nothing is left to take: a shard ends before a video does, or all the
# videos that were tried in the place of a damaged one are damaged as well.
_NOTHING_LEFT = "Dataset was empty"


def check_policy(on_damage: str) -> None:
    """Raises ValueError if `on_damage` is neither `"stop"` nor `"skip"`."""
    if on_damage not in POLICIES:
        raise ValueError(
            f"`on_damage` must be one of {POLICIES}. Received: on_damage={on_damage!r}"
        )


def first_without_error(make: Callable[[tf.Tensor], Any], tries: int) -> Any:
    """The first of `make(0)`, `make(1)`, ... that raises no error, as graph operations.

    Args:
        make: Function of an int64 scalar that gives a structure of tensors.
        tries: How many there are; if all fail, an error is raised.
    """
    # A graph has no `try`: a dataset that leaves out what raises takes its place.
    results = tf.data.Dataset.range(tries).map(batching.as_written(make)).ignore_errors()
    return results.take(1).get_single_element()


def report(attempt: tf.Tensor, number: tf.Tensor, keys: Sequence[str]) -> None:
    """Name video `number` on standard error unless the first attempt, 0, was without error."""
    names = tf.constant(keys)

    def tell() -> tf.Operation:
        return tf.print(
            "warning: skipped a video that cannot be read or decoded:",
            tf.gather(names, number),
            output_stream=sys.stderr,
        )

    tf.cond(attempt > 0, tell, tf.no_op)


@contextlib.contextmanager
def explained(data_dir: str) -> Iterator[None]:
    """Turns the error of reading a record, be it damaged or out of reach, into a ValueError.

    Raises:
        ValueError: Names the file and the remedy.
    """
    try:
        yield
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        if missing := service_watch.incomplete(error):
            raise ValueError(missing) from error
        # A network's own operations raise InvalidArgumentError too.
        is_of_data = "JPEG" in error.message or _NOTHING_LEFT in error.message
        if isinstance(error, tf.errors.InvalidArgumentError) and not is_of_data:
            raise
        cause = error.message.splitlines()[0]
        if _NOTHING_LEFT in error.message:
            cause = "a shard ends too early, or the videos tried in its place are damaged as well."
        raise ValueError(
            f"A record of {data_dir} cannot be read or decoded: {cause} "
            f"`keras-rms verify --data={data_dir}` lists all that is damaged of a "
            "converted folder; converting again after removing the damaged shard mends it; "
            "--on_damage=skip goes on without."
        ) from error
    except tf.errors.OpError as error:
        # Those of the network's operations name no file.
        folder = os.path.join(filesystems.without_file_scheme(str(data_dir)), "")
        if folder not in error.message:
            raise
        raise ValueError(
            f"A file of {data_dir} cannot be read: {error.message.splitlines()[0]} Mend the cause "
            "and run the same command again."
        ) from error
