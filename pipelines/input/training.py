"""Augmented clips for training: an endless stream that resumes at any step, and its epochs.

Words:
    position  the number of a clip in the endless stream; it decides the video and all augmentation
    step      one batch over all workers, `batch_size` positions
    epoch     as many positions as there are videos, each of which comes once in it
    worker    one of the processes that train together; it makes its part of each batch

Nothing in the stream has a state: the batch of step i is a function of the seed and i. So a run
resumes exactly by starting at its step, workers share an epoch by taking their part of each batch,
and shuffling is a permutation of all videos that needs no buffer.
"""

from collections.abc import Mapping

import tensorflow as tf

from pipelines.input import batching
from pipelines.input.splits import open_split
from pipelines.input.training_clip import ClipAt, clip_maker


def training_dataset(
    data_dir: str,
    split: str = "train",
    *,
    batch_size: int,
    num_frames: int = 8,
    span: int = 64,
    crop_size: int = 224,
    min_area: float = 0.25,
    padding: int | None = None,
    flip: bool | Mapping[int, int] = True,
    seed: int = 0,
    order: str = "shuffled",
    first_epoch: int = 0,
    data_workers: int | None = None,
    format: str = "records",
    on_damage: str = "stop",
) -> tf.data.Dataset:
    """Batches of augmented clips for `model.fit`: each iteration gives the next epoch.

    An epoch has as many whole batches as all videos fill. They are those of
    `training_stream`, `ceil(videos / batch_size)` steps of it: no batch is smaller than the others,
    so the last one goes on with videos of the next permutation, and over several epochs all videos
    come equally often. Order and augmentation are new in each epoch, so that Keras's warning of an
    ignored `shuffle=True` can be ignored too.

    Example:

    ```python
    train = training_dataset("data/kinetics400", batch_size=64)
    model.fit(train, validation_data=validation, epochs=10)
    ```

    A network of images takes clips of one frame without their time:
    `train.map(lambda clips, labels: (clips[:, 0], labels))`.

    Args:
        data_dir, split, num_frames, span, crop_size, min_area, padding, flip, seed, order: As for
            `training_stream`.
        batch_size: Clips of a batch.
        first_epoch: What the first iteration gives; to go on in another process, the epochs that
            are done, as in `model.fit(..., initial_epoch=3)`.
        data_workers, format, on_damage: As for `training_stream`.

    Returns:
        A `tf.data.Dataset` of `(clips, labels)`: uint8
        `(batch_size, num_frames, crop_size, crop_size, 3)` and int32 `(batch_size,)`. Its
        cardinality is the number of batches of an epoch.

    Raises:
        ValueError: If an argument is out of range or the data cannot be read.
    """
    index = open_split(data_dir, split, format)
    batching.check_positive(batch_size=batch_size)
    if first_epoch < 0:
        raise ValueError(f"`first_epoch` must be 0 or more. Received: first_epoch={first_epoch}")
    clip_at = clip_maker(
        index,
        num_frames=num_frames,
        span=span,
        crop_size=crop_size,
        min_area=min_area,
        padding=padding,
        flip=flip,
        seed=seed,
        order=order,
        on_damage=on_damage,
    )
    steps_per_epoch = -(-len(index) // batch_size)
    clips_per_epoch = steps_per_epoch * batch_size
    # Where tf.data runs; TensorFlow would put it on an accelerator.
    with tf.device("CPU:0"):
        next_epoch = tf.Variable(first_epoch, dtype=tf.int64)

    def positions(_: tf.Tensor) -> tf.data.Dataset:
        # Counted here, while an iteration begins: Keras asks for a new one at each epoch.
        after = next_epoch.assign_add(1) * clips_per_epoch
        return tf.data.Dataset.range(after - clips_per_epoch, after)

    # Through a function, since a dataset's own arguments would be read once, when it is made.
    epoch = tf.data.Dataset.range(1).flat_map(batching.as_written(positions))
    batches = _batches(epoch, clip_at, batch_size, data_workers)
    return batches.apply(tf.data.experimental.assert_cardinality(steps_per_epoch))


def training_stream(
    data_dir: str,
    split: str = "train",
    *,
    batch_size: int,
    num_frames: int = 8,
    span: int = 64,
    crop_size: int = 224,
    min_area: float = 0.25,
    padding: int | None = None,
    flip: bool | Mapping[int, int] = True,
    seed: int = 0,
    order: str = "shuffled",
    start_step: int = 0,
    num_workers: int = 1,
    worker_index: int = 0,
    data_workers: int | None = None,
    format: str = "records",
    on_damage: str = "stop",
    damaged: tf.Variable | None = None,
    data_service: str | None = None,
) -> tf.data.Dataset:
    """Endless batches of augmented clips; the batch of step i is a function of `seed` and i.

    A clip is `num_frames` frames at equal intervals over `span` consecutive frames at a random
    place of its video; one random crop of all its frames, scaled to `crop_size`; and a flip of all
    with probability 1/2. Every video comes once an epoch, over all workers together, in an order
    that is new each epoch; batches may reach over the end of an epoch.

    Example:

    ```python
    stream = training_stream("data/kinetics400", batch_size=64, seed=1, start_step=1000)
    for clips, labels in stream:
        ...
    ```

    Args:
        data_dir: A folder that `keras-rms convert` wrote, local or e.g. `gs://`.
        split: Name of the split.
        batch_size: Clips of a step over all workers.
        num_frames: Frames of a clip (T).
        span: Consecutive frames that a clip stretches over, a multiple of `num_frames`. In a
            shorter video the last frame is held.
        crop_size: Height and width of the clips.
        min_area: Smallest area of a crop as a share of the frame's.
        padding: Cut the crops unscaled, out of frames with so many black pixels around them and a
            short side of `crop_size`, in the place of crops of random area.
        flip: Whether to flip half of the clips left to right; or, where left and right carry
            meaning, the classes that a flip turns into each other, e.g. `{86: 87, 87: 86}`.
        seed: The order and all augmentation follow from it.
        order: `"shuffled"`, or `"balanced"`: every class comes equally often, and a video of a
            small class more often than others (see `sampling.BalancedOrder`). An epoch then does
            not have every video.
        start_step: The step whose batch comes first.
        num_workers: Number of training workers, which must divide `batch_size`.
        worker_index: Which of them this is.
        data_workers: Number of threads that read and decode; all cores if None. More than the
            cores make sense where reading waits for a network.
        format: `"records"` or `"sequence_example"` (see `open_split`).
        on_damage: What to do when a video cannot be read or decoded: `"stop"` raises
            `tf.errors.DataLossError` or `tf.errors.InvalidArgumentError` from the iterator;
            `"skip"` names it on standard error and takes a random other video in its place, so
            that the batches before and after stay what they are.
        damaged: An int64 variable that counts the skipped ones; not with `data_service`.
        data_service: Address of a tf.data service's dispatcher, `grpc://host:port`, whose workers
            shall do the work. The batches are the same, in the order in which they get ready.

    Returns:
        A `tf.data.Dataset` of `(clips, labels)`: uint8
        `(batch_size / num_workers, num_frames, crop_size, crop_size, 3)` and int32
        `(batch_size / num_workers,)`.

    Raises:
        ValueError: If an argument is out of range or the data cannot be read.
    """
    index = open_split(data_dir, split, format)
    local_batch = batching.local_batch(batch_size, num_workers, worker_index)
    if start_step < 0:
        raise ValueError(f"`start_step` must be 0 or more. Received: start_step={start_step}")
    if damaged is not None and data_service:
        raise ValueError("damaged cannot be counted by a tf.data service: leave out one of both.")
    clip_at = clip_maker(
        index,
        num_frames=num_frames,
        span=span,
        crop_size=crop_size,
        min_area=min_area,
        padding=padding,
        flip=flip,
        seed=seed,
        order=order,
        on_damage=on_damage,
        damaged=damaged,
    )

    def positions(step: tf.Tensor) -> tf.data.Dataset:
        first = step * batch_size + worker_index * local_batch
        return tf.data.Dataset.range(first, first + local_batch)

    # One element a step, so that a tf.data service shares out whole batches.
    steps = tf.data.Dataset.range(start_step, 2**63 - 1)
    steps = steps.flat_map(batching.as_written(positions))
    return _batches(steps, clip_at, local_batch, data_workers, data_service)


def _batches(
    positions: tf.data.Dataset,
    clip_at: ClipAt,
    batch: int,
    data_workers: int | None,
    data_service: str | None = None,
) -> tf.data.Dataset:
    batching.check_data_workers(data_workers)
    threads = data_workers or batching.AUTOTUNE
    clips = positions.map(batching.as_written(clip_at), num_parallel_calls=threads)
    return batching.batched(clips, batch, data_workers, data_service)
