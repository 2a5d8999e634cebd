"""From converted videos to batches of clips: the phases, their order, and the sharing of work.

Nothing in the training pipeline has a state: the batch of step i is a function of the seed and i.
So a run resumes exactly by starting at its step, workers share an epoch by taking their part of
each batch, and shuffling is a permutation of all videos that needs no buffer.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from pipelines.input import augmentation, damage, sampling
from pipelines.input.clip_reader import ClipReader, StoredVideo
from pipelines.input.data_service import distribute
from pipelines.input.sequence_examples import SequenceIndex, SequenceReader, load_sequence_index
from pipelines.input.training_clip import training_clip
from pipelines.input.views import video_views
from pipelines.shards.split_index import Index, load_index

# Formats by name: how to load the index of a split, and how to read its videos.
FORMATS = {
    "records": (load_index, ClipReader),
    "sequence_example": (load_sequence_index, SequenceReader),
}

AUTOTUNE = tf.data.AUTOTUNE

# Videos tried in the place of a damaged one before the data is given up.
_TRIES = 8


def open_split(data_dir: str, split: str, format: str = "records") -> Index | SequenceIndex:
    """The videos of a split: `keys`, `class_names` and `len()` of the result tell of them.

    Args:
        data_dir: A folder of shards, local or e.g. `gs://`.
        split: Name of the split.
        format: `"records"`, which `pipelines/convert.py` writes, or `"sequence_example"`, the
            shards of DMVR and the TensorFlow Model Garden.

    Raises:
        ValueError: If the format is unknown or the data cannot be read.
    """
    if format not in FORMATS:
        raise ValueError(f"`format` must be one of {sorted(FORMATS)}. Received: format={format!r}")
    return FORMATS[format][0](data_dir, split)


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
    dataset = training_dataset("data/kinetics400", batch_size=64, seed=1, start_step=1000)
    for videos, labels in dataset:
        ...
    ```

    Args:
        data_dir: A folder that `pipelines/convert.py` wrote, local or e.g. `gs://`.
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
        A `tf.data.Dataset` of `(videos, labels)`: uint8
        `(batch_size / num_workers, num_frames, crop_size, crop_size, 3)` and int32
        `(batch_size / num_workers,)`.

    Raises:
        ValueError: If an argument is out of range or the data cannot be read.
    """
    index = open_split(data_dir, split, format)
    local_batch = _local_batch(batch_size, num_workers, worker_index)
    _check_positive(crop_size=crop_size)
    _check_data_workers(data_workers)
    if not 0 < min_area <= 1:
        raise ValueError(f"`min_area` must be in (0, 1]. Received: min_area={min_area}")
    if padding is not None and padding < 0:
        raise ValueError(f"`padding` must be None or 0 or more. Received: padding={padding}")
    if not -(2**63) <= seed < 2**63:
        raise ValueError(f"`seed` must fit into 64 bits. Received: seed={seed}")
    if start_step < 0:
        raise ValueError(f"`start_step` must be 0 or more. Received: start_step={start_step}")
    damage.check_policy(on_damage)
    if damaged is not None and data_service:
        raise ValueError("damaged cannot be counted by a tf.data service: leave out one of both.")
    options = {
        "num_frames": num_frames,
        "stride": sampling.frame_stride(span, num_frames),
        "crop_size": crop_size,
        "min_area": min_area,
        "padding": padding,
        "flipped_labels": _flipped_labels(flip, len(index.class_names)),
        "max_ratio": _largest_ratio(index, crop_size),
    }
    reader = FORMATS[format][1](index)

    def positions(step: tf.Tensor) -> tf.data.Dataset:
        first = step * batch_size + worker_index * local_batch
        return tf.data.Dataset.range(first, first + local_batch)

    def clip_of(number: tf.Tensor, position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return training_clip(reader.open(number), sampling.clip_seed(position, seed), **options)

    def clip_at(position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        number = sampling.video_at(position, len(index), seed)
        if on_damage == "stop":
            return clip_of(number, position)

        def attempt_at(attempt: tf.Tensor) -> tuple[tuple[tf.Tensor, tf.Tensor], tf.Tensor]:
            other = sampling.replacement_at(position, attempt, len(index), seed)
            return clip_of(tf.where(attempt == 0, number, other), position), attempt

        clip, attempt = damage.first_without_error(attempt_at, _TRIES)
        damage.report(attempt, number, index.keys)
        if damaged is not None:
            damaged.assign_add(attempt)
        return clip

    steps = tf.data.Dataset.range(start_step, 2**63 - 1)
    clips = steps.flat_map(positions).map(clip_at, num_parallel_calls=data_workers or AUTOTUNE)
    return _finish(clips, local_batch, data_workers, data_service)


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

    Args:
        data_dir: A folder that `pipelines/convert.py` wrote, local or e.g. `gs://`.
        split: Name of the split.
        batch_size: Videos of a step over all workers.
        num_clips: Clips of a video.
        num_crops: 1 or 3 crops of a clip.
        num_frames: Frames of a clip (T).
        span: Consecutive frames that a clip stretches over, a multiple of `num_frames`.
        crop_size: Height and width of the crops.
        short_side: What the frames' short side is scaled to; `crop_size` if None.
        num_workers: Number of workers, which must divide `batch_size`.
        worker_index: Which of them this is.
        data_workers: Number of threads that read and decode; all cores if None.
        format: `"records"` or `"sequence_example"` (see `open_split`).
        on_damage: `"stop"` or, with `"skip"`, a video that cannot be read or decoded becomes a row
            whose `mask` is False and whose `index` names it.
        data_service: Address of a tf.data service's dispatcher, `grpc://host:port`.

    Returns:
        A `tf.data.Dataset` of dicts: `views` uint8 `(B, V, T, crop_size, crop_size, 3)` with the
        crops of the first clip first, `label` int32 `(B,)`, `index` int32 `(B,)`, the place in
        `load_index(data_dir, split).keys`, and `mask` bool `(B,)`.

    Raises:
        ValueError: If an argument is out of range or the data cannot be read.
    """
    index = open_split(data_dir, split, format)
    local_batch = _local_batch(batch_size, num_workers, worker_index)
    _check_data_workers(data_workers)
    _check_positive(num_clips=num_clips, crop_size=crop_size)
    _check_num_crops(num_crops)
    short_side = _checked_short_side(short_side, crop_size)
    views = {
        "num_clips": num_clips,
        "num_crops": num_crops,
        "num_frames": num_frames,
        "stride": sampling.frame_stride(span, num_frames),
        "crop_size": crop_size,
        "short_side": short_side,
        "max_ratio": _largest_ratio(index, short_side),
    }
    damage.check_policy(on_damage)
    reader = FORMATS[format][1](index)
    shape = (num_clips * num_crops, num_frames, crop_size, crop_size, 3)

    def whole_row(number: tf.Tensor) -> dict[str, tf.Tensor]:
        video = reader.open(number)
        return _row(video_views(video, **views), video.label, number, True)

    def empty_row(number: tf.Tensor) -> dict[str, tf.Tensor]:
        return _row(tf.zeros(shape, tf.uint8), 0, tf.maximum(number, 0), False)

    def row_without_damage(number: tf.Tensor) -> dict[str, tf.Tensor]:
        if on_damage == "stop":
            return whole_row(number)

        def attempt_at(attempt: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
            made = tf.cond(attempt == 0, lambda: whole_row(number), lambda: empty_row(number))
            return made, attempt

        row, attempt = damage.first_without_error(attempt_at, 2)
        damage.report(attempt, number, index.keys)
        return row

    def row_of(number: tf.Tensor) -> dict[str, tf.Tensor]:
        return tf.cond(number < 0, lambda: empty_row(number), lambda: row_without_damage(number))

    numbers = _padded_share(len(index), local_batch, num_workers, worker_index)
    batches = tf.data.Dataset.from_tensor_slices(numbers.reshape(-1, local_batch))
    rows = batches.flat_map(tf.data.Dataset.from_tensor_slices)
    rows = rows.map(row_of, num_parallel_calls=data_workers or AUTOTUNE)
    return _finish(rows, local_batch, data_workers, data_service)


def views_of_frames(
    encoded_frames: Sequence[bytes],
    *,
    num_clips: int = 10,
    num_crops: int = 3,
    num_frames: int = 8,
    span: int = 64,
    crop_size: int = 256,
    short_side: int | None = None,
) -> tf.Tensor:
    """The views that `evaluation_dataset` gives of a video, for one that is in memory.

    Args:
        encoded_frames: The JPEGs of all frames of the video.
        num_clips, num_crops, num_frames, span, crop_size, short_side: As for `evaluation_dataset`.

    Returns:
        uint8 tensor `(num_clips * num_crops, num_frames, crop_size, crop_size, 3)`.

    Raises:
        ValueError: If there are no frames or an argument is out of range.
    """
    if not encoded_frames:
        raise ValueError("`encoded_frames` must hold at least one frame. Received: 0 frames")
    _check_positive(num_clips=num_clips, crop_size=crop_size)
    _check_num_crops(num_crops)
    short_side = _checked_short_side(short_side, crop_size)
    stride = sampling.frame_stride(span, num_frames)
    # Where the pipelines work: an accelerator would round otherwise.
    with tf.device("CPU:0"):
        return video_views(
            _video_in_memory(encoded_frames),
            num_clips=num_clips,
            num_crops=num_crops,
            num_frames=num_frames,
            stride=stride,
            crop_size=crop_size,
            short_side=short_side,
            max_ratio=8,
        )


def _video_in_memory(encoded_frames: Sequence[bytes]) -> StoredVideo:
    frames = tf.constant(list(encoded_frames))
    height, width = tf.unstack(tf.io.extract_jpeg_shape(frames[0])[:2])

    def read(start: tf.Tensor, stride: int, count: int) -> tf.Tensor:
        wanted = tf.cast(start, tf.int64) + stride * tf.range(count, dtype=tf.int64)
        return tf.gather(frames, tf.minimum(wanted, len(encoded_frames) - 1))

    return StoredVideo(
        label=tf.constant(0),
        num_frames=tf.constant(len(encoded_frames), tf.int64),
        height=height,
        width=width,
        read=read,
    )


def _row(
    views: tf.Tensor, label: tf.Tensor | int, index: tf.Tensor, mask: bool
) -> dict[str, tf.Tensor]:
    return {
        "views": views,
        "label": tf.cast(label, tf.int32),
        "index": index,
        "mask": tf.constant(mask),
    }


def _finish(
    rows: tf.data.Dataset, batch: int, data_workers: int | None, data_service: str | None
) -> tf.data.Dataset:
    options = tf.data.Options()
    # The datasets are each worker's own share already.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    # Clips are worked on side by side: sharing out one clip's operations only costs time.
    options.threading.max_intra_op_parallelism = 1
    if data_workers:
        options.threading.private_threadpool_size = data_workers
    batches = rows.batch(batch, drop_remainder=True).with_options(options)
    return distribute(batches, data_service).prefetch(2)


def _padded_share(num_videos: int, batch: int, num_workers: int, worker_index: int) -> np.ndarray:
    """Numbers of this worker's videos; -1 fills up so that all workers have as many batches."""
    num_batches = -(-num_videos // (batch * num_workers))
    numbers = np.full(num_batches * batch * num_workers, -1, np.int32)
    numbers[:num_videos] = np.arange(num_videos)
    return numbers[worker_index::num_workers]


def _largest_ratio(index: Index | SequenceIndex, crop_size: int) -> int:
    if isinstance(index, SequenceIndex):
        return 8
    height, width = int(index.heights.max()), int(index.widths.max())
    return augmentation.largest_ratio(height, width, crop_size, crop_size)


def _local_batch(batch_size: int, num_workers: int, worker_index: int) -> int:
    _check_positive(batch_size=batch_size, num_workers=num_workers)
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


def _check_positive(**arguments: int) -> None:
    for name, value in arguments.items():
        if value < 1:
            raise ValueError(f"`{name}` must be 1 or more. Received: {name}={value}")


def _check_data_workers(data_workers: int | None) -> None:
    if data_workers is not None and data_workers < 1:
        raise ValueError(
            f"`data_workers` must be 1 or more, or None. Received: data_workers={data_workers}"
        )


def _check_num_crops(num_crops: int) -> None:
    if num_crops not in (1, 3):
        raise ValueError(f"`num_crops` must be 1 or 3. Received: num_crops={num_crops}")


def _checked_short_side(short_side: int | None, crop_size: int) -> int:
    if short_side is None:
        return crop_size
    if short_side < crop_size:
        raise ValueError(
            f"`short_side` must be None or at least crop_size. Received: short_side={short_side}, "
            f"crop_size={crop_size}"
        )
    return short_side


def _flipped_labels(flip: bool | Mapping[int, int], num_classes: int) -> np.ndarray | None:
    """The class of a flipped clip, by the class of the clip; None for no flips."""
    if flip is False:
        return None
    labels = np.arange(num_classes, dtype=np.int32)
    for label, flipped in ({} if flip is True else flip).items():
        if not 0 <= label < num_classes or flip.get(flipped) != label:
            raise ValueError(
                "`flip` must be True, False, or a map of class ids in both directions, e.g. "
                f"{{86: 87, 87: 86}}, below the {num_classes} classes of the data. Received: "
                f"flip={flip}"
            )
        labels[label] = flipped
    return labels
