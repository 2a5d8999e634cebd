"""All videos of a split once: one clip of each for `model.evaluate`, or several views of each.

Words:
    view   one clip and one crop of a video; its score is the mean over its views
    row    what there is of one video: views, label, its place in the index, and a mask
    mask   False for a row that fills up a batch, and for a video that was left out as damaged

No video may be scored twice or not at all, and replicas need batches of one size. So the last
batches are filled up with rows that are masked, and whoever scores leaves these out.
"""

import math
import os
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from pipelines.input import batching, damage
from pipelines.input.sequence_examples import SequenceIndex
from pipelines.input.splits import largest_ratio, open_split, reader_of
from pipelines.input.views import checked_views, video_views
from pipelines.shards.split_index import Index

Row = dict[str, tf.Tensor]
_BYTES_AHEAD = 1 << 30  # of views that are made at the same time, beyond those of a batch


def validation_dataset(
    data_dir: str,
    split: str = "validation",
    *,
    batch_size: int,
    num_frames: int = 8,
    span: int = 64,
    crop_size: int = 224,
    short_side: int | None = None,
    data_workers: int | None = None,
    format: str = "records",
    on_damage: str = "stop",
) -> tf.data.Dataset:
    """One clip of every video of a split, for `model.evaluate` and `model.fit`.

    The clip lies in the middle of its video, the crop in the centre of its frames. Every video
    comes once, in the order of `open_split(data_dir, split).keys`; no row fills up the last batch.

    Example:

    ```python
    model.fit(training_dataset(data, batch_size=64), validation_data=validation)
    model.evaluate(validation)
    ```

    Args:
        data_dir: A folder that `keras-rms convert` wrote, local or e.g. `gs://`.
        split: Name of the split.
        batch_size: Videos of a batch.
        num_frames: Frames of a clip (T).
        span: Consecutive frames that a clip stretches over, a multiple of `num_frames`. 0 for
            the middle frames of equal parts of the whole video.
        crop_size: Height and width of the crops.
        short_side: What the frames' short side is scaled to before; `crop_size` if None.
        data_workers: Number of threads that read and decode; all cores if None.
        format: `"records"` or `"sequence_example"` (see `open_split`).
        on_damage: `"stop"`, or `"skip"` to leave out a video that cannot be read or decoded; it is
            named on standard error.

    Returns:
        A `tf.data.Dataset` of `(clips, labels)`: uint8
        `(batch_size, num_frames, crop_size, crop_size, 3)` and int32 `(batch_size,)`; the last
        batch may be smaller. Its cardinality is the number of batches, unknown with `"skip"`.

    Raises:
        ValueError: If an argument is out of range or the data cannot be read.
    """
    index = open_split(data_dir, split, format)
    batching.check_positive(batch_size=batch_size)
    batching.check_data_workers(data_workers)
    views = checked_views(1, 1, num_frames, span, crop_size, short_side)
    rows = tf.data.Dataset.range(len(index), output_type=tf.int32)
    threads = data_workers or batching.AUTOTUNE
    rows = rows.map(_row_maker(index, views, on_damage), num_parallel_calls=threads)
    whole = len(index) % batch_size == 0
    if on_damage == "skip":
        rows, whole = rows.filter(batching.as_written(lambda row: row["mask"])), False
    clips = rows.map(batching.as_written(lambda row: (row["views"][0], row["label"])))
    return batching.batched(clips, batch_size, data_workers, drop_remainder=whole)


def evaluation_dataset(
    data_dir: str,
    split: str,
    *,
    batch_size: int,
    num_clips: int = 3,
    num_crops: int = 1,
    num_frames: int = 8,
    span: int = 64,
    crop_size: int = 256,
    short_side: int | None = None,
    num_workers: int = 1,
    worker_index: int = 0,
    data_workers: int | None = None,
    format: str = "records",
    on_damage: str = "stop",
    data_service: str | None = None,
) -> tf.data.Dataset:
    """All videos of a split once, each as `num_clips * num_crops` views.

    The clips lie uniformly over the video. Frames are scaled so that their short side is
    `short_side`; the crops are the centre, or three along the longer side. All workers get the same
    number of batches, the last ones filled up with rows whose `mask` is False.

    Example:

    ```python
    views = evaluation_dataset(data, "validation", batch_size=8, num_clips=10, num_crops=3)
    keras_rms.inference.ViewScorer(model).scores(views).top_k(1)
    ```

    Args:
        data_dir: A folder that `keras-rms convert` wrote, local or e.g. `gs://`.
        split: Name of the split.
        batch_size: Videos of a step over all workers.
        num_clips: Clips of a video.
        num_crops: 1 or 3 crops of a clip.
        num_frames: Frames of a clip (T).
        span: Consecutive frames that a clip stretches over, a multiple of `num_frames`. 0 for
            the middle frames of equal parts of the whole video.
        crop_size: Height and width of the crops.
        short_side: What the frames' short side is scaled to; `crop_size` if None.
        num_workers: Number of workers, which must divide `batch_size`.
        worker_index: Which of them this is.
        data_workers: Number of threads that read and decode; all cores if None.
        format: `"records"` or `"sequence_example"` (see `open_split`).
        on_damage: `"stop"` or, with `"skip"`, a video that cannot be read or decoded becomes a row
            whose `mask` is False and whose `index` names it.
        data_service: Address of a tf.data service's dispatcher, `grpc://host:port`. If it gives
            less than all videos the iterator raises `tf.errors.InvalidArgumentError` at its end.

    Returns:
        A `tf.data.Dataset` of dicts: `views` uint8 `(B, V, T, crop_size, crop_size, 3)` with the
        crops of the first clip first, `label` int32 `(B,)`, `index` int32 `(B,)`, the place in
        `open_split(data_dir, split).keys`, and `mask` bool `(B,)`.

    Raises:
        ValueError: If an argument is out of range or the data cannot be read.
    """
    index = open_split(data_dir, split, format)
    local_batch = batching.local_batch(batch_size, num_workers, worker_index)
    batching.check_data_workers(data_workers)
    views = checked_views(num_clips, num_crops, num_frames, span, crop_size, short_side)
    numbers = _padded_share(len(index), local_batch, num_workers, worker_index)
    # One element a batch, so that a tf.data service shares out whole ones.
    batches = tf.data.Dataset.from_tensor_slices(numbers.reshape(-1, local_batch))
    rows = batches.flat_map(tf.data.Dataset.from_tensor_slices)
    # Not AUTOTUNE, which holds many: the views of one video can be 200 MB.
    ahead = max(local_batch, _BYTES_AHEAD // math.prod(_views_shape(views)))
    threads = min(data_workers or len(os.sched_getaffinity(0)), ahead)
    if data_service and not data_workers:
        threads = batching.AUTOTUNE  # of the service's machines, whose threads are not known here
    rows = rows.map(_row_maker(index, views, on_damage), num_parallel_calls=threads)
    return batching.batched(
        rows, local_batch, data_workers, data_service, expected=len(numbers), prefetch=1
    )


def _row_maker(
    index: Index | SequenceIndex, views: dict[str, int], on_damage: str
) -> Callable[[tf.Tensor], Row]:
    """Gives the row of a video by its number in the index, and an empty row for -1."""
    damage.check_policy(on_damage)
    views = {**views, "max_ratio": largest_ratio(index, views["short_side"])}
    reader = reader_of(index)
    shape = _views_shape(views)

    def whole_row(number: tf.Tensor) -> Row:
        video = reader.open(number)
        return _row(video_views(video, **views), video.label, number, True)

    def empty_row(number: tf.Tensor) -> Row:
        return _row(tf.zeros(shape, tf.uint8), 0, tf.maximum(number, 0), False)

    def row_without_damage(number: tf.Tensor) -> Row:
        if on_damage == "stop":
            return whole_row(number)

        def attempt_at(attempt: tf.Tensor) -> tuple[Row, tf.Tensor]:
            made = tf.cond(attempt == 0, lambda: whole_row(number), lambda: empty_row(number))
            return made, attempt

        # The second is the empty row, which cannot fail.
        row, attempt = damage.first_without_error(attempt_at, 2)
        damage.report(attempt, number, index.keys)
        return row

    def make_row(number: tf.Tensor) -> Row:
        return tf.cond(number < 0, lambda: empty_row(number), lambda: row_without_damage(number))

    return batching.as_written(make_row)


def _views_shape(views: dict[str, int]) -> tuple[int, ...]:
    size = views["crop_size"]
    return views["num_clips"] * views["num_crops"], views["num_frames"], size, size, 3


def _row(views: tf.Tensor, label: tf.Tensor | int, index: tf.Tensor, mask: bool) -> Row:
    return {
        "views": views,
        "label": tf.cast(label, tf.int32),
        "index": index,
        "mask": tf.constant(mask),
    }


def _padded_share(num_videos: int, batch: int, num_workers: int, worker_index: int) -> np.ndarray:
    """Numbers of this worker's videos; -1 fills up so that all workers have as many batches."""
    num_batches = -(-num_videos // (batch * num_workers))
    numbers = np.full(num_batches * batch * num_workers, -1, np.int32)
    # Every so manieth is a worker's: their shares differ by one video at most.
    numbers[:num_videos] = np.arange(num_videos)
    return numbers[worker_index::num_workers]
