"""Which video and which of its frames: pure functions of a seed and a position.

Words:
    position  the number of a clip in the endless order of training, over all workers
    epoch     `num_videos` positions; every video is at one of them
    span      consecutive frames of a video that a clip stretches over
    stride    how far the frames of a clip lie apart in the video

The order of training needs no state. A position names its epoch, the video at that place of the
epoch's permutation, and the seed of everything random that happens to the clip. Whoever knows the
position can go on exactly.
"""

import tensorflow as tf


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
    hashed = tf.random.stateless_uniform(
        [2], tf.stack([tf.constant(~seed, tf.int64), epoch]), None, None, tf.int32
    )
    return tf.random.experimental.index_shuffle(
        position % num_videos, hashed, max_index=tf.constant(num_videos - 1, tf.int64)
    )


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
