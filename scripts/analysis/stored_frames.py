"""Frames of the videos that an evaluation names, from the data that it was measured on."""

from collections.abc import Sequence

import tensorflow as tf

from pipelines.input.splits import open_split, reader_of
from pipelines.shards.split_index import Index, read_video


class StoredFrames:
    """The videos of a split by their keys.

    Args:
        data_dir, split, format: See `open_split`.

    Raises:
        ValueError: If the data cannot be read.
        OSError: If its folder cannot be read.
    """

    def __init__(self, data_dir: str, split: str, format: str = "records") -> None:
        self._index = open_split(data_dir, split, format)
        self._places = {key: place for place, key in enumerate(self._index.keys)}

    def read(self, key: str) -> Sequence[bytes] | None:
        """The JPEGs of all frames; None of a video that is gone or damaged since the evaluation."""
        place = self._places.get(key)
        if place is None:
            return None
        try:
            if isinstance(self._index, Index):
                return read_video(self._index, place).frames
            video = reader_of(self._index).open(place)
            return video.read(0, 1, int(video.num_frames)).numpy().tolist()
        except (ValueError, OSError, tf.errors.OpError):
            return None
