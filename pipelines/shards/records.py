"""The record format of converted videos, written and parsed here and nowhere else.

Words:
    record   a piece of a TFRecord file: its length, a checksum of it, the data, a checksum of them
    header   the first record of a video: a `tf.train.Example` with key, label, number of frames,
             size and frame rate
    key      the name of a video, unique within its split
    shard    one of the files of a split; it holds whole videos, one after the other
    anchor   the byte at which every 16th frame of a video lies
    row      what the index of a split says of one video, its anchors included

A video is its header and then one record a frame, which is the JPEG itself. A training clip is one
contiguous read from the nearest anchor: frames between the wanted ones are skipped without being
copied, checked or parsed. Any video can be reached at random, which makes the order of training a
function of the step.
"""

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from pipelines.system import filesystems

ANCHOR_INTERVAL = 16
_SCAN_BUFFER_BYTES = 1 << 20

# A TFRecord is framed by its length (8 bytes), the length's checksum (4) and the data's (4).
FRAMING_BYTES = 16
_JPEG_START = b"\xff\xd8"


class DamagedRecordError(ValueError):
    """A record whose bytes are not those that were written; names shard and offset."""


@dataclasses.dataclass(frozen=True)
class EncodedVideo:
    """A video as it is stored: JPEG frames at a constant rate.

    Args:
        key: Unique name of the video within its split.
        label: Class id.
        frames: One JPEG a frame.
        height: Height of the frames in pixels.
        width: Width of the frames in pixels.
        fps: Frames per second.
    """

    key: str
    label: int
    frames: Sequence[bytes]
    height: int
    width: int
    fps: float


@dataclasses.dataclass(frozen=True)
class VideoRow:
    """One video's line of the index. Offsets are bytes from the start of its shard.

    `dataclasses.asdict(row)` can be written as JSON, and `VideoRow(**dict)` reads it back.
    `digest` is `frames_digest` of the frames, empty where an older version wrote none.
    """

    key: str
    label: int
    num_frames: int
    height: int
    width: int
    fps: float
    offset: int
    anchors: Sequence[int]
    digest: str = ""


def write_shard(path: str, videos: Iterable[EncodedVideo]) -> list[VideoRow]:
    """Write one shard so that a file under `path` is always a whole one.

    The videos are written under a temporary name beside `path` in the order in which they come,
    and the file is moved when all are on disk. Nothing is left behind if a video or its source
    raises. The same videos give the same bytes.

    Args:
        path: Where the shard shall be.
        videos: The videos; a generator keeps memory constant.

    Returns:
        The index rows of the videos, for `write_split`.

    Raises:
        ValueError: If a video has no frames, a frame is not a JPEG, or size, rate or label make
            no sense.
        OSError: If the shard cannot be written.
    """
    rows = []
    with filesystems.temporary_beside(path) as temporary:
        with tf.io.TFRecordWriter(temporary) as writer:
            position = 0
            for video in videos:
                row, position = _write_video(writer, position, video)
                rows.append(row)
        filesystems.publish(temporary, path)
    return rows


def _write_video(
    writer: tf.io.TFRecordWriter, position: int, video: EncodedVideo
) -> tuple[VideoRow, int]:
    _check_video(video)
    header = _encode_header(video)
    writer.write(header)
    start = position
    position += len(header) + FRAMING_BYTES
    # The writer does not tell where it is: bytes are counted.
    anchors = []
    for number, frame in enumerate(video.frames):
        if number % ANCHOR_INTERVAL == 0:
            anchors.append(position)
        writer.write(frame)
        position += len(frame) + FRAMING_BYTES
    row = VideoRow(
        key=video.key,
        label=int(video.label),
        num_frames=len(video.frames),
        height=int(video.height),
        width=int(video.width),
        fps=float(video.fps),
        offset=start,
        anchors=anchors,
        digest=frames_digest(video.frames),
    )
    return row, position


def frames_digest(frames: Iterable[bytes]) -> str:
    """32 hexadecimal digits that tell the frames of a video, and their order, from any others."""
    digest = hashlib.blake2b(digest_size=16)
    for frame in frames:
        digest.update(frame)
    return digest.hexdigest()


def _check_video(video: EncodedVideo) -> None:
    if not video.key:
        raise ValueError(f"A video's key must not be empty. Received: key={video.key!r}")
    if not video.frames:
        raise ValueError(f"A video must have at least one frame. Received: key={video.key!r}")
    for name in ("height", "width", "fps"):
        if not getattr(video, name) > 0:
            raise ValueError(
                f"{name} of {video.key!r} must be positive. Received: {name}={getattr(video, name)}"
            )
    if video.label < 0:
        raise ValueError(f"label of {video.key!r} must be 0 or more. Received: label={video.label}")
    for number, frame in enumerate(video.frames):
        if not frame.startswith(_JPEG_START):
            raise ValueError(
                f"Frames must be JPEG files in memory. Received: frame {number} of "
                f"{video.key!r} starts with {bytes(frame[:4])!r}"
            )


def _encode_header(video: EncodedVideo) -> bytes:
    def integer(value: int) -> tf.train.Feature:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[int(value)]))

    example = tf.train.Example()
    features = {
        "fps": tf.train.Feature(float_list=tf.train.FloatList(value=[video.fps])),
        "height": integer(video.height),
        "key": tf.train.Feature(bytes_list=tf.train.BytesList(value=[video.key.encode()])),
        "label": integer(video.label),
        "num_frames": integer(len(video.frames)),
        "width": integer(video.width),
    }
    for name, feature in features.items():
        example.features.feature[name].CopyFrom(feature)
    # Maps have no order in protocol buffers; the same video shall give the same bytes.
    return example.SerializeToString(deterministic=True)


def scan_shard(path: str) -> list[VideoRow]:
    """Rebuild the index rows of a shard by reading all of it, which checks every record.

    Raises:
        DamagedRecordError: At the first damaged record; names shard and offset.
    """
    filesystems.require(path)
    return [row for _, row in read_from(path, 0)]


def read_from(path: str, offset: int) -> Iterator[tuple[EncodedVideo, VideoRow]]:
    """The videos of a shard from a header's byte on, each with its index row.

    Raises:
        DamagedRecordError: At the first damaged record; names shard and offset.
    """
    # TensorFlow cannot iterate over a dataset with offsets itself, only inside another's function.
    where = tf.data.Dataset.from_tensors((path, tf.constant(offset, tf.int64)))
    records = iter(where.flat_map(lambda p, o: record_dataset(p, o, _SCAN_BUFFER_BYTES)))
    position = offset

    def following() -> bytes | None:
        nonlocal position
        try:
            record = next(records, None)
        except tf.errors.OpError as error:
            raise DamagedRecordError(
                f"{path} is damaged at byte {position}: {error.message}"
            ) from error
        if record is None:
            return None
        record = record.numpy()
        position += len(record) + FRAMING_BYTES
        return record

    while True:
        start = position
        header = following()
        if header is None:
            return
        fields = _decode_header(path, start, header)
        frames, anchors = [], []
        for number in range(fields["num_frames"]):
            if number % ANCHOR_INTERVAL == 0:
                anchors.append(position)
            frame_start = position
            frame = following()
            if frame is None or not frame.startswith(_JPEG_START):
                raise DamagedRecordError(
                    f"{path} is damaged at byte {frame_start}: frame {number} of "
                    f"{fields['key']!r} is {'missing' if frame is None else 'not a JPEG'}."
                )
            frames.append(frame)
        digest = frames_digest(frames)
        row = VideoRow(offset=start, anchors=anchors, digest=digest, **fields)
        del fields["num_frames"]
        yield EncodedVideo(frames=frames, **fields), row


def _decode_header(path: str, offset: int, header: bytes) -> dict[str, Any]:
    try:
        feature = tf.train.Example.FromString(header).features.feature
        integers = ("label", "num_frames", "height", "width")
        fields = {name: feature[name].int64_list.value[0] for name in integers}
        fields["key"] = feature["key"].bytes_list.value[0].decode()
        fields["fps"] = feature["fps"].float_list.value[0]
        sizes = [fields[name] for name in ("num_frames", "height", "width", "fps")]
        if not (fields["label"] >= 0 and all(size > 0 for size in sizes)):
            raise ValueError(f"no video is so: {fields}")
    # protobuf's own error class differs between its implementations.
    except Exception as error:
        raise DamagedRecordError(
            f"{path} has no video header at byte {offset}. (cause: {error!r})"
        ) from error
    return fields


def record_dataset(path: tf.Tensor, offset: tf.Tensor, buffer_bytes: int) -> tf.data.Dataset:
    """Records of a TFRecord file from a byte on, as graph operations.

    `tf.data.TFRecordDataset` reads from the start only. The operation below it takes offsets, and
    needs no Python, so it can be sent to the workers of the tf.data service and reads whatever
    filesystem TensorFlow knows.
    """
    # TensorFlow 2.17 reads 127 MiB at once where all names begin with s3://. So there is a second
    # file, which is empty.
    variant = tf.raw_ops.TFRecordDatasetV2(
        filenames=tf.stack([path, os.devnull]),
        compression_type="",
        buffer_size=buffer_bytes,
        byte_offsets=tf.stack([offset, tf.zeros_like(offset)]),
    )
    return tf.data.experimental.from_variant(variant, tf.TensorSpec([], tf.string))
