"""From converted videos to batches of clips: the phases, their order, and the sharing of work.

Nothing in the training pipeline has a state: the batch of step i is a function of the seed and i.
So a run resumes exactly by starting at its step, workers share an epoch by taking their part of
each batch, and shuffling is a permutation of all videos that needs no buffer.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from pipelines import augmentation, sampling
from pipelines.clip_reader import ClipReader, StoredVideo
from pipelines.split_index import Index, load_index
from pipelines.views import video_views


def training_dataset(
    data_dir: str,
    split: str = "train",
    *,
    batch_size: int,
    num_frames: int = 8,
    span: int = 64,
    crop_size: int = 224,
    min_area: float = 0.25,
    flip: bool | Mapping[int, int] = True,
    seed: int = 0,
    start_step: int = 0,
    num_workers: int = 1,
    worker_index: int = 0,
    data_workers: int | None = None,
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
        data_dir: a folder that `pipelines/convert.py` wrote, local or e.g. `gs://`.
        split: name of the split.
        batch_size: clips of a step over all workers.
        num_frames: frames of a clip (T).
        span: consecutive frames that a clip stretches over, a multiple of `num_frames`. In a
            shorter video the last frame is held.
        crop_size: height and width of the clips.
        min_area: smallest area of a crop as a share of the frame's.
        flip: whether to flip half of the clips left to right; or, where left and right carry
            meaning, the classes that a flip turns into each other, e.g. `{86: 87, 87: 86}`.
        seed: the order and all augmentation follow from it.
        start_step: the step whose batch comes first.
        num_workers: number of training workers, which must divide `batch_size`.
        worker_index: which of them this is.
        data_workers: number of threads that read and decode; all cores if None. More than the
            cores make sense where reading waits for a network.

    Returns:
        A `tf.data.Dataset` of `(videos, labels)`: uint8
        `(batch_size / num_workers, num_frames, crop_size, crop_size, 3)` and int32
        `(batch_size / num_workers,)`.

    Raises:
        ValueError: if an argument is out of range or the data cannot be read.
    """
    index = load_index(data_dir, split)
    stride = sampling.frame_stride(span, num_frames)
    local_batch = _local_batch(batch_size, num_workers, worker_index)
    _check_positive(crop_size=crop_size)
    _check_data_workers(data_workers)
    if not 0 < min_area <= 1:
        raise ValueError(f"min_area must be in (0, 1]. Received: min_area={min_area}")
    if not -(2**63) <= seed < 2**63:
        raise ValueError(f"seed must fit into 64 bits. Received: seed={seed}")
    if start_step < 0:
        raise ValueError(f"start_step must be 0 or more. Received: start_step={start_step}")
    flipped_labels = _flipped_labels(flip, len(index.class_names))
    max_ratio = _largest_ratio(index, crop_size)
    reader = ClipReader(index)

    def position_of(clip: tf.Tensor) -> tf.Tensor:
        step, place = clip // local_batch, clip % local_batch
        return step * batch_size + worker_index * local_batch + place

    def clip_at(position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        video = reader.open(sampling.video_at(position, len(index), seed))
        seeds = tf.random.split(sampling.clip_seed(position, seed), 3)
        start = sampling.training_start(seeds[0], video.num_frames, span)
        box = augmentation.random_crop(seeds[1], video.height, video.width, min_area=min_area)
        encoded = video.read(start, stride, num_frames)
        clip = augmentation.decode_and_scale(encoded, box, crop_size, crop_size, max_ratio)
        clip = tf.ensure_shape(clip, (num_frames, crop_size, crop_size, 3))
        if flipped_labels is None:
            return clip, video.label
        flipped = tf.random.stateless_uniform([], seeds[2]) < 0.5
        label = tf.where(flipped, tf.gather(flipped_labels, video.label), video.label)
        return augmentation.flip(clip, flipped), label

    clips = tf.data.Dataset.range(start_step * local_batch, 2**63 - 1).map(position_of)
    clips = clips.map(clip_at, num_parallel_calls=data_workers or tf.data.AUTOTUNE)
    return _finish(clips.batch(local_batch, drop_remainder=True), data_workers)


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
    num_workers: int = 1,
    worker_index: int = 0,
    data_workers: int | None = None,
) -> tf.data.Dataset:
    """All videos of a split once, each as `num_clips * num_crops` views.

    The clips lie uniformly over the video. Frames are scaled so that their short side is
    `crop_size`; the crops are the centre, or three along the longer side. All workers get the same
    number of batches, the last ones filled up with rows whose `mask` is False.

    Args:
        data_dir: a folder that `pipelines/convert.py` wrote, local or e.g. `gs://`.
        split: name of the split.
        batch_size: videos of a step over all workers.
        num_clips: clips of a video.
        num_crops: 1 or 3 crops of a clip.
        num_frames: frames of a clip (T).
        span: consecutive frames that a clip stretches over, a multiple of `num_frames`.
        crop_size: height and width of the crops.
        num_workers: number of workers, which must divide `batch_size`.
        worker_index: which of them this is.
        data_workers: number of threads that read and decode; all cores if None.

    Returns:
        A `tf.data.Dataset` of dicts: `views` uint8 `(B, V, T, crop_size, crop_size, 3)` with the
        crops of the first clip first, `label` int32 `(B,)`, `index` int32 `(B,)`, the place in
        `load_index(data_dir, split).keys`, and `mask` bool `(B,)`.

    Raises:
        ValueError: if an argument is out of range or the data cannot be read.
    """
    index = load_index(data_dir, split)
    local_batch = _local_batch(batch_size, num_workers, worker_index)
    _check_data_workers(data_workers)
    _check_positive(num_clips=num_clips, crop_size=crop_size)
    _check_num_crops(num_crops)
    views = {
        "num_clips": num_clips,
        "num_crops": num_crops,
        "num_frames": num_frames,
        "stride": sampling.frame_stride(span, num_frames),
        "crop_size": crop_size,
        "max_ratio": _largest_ratio(index, crop_size),
    }
    reader = ClipReader(index)
    shape = (num_clips * num_crops, num_frames, crop_size, crop_size, 3)

    def row(number: tf.Tensor) -> dict[str, tf.Tensor]:
        video = reader.open(tf.maximum(number, 0))
        return {
            "views": tf.cond(
                number < 0,
                lambda: tf.zeros(shape, tf.uint8),
                lambda: video_views(video, **views),
            ),
            "label": video.label,
            "index": tf.maximum(number, 0),
            "mask": number >= 0,
        }

    numbers = _padded_share(len(index), local_batch, num_workers, worker_index)
    rows = tf.data.Dataset.from_tensor_slices(numbers)
    rows = rows.map(row, num_parallel_calls=data_workers or tf.data.AUTOTUNE)
    return _finish(rows.batch(local_batch, drop_remainder=True), data_workers)


def views_of_frames(
    encoded_frames: Sequence[bytes],
    *,
    num_clips: int = 10,
    num_crops: int = 3,
    num_frames: int = 8,
    span: int = 64,
    crop_size: int = 256,
) -> tf.Tensor:
    """The views that `evaluation_dataset` gives of a video, for one that is in memory.

    Args:
        encoded_frames: the JPEGs of all frames of the video.
        num_clips, num_crops, num_frames, span, crop_size: as for `evaluation_dataset`.

    Returns:
        uint8 tensor `(num_clips * num_crops, num_frames, crop_size, crop_size, 3)`.

    Raises:
        ValueError: if there are no frames or an argument is out of range.
    """
    if not encoded_frames:
        raise ValueError("encoded_frames must hold at least one frame. Received: 0 frames")
    _check_positive(num_clips=num_clips, crop_size=crop_size)
    _check_num_crops(num_crops)
    stride = sampling.frame_stride(span, num_frames)
    frames = tf.constant(list(encoded_frames))
    height, width = tf.unstack(tf.io.extract_jpeg_shape(frames[0])[:2])

    def read(start: tf.Tensor, stride: int, count: int) -> tf.Tensor:
        wanted = tf.cast(start, tf.int64) + stride * tf.range(count, dtype=tf.int64)
        return tf.gather(frames, tf.minimum(wanted, len(encoded_frames) - 1))

    video = StoredVideo(
        label=tf.constant(0),
        num_frames=tf.constant(len(encoded_frames), tf.int64),
        height=height,
        width=width,
        read=read,
    )
    return video_views(
        video,
        num_clips=num_clips,
        num_crops=num_crops,
        num_frames=num_frames,
        stride=stride,
        crop_size=crop_size,
        max_ratio=8,
    )


def _finish(batches: tf.data.Dataset, data_workers: int | None) -> tf.data.Dataset:
    options = tf.data.Options()
    # The datasets are each worker's own share already.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    # Clips are worked on side by side: sharing out one clip's operations only costs time.
    options.threading.max_intra_op_parallelism = 1
    if data_workers:
        options.threading.private_threadpool_size = data_workers
    return batches.prefetch(2).with_options(options)


def _padded_share(num_videos: int, batch: int, num_workers: int, worker_index: int) -> np.ndarray:
    """Numbers of this worker's videos; -1 fills up so that all workers have as many batches."""
    num_batches = -(-num_videos // (batch * num_workers))
    numbers = np.full(num_batches * batch * num_workers, -1, np.int32)
    numbers[:num_videos] = np.arange(num_videos)
    return numbers[worker_index::num_workers]


def _largest_ratio(index: Index, crop_size: int) -> int:
    height, width = int(index.heights.max()), int(index.widths.max())
    return augmentation.largest_ratio(height, width, crop_size, crop_size)


def _local_batch(batch_size: int, num_workers: int, worker_index: int) -> int:
    _check_positive(batch_size=batch_size, num_workers=num_workers)
    if not 0 <= worker_index < num_workers:
        raise ValueError(
            f"worker_index must be in [0, num_workers). Received: worker_index={worker_index}, "
            f"num_workers={num_workers}"
        )
    if batch_size % num_workers:
        raise ValueError(
            f"num_workers must divide batch_size. Received: batch_size={batch_size}, "
            f"num_workers={num_workers}"
        )
    return batch_size // num_workers


def _check_positive(**arguments: int) -> None:
    for name, value in arguments.items():
        if value < 1:
            raise ValueError(f"{name} must be 1 or more. Received: {name}={value}")


def _check_data_workers(data_workers: int | None) -> None:
    if data_workers is not None and data_workers < 1:
        raise ValueError(
            f"data_workers must be 1 or more, or None. Received: data_workers={data_workers}"
        )


def _check_num_crops(num_crops: int) -> None:
    if num_crops not in (1, 3):
        raise ValueError(f"num_crops must be 1 or 3. Received: num_crops={num_crops}")


def _flipped_labels(flip: bool | Mapping[int, int], num_classes: int) -> np.ndarray | None:
    """The class of a flipped clip, by the class of the clip; None for no flips."""
    if flip is False:
        return None
    labels = np.arange(num_classes, dtype=np.int32)
    for label, flipped in ({} if flip is True else flip).items():
        if not 0 <= label < num_classes or flip.get(flipped) != label:
            raise ValueError(
                "flip must be True, False, or a map of class ids in both directions, e.g. "
                f"{{86: 87, 87: 86}}, below the {num_classes} classes of the data. Received: "
                f"flip={flip}"
            )
        labels[label] = flipped
    return labels
