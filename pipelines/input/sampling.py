"""Which video and which of its frames: pure functions of a seed and a position.

Words:
    shuffled  every epoch is a permutation of all videos, so that large classes come more often
    balanced  all classes come equally often, so that the videos of small ones come more often
    position  the number of a clip in the endless order of training, over all workers
    epoch     `num_videos` positions; every video is at one of them
    span      consecutive frames of a video that a clip stretches over
    stride    how far the frames of a clip lie apart in the video

The order of training needs no state. A position names its epoch, the video at that place of the
epoch's permutation, and the seed of everything random that happens to the clip. Whoever knows the
position can go on exactly.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

ORDERS = ("shuffled", "balanced")
WHOLE_VIDEO = 0  # the span of clips that cover all of a video, however long it is


def video_at(position: tf.Tensor, num_videos: int, seed: int) -> tf.Tensor:
    """The video at a place of the endless training order: every epoch is a permutation.

    Example:

    >>> [int(video_at(position, num_videos=3, seed=0)) for position in range(6)]
    [1, 0, 2, 2, 0, 1]

    Args:
        position: int64 scalar, the number of clips before this one.
        num_videos: Number of videos, so that one epoch is `num_videos` positions.
        seed: The run's seed.

    Returns:
        int64 scalar in `[0, num_videos)`.
    """
    position = tf.cast(position, tf.int64)
    epoch = position // num_videos
    # index_shuffle looks at the lower 32 bits of its seeds only, so seed and epoch are hashed. The
    # inverted seed keeps the hash apart from those that start at `clip_seed`.
    key = tf.stack([tf.constant(~seed, tf.int64), epoch])
    return _permuted(position % num_videos, tf.constant(num_videos, tf.int64), key)


class BalancedOrder:
    """The endless order in which all classes come equally often.

    A round has each class once, in an order that is new each round. The visits to a class go
    through permutations of its videos: all of them come before one comes again.

    Example:

    >>> order = BalancedOrder([0, 0, 0, 1], seed=0)
    >>> [int(order.video_at(position)) for position in range(6)]
    [1, 3, 2, 3, 0, 3]

    Args:
        labels: The class of each video. Classes without a video are left out.
        seed: The run's seed.
    """

    def __init__(self, labels: Sequence[int] | np.ndarray, seed: int) -> None:
        classes, counts = np.unique(labels, return_counts=True)
        self._seed = seed
        self._num_classes = len(classes)
        with tf.device("CPU:0"):  # where tf.data runs
            self._counts = tf.constant(counts, tf.int64)
            self._starts = tf.constant(np.cumsum(counts) - counts, tf.int64)
            self._videos = tf.constant(np.argsort(labels, kind="stable"), tf.int64)

    def video_at(self, position: tf.Tensor) -> tf.Tensor:
        """The video at a place of the order, an int64 scalar."""
        position = tf.cast(position, tf.int64)
        visit = position // self._num_classes
        # Another hash than that of `video_at`, and one for the classes and for each of them.
        key = tf.random.fold_in(
            tf.stack([tf.constant(~self._seed, tf.int64), visit]), tf.constant(-1, tf.int64)
        )
        classes = tf.constant(self._num_classes, tf.int64)
        label = _permuted(position % self._num_classes, classes, key)
        count = tf.gather(self._counts, label)
        key = tf.stack([tf.constant(~self._seed, tf.int64), visit // count])
        place = _permuted(visit % count, count, tf.random.fold_in(key, label))
        return tf.gather(self._videos, tf.gather(self._starts, label) + place)


def _permuted(place: tf.Tensor, count: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """Where a place below `count` lies in the permutation of a key, int64 `(2,)`."""
    hashed = tf.random.stateless_uniform([2], key, None, None, tf.int32)
    return tf.random.experimental.index_shuffle(place, hashed, max_index=count - 1)


def replacement_at(
    position: tf.Tensor, attempt: tf.Tensor, num_videos: int, seed: int
) -> tf.Tensor:
    """A random video to take the place of one that cannot be read.

    Args:
        position: int64 scalar, the number of clips before this one.
        attempt: int64 scalar, the number of videos tried before.
        num_videos: Number of videos.
        seed: The run's seed.

    Returns:
        int64 scalar in `[0, num_videos)`.
    """
    of_attempt = tf.random.fold_in(clip_seed(position, ~seed), attempt)
    return tf.random.stateless_uniform([], of_attempt, 0, num_videos, tf.int64)


def clip_seed(position: tf.Tensor, seed: int) -> tf.Tensor:
    """The stateless seed, shape `(2,)`, of what happens to the clip at a position."""
    return tf.stack([tf.constant(seed, tf.int64), tf.cast(position, tf.int64)])


def frame_stride(span: int, num_frames: int) -> int:
    """Distance of `num_frames` frames at equal intervals over `span` consecutive ones.

    Raises:
        ValueError: If `span` is not a positive multiple of `num_frames`.
    """
    if num_frames < 1 or span < 1 or span % num_frames:
        raise ValueError(
            "`span` must be a positive multiple of num_frames, so that the frames lie at equal "
            f"intervals. Received: span={span}, num_frames={num_frames}"
        )
    return span // num_frames


def training_start(seed: tf.Tensor, length: tf.Tensor, span: int) -> tf.Tensor:
    """First frame of a clip of `span` frames at a random place; 0 in a shorter video.

    Args:
        seed: Stateless seed of shape `(2,)`.
        length: Number of frames of the video.
        span: Number of consecutive frames that a clip stretches over.

    Returns:
        int64 scalar, uniform over the `length - span + 1` places.
    """
    places = tf.maximum(tf.cast(length, tf.int64) - span, 0) + 1
    return tf.random.stateless_uniform([], seed, maxval=places, dtype=tf.int64)


def evaluation_starts(length: tf.Tensor, num_clips: int, span: int) -> tf.Tensor:
    """First frames of `num_clips` clips, the first at the start and the last at the end.

    One clip is taken from the middle. In a video shorter than `span` all start at 0.

    Args:
        length: Number of frames of the video.
        num_clips: Number of clips.
        span: Number of consecutive frames that a clip stretches over.

    Returns:
        int64 tensor of shape `(num_clips,)`.
    """
    last = tf.maximum(tf.cast(length, tf.int64) - span, 0)
    if num_clips == 1:
        return last[tf.newaxis] // 2
    return last * tf.range(num_clips, dtype=tf.int64) // (num_clips - 1)


def middle_frames(length: tf.Tensor, num_frames: int) -> tf.Tensor:
    """The middle frames of equal parts of a video, as PySlowFast's `Ssv2` evaluates.

    Args:
        length: Number of frames of the video.
        num_frames: Number of parts.

    Returns:
        int64 tensor of shape `(num_frames,)`.
    """
    step = (tf.cast(length, tf.float64) - 1) / num_frames
    ends = tf.cast(tf.round(step * tf.range(num_frames + 1, dtype=tf.float64)), tf.int64)
    return (ends[:-1] + ends[1:]) // 2
