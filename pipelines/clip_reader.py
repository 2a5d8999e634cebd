"""Clips read at random from the shards of a split, as graph operations."""

import tensorflow as tf

from pipelines.records import ANCHOR_INTERVAL, record_dataset
from pipelines.split_index import Index

_BUFFER_BYTES = 1 << 16


class ClipReader:
    """Reads clips of any video of a split inside a tf.data function.

    Example:

    ```python
    reader = ClipReader(load_index("data/kinetics400", "train"))
    # Frames 10, 18, 26, ..., 66 of the first video, as JPEG.
    reader.read(video=0, start=10, stride=8, num_frames=8)
    ```

    Args:
        index: the split's index.
    """

    def __init__(self, index: Index):
        self.paths = tf.constant(index.shard_paths)
        self.shards = tf.constant(index.shards)
        self.lengths = tf.constant(index.num_frames)
        self.anchor_starts = tf.constant(index.anchor_starts)
        self.anchors = tf.constant(index.anchors)

    def read(
        self, video: tf.Tensor, start: tf.Tensor, stride: tf.Tensor, num_frames: int
    ) -> tf.Tensor:
        """Frames `start + i * stride` of a video; past its end, its last frame is repeated.

        Args:
            video: place of the video in the index.
            start: number of the first frame.
            stride: frames from one to the next.
            num_frames: number of frames.

        Returns:
            String tensor of shape `(num_frames,)`, JPEG files.
        """
        length = tf.cast(tf.gather(self.lengths, video), tf.int64)
        start = tf.cast(start, tf.int64)
        taken = self._from_frame(video, start).take(length - start)
        held = self._from_frame(video, length - 1).take(1).repeat()
        clip = taken.shard(tf.cast(stride, tf.int64), 0).concatenate(held).take(num_frames)
        return clip.batch(num_frames, drop_remainder=True).get_single_element()

    def _from_frame(self, video: tf.Tensor, frame: tf.Tensor) -> tf.data.Dataset:
        anchor = tf.gather(self.anchor_starts, video) + frame // ANCHOR_INTERVAL
        path = tf.gather(self.paths, tf.gather(self.shards, video))
        records = record_dataset(path, tf.gather(self.anchors, anchor), _BUFFER_BYTES)
        return records.skip(frame % ANCHOR_INTERVAL)
