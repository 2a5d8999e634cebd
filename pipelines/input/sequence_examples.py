"""Shards of DMVR and of the TensorFlow Model Garden, read as they are.

Each record is a `tf.train.SequenceExample` that holds a whole video: JPEG frames in the feature
list `image/encoded` and a class id in the context feature `clip/label/index`. Such shards have no
index. One is made at the start by going from record to record, so that their videos are sampled
like converted ones; but each clip costs reading and parsing its whole video.
"""

import concurrent.futures
import contextlib
import dataclasses
import os
import re
import struct
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from pipelines.input.clip_reader import StoredVideo, reader_in_memory
from pipelines.shards.records import FRAMING_BYTES, record_dataset
from pipelines.shards.split_index import labels_path, read_class_names
from pipelines.system import filesystems, limits

_FRAMES = "image/encoded"
_LABEL = "clip/label/index"
_BUFFER_BYTES = 1 << 20
_GZIP = b"\x1f\x8b"


@dataclasses.dataclass(frozen=True)
class SequenceIndex:
    """Where every video of a split of SequenceExample shards lies.

    Attributes:
        data_dir, split: What was loaded.
        keys: Names of the videos, `<shard's name>:<number in the shard>`.
        shard_paths: Paths of the shards.
        shards: int32 array, the shard number of each video.
        offsets: int64 array, the byte at which its record lies.
        class_names: List of class names; a label is a place in it.
    """

    data_dir: str
    split: str
    keys: list[str]
    shard_paths: list[str]
    shards: np.ndarray
    offsets: np.ndarray
    class_names: list[str]

    @property
    def conversion(self) -> dict:
        """Not known of such shards: empty, so that prediction encodes with the defaults."""
        return {}

    def __len__(self) -> int:
        return len(self.keys)


def load_sequence_index(data_dir: str, split: str) -> SequenceIndex:
    """Find the videos of a split of SequenceExample shards.

    Args:
        data_dir: A folder of shards named `<split>-00000-of-00010` or `<split>*.tfrecord`, and a
            `labels.txt` with one class name a line in the order of the class ids.
        split: Name of the split.

    Raises:
        ValueError: If there are no shards, no `labels.txt`, or a shard is compressed or cut.
        OSError: If the folder cannot be read.
    """
    filesystems.require(data_dir)
    with filesystems.explained(data_dir):
        return _load(data_dir, split)


def _shards_of(split: str, present: Sequence[str]) -> list[str]:
    """The files of a split, and of no other whose name begins as its does (`train_small`).

    Raises:
        ValueError: If that cannot be told.
    """
    # DMVR writes no ending.
    numbered = re.compile(rf"{re.escape(split)}-\d+-of-\d+(\.\w+)?")
    found = [name for name in present if numbered.fullmatch(name)]
    if found:
        return found
    # Others write .tfrecord, behind what they like.
    some = re.compile(rf"{re.escape(split)}.*\.tfrecords?")
    found = [name for name in present if some.fullmatch(name)]
    kinds = {re.sub(r"[-_.]?\d+|\.tfrecords?", "", name): name for name in found}
    if len(kinds) > 1:
        raise ValueError(
            f"Which files are of split {split!r} cannot be told: {' and '.join(kinds.values())} "
            f"begin with its name. Rename its shards to {split}-00000-of-000NN."
        )
    return found


def _load(data_dir: str, split: str) -> SequenceIndex:
    present = sorted(filesystems.names(data_dir)) if tf.io.gfile.isdir(data_dir) else []
    paths = [os.path.join(data_dir, name) for name in _shards_of(split, present)]
    if not paths:
        raise ValueError(
            f"{data_dir} holds no SequenceExample shards of split {split!r}: no file is named "
            f"{split}-00000-of-000NN or {split}*.tfrecord. Name their folder and split."
        )
    if "labels.txt" not in present:
        raise ValueError(
            f"{labels_path(data_dir)} is missing. SequenceExample shards carry class ids only: "
            "write the class names into it, one a line, in the order of the ids."
        )
    class_names = read_class_names(data_dir)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        offsets = list(pool.map(_record_offsets, paths))
    counts = [len(of_shard) for of_shard in offsets]
    if not sum(counts):
        raise ValueError(f"All shards of split {split!r} in {data_dir} are empty.")
    return SequenceIndex(
        data_dir=data_dir,
        split=split,
        keys=[
            f"{os.path.basename(path)}:{number}"
            for path, count in zip(paths, counts)
            for number in range(count)
        ],
        shard_paths=paths,
        shards=np.repeat(np.arange(len(paths), dtype=np.int32), counts),
        offsets=np.array([offset for of_shard in offsets for offset in of_shard], np.int64),
        class_names=class_names,
    )


def _record_offsets(path: str) -> list[int]:
    """Bytes at which the records of a shard start, found by their lengths alone."""
    size = tf.io.gfile.stat(path).length
    path = path.removeprefix("file://")
    offsets: list[int] = []
    position = 0
    # TensorFlow's own file object reads ahead by half a megabyte at every step.
    opened = open(path, "rb", buffering=0) if filesystems.is_local(path) else None
    with opened or tf.io.gfile.GFile(path, "rb") as file:
        while position < size:
            file.seek(position)
            head = file.read(8)
            if not offsets and head.startswith(_GZIP):
                raise ValueError(f"{path} is compressed. Decompress it (gunzip) before reading.")
            length = struct.unpack("<Q", head)[0] if len(head) == 8 else size
            if position + length + FRAMING_BYTES > size:
                raise ValueError(
                    f"{path} is cut or no TFRecord file: the record at byte {position} does not "
                    f"end within its {size} bytes."
                )
            offsets.append(position)
            position += length + FRAMING_BYTES
    return offsets


class SequenceReader:
    """Reads clips of SequenceExample shards inside a tf.data function; see `ClipReader`.

    Args:
        index: The split's index.
    """

    def __init__(self, index: SequenceIndex):
        with tf.device("CPU:0"):
            self._paths = tf.constant(index.shard_paths)
            self._shards = tf.constant(index.shards)
            self._offsets = tf.constant(index.offsets)
        self._num_classes = len(index.class_names)
        self._labels_path = labels_path(index.data_dir)

    def open(self, number: tf.Tensor) -> StoredVideo:
        """The video at a place of the index: its whole record is read and parsed."""
        path = tf.gather(self._paths, tf.gather(self._shards, number))
        records = record_dataset(path, tf.gather(self._offsets, number), _BUFFER_BYTES)
        context, lists = tf.io.parse_single_sequence_example(
            records.take(1).get_single_element(),
            {_LABEL: tf.io.FixedLenFeature([], tf.int64)},
            {_FRAMES: tf.io.FixedLenSequenceFeature([], tf.string)},
        )
        frames, label = lists[_FRAMES], context[_LABEL]
        num_frames = tf.size(frames, tf.int64)
        with _required(
            tf.debugging.Assert(num_frames > 0, ["A video has no frames:", path, number]),
            tf.debugging.Assert(
                (label >= 0) & (label < self._num_classes),
                ["A label has no class name in", self._labels_path, ":", label],
            ),
        ):
            height, width, _ = tf.unstack(tf.io.extract_jpeg_shape(frames[0]))
            label = tf.cast(label, tf.int32)
        longer, shorter = tf.maximum(height, width), tf.minimum(height, width)
        fits = (longer <= limits.MAX_ASPECT * shorter) & (height <= limits.MAX_PIXELS // width)
        with _required(
            tf.debugging.Assert(
                fits, ["The JPEG of a frame is too large or too long:", path, number, height, width]
            )
        ):
            height, width = tf.identity(height), tf.identity(width)
        return StoredVideo(
            label=label,
            num_frames=num_frames,
            height=height,
            width=width,
            read=reader_in_memory(frames, num_frames),
        )


def _required(*checks: tf.Operation | None) -> contextlib.AbstractContextManager:
    """What is computed inside waits for these; run eagerly, they are None and have passed."""
    return tf.control_dependencies([check for check in checks if check is not None])
