"""Clips read at random from the shards of a split, as graph operations."""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from pipelines.shards.records import ANCHOR_INTERVAL, record_dataset
from pipelines.shards.split_index import Index
from pipelines.system import filesystems

_BUFFER_BYTES = 1 << 16
_REMOTE_BUFFER_BYTES = 1 << 18  # fewer requests, each of which waits for a network


@dataclasses.dataclass(frozen=True)
class StoredVideo:
    """A video of a split inside a tf.data function; its frames are not read yet.

    Args:
        label: int32 scalar.
        num_frames: int64 scalar.
        height: int32 scalar.
        width: int32 scalar.
        read: `read(start, stride, num_frames)` gives a string tensor `(num_frames,)`, the JPEGs of
            frames `start + i * stride`; past the video's end its last frame is repeated.
    """

    label: tf.Tensor
    num_frames: tf.Tensor
    height: tf.Tensor
    width: tf.Tensor
    read: Callable[[tf.Tensor, int, int], tf.Tensor]


def reader_in_memory(
    frames: tf.Tensor, num_frames: tf.Tensor | int
) -> Callable[[tf.Tensor, int, int], tf.Tensor]:
    """`StoredVideo.read` of a video whose JPEGs are in a tensor `(num_frames,)`."""

    def read(start: tf.Tensor, stride: int, count: int) -> tf.Tensor:
        wanted = tf.cast(start, tf.int64) + stride * tf.range(count, dtype=tf.int64)
        return tf.gather(frames, tf.minimum(wanted, num_frames - 1))

    return read


class ClipReader:
    """Reads clips of any video of a split inside a tf.data function.

    Example:

    ```python
    reader = ClipReader(load_index("data/kinetics400", "train"))
    video = reader.open(0)
    video.read(10, 8, 8)  # frames 10, 18, 26, ..., 66 as JPEG
    ```

    Args:
        index: The split's index.
    """

    def __init__(self, index: Index):
        # On a machine with accelerators TensorFlow would put some of these there.
        local = filesystems.is_local(index.data_dir)
        self._buffer_bytes = _BUFFER_BYTES if local else _REMOTE_BUFFER_BYTES
        with tf.device("CPU:0"):
            self._paths = tf.constant(index.shard_paths)
            self._shards = tf.constant(index.shards)
            self._labels = tf.constant(index.labels)
            self._lengths = tf.constant(index.num_frames)
            self._sizes = tf.constant(np.stack([index.heights, index.widths], axis=1))
            self._anchor_starts = tf.constant(index.anchor_starts)
            self._anchors = tf.constant(index.anchors)

    def open(self, number: tf.Tensor) -> StoredVideo:
        """The video at a place of the index."""
        size = tf.gather(self._sizes, number)
        return StoredVideo(
            label=tf.gather(self._labels, number),
            num_frames=tf.cast(tf.gather(self._lengths, number), tf.int64),
            height=size[0],
            width=size[1],
            read=lambda *where: self._read(number, *where),
        )

    def _read(self, number: tf.Tensor, start: tf.Tensor, stride: int, num_frames: int) -> tf.Tensor:
        length = tf.cast(tf.gather(self._lengths, number), tf.int64)
        start = tf.cast(start, tf.int64)
        # `shard` passes over the frames between inside of TensorFlow, which copies none of them.
        taken = self._from_frame(number, start).take(length - start).shard(stride, 0)
        # Only a video that is too short gets so far.
        held = self._from_frame(number, length - 1).take(1).repeat()
        clip = taken.concatenate(held).take(num_frames)
        frames = clip.batch(num_frames, drop_remainder=True).get_single_element()
        return tf.ensure_shape(frames, [num_frames])

    def _from_frame(self, number: tf.Tensor, frame: tf.Tensor) -> tf.data.Dataset:
        anchor = tf.gather(self._anchor_starts, number) + frame // ANCHOR_INTERVAL
        path = tf.gather(self._paths, tf.gather(self._shards, number))
        records = record_dataset(path, tf.gather(self._anchors, anchor), self._buffer_bytes)
        return records.skip(frame % ANCHOR_INTERVAL)
