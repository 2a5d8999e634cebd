"""From single clips to batches: each worker's share, threads, and a tf.data service."""

import tensorflow as tf

from pipelines.input.data_service import distribute

AUTOTUNE = tf.data.AUTOTUNE

# For what datasets call. No Python in it depends on tensors, which AutoGraph takes a second to see.
as_written = tf.autograph.experimental.do_not_convert


def local_batch(batch_size: int, num_workers: int, worker_index: int) -> int:
    """Rows of a batch that are this worker's.

    Raises:
        ValueError: If the workers cannot share the batch, or there is no such worker.
    """
    check_positive(batch_size=batch_size, num_workers=num_workers)
    if not 0 <= worker_index < num_workers:
        raise ValueError(
            f"`worker_index` must be in [0, num_workers). Received: worker_index={worker_index}, "
            f"num_workers={num_workers}"
        )
    if batch_size % num_workers:
        raise ValueError(
            f"`num_workers` must divide batch_size. Received: batch_size={batch_size}, "
            f"num_workers={num_workers}"
        )
    return batch_size // num_workers


def check_positive(**arguments: int) -> None:
    """Raises a ValueError that names the first argument below 1."""
    for name, value in arguments.items():
        if value < 1:
            raise ValueError(f"`{name}` must be 1 or more. Received: {name}={value}")


def check_data_workers(data_workers: int | None) -> None:
    """Raises a ValueError for a number of threads below 1."""
    if data_workers is not None and data_workers < 1:
        raise ValueError(
            f"`data_workers` must be 1 or more, or None. Received: data_workers={data_workers}"
        )


def batched(
    rows: tf.data.Dataset,
    batch: int,
    data_workers: int | None,
    data_service: str | None = None,
    *,
    expected: int | None = None,
    drop_remainder: bool = True,
    prefetch: int = 2,
) -> tf.data.Dataset:
    """Batches of rows, made ahead by `data_workers` threads, all cores if None.

    Args:
        rows: A dataset of single clips or videos, this worker's own.
        batch: Rows of a batch.
        data_workers: Number of threads.
        data_service: Address of a tf.data service's dispatcher.
        expected: Number of rows that a service must give; `None` if they never end.
        drop_remainder: Whether all batches have `batch` rows, as the shapes then say.
        prefetch: Batches that are held ready.
    """
    options = tf.data.Options()
    # The datasets are each worker's own share already.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    # Clips are worked on side by side: sharing out one clip's operations only costs time.
    options.threading.max_intra_op_parallelism = 1
    if data_workers:
        options.threading.private_threadpool_size = data_workers
    batches = rows.batch(batch, drop_remainder=drop_remainder).with_options(options)
    return distribute(batches, data_service, expected).prefetch(prefetch)
