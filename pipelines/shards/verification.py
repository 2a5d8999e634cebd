"""Check every byte of a converted split against its index and manifest."""

import concurrent.futures
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import tensorflow as tf

from pipelines.shards import records, split_index
from pipelines.system import filesystems


@dataclasses.dataclass(frozen=True)
class CheckedVideo:
    """A video whose records are whole."""

    split: str
    key: str
    label: int
    digest: str


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something that is wrong, and where."""

    shard: str
    offset: int
    text: str

    def __str__(self):
        return f"{self.shard}, byte {self.offset}: {self.text}"


def check_split(
    index: split_index.Index,
    *,
    frame_step: int = 1,
    workers: int = 1,
    after_shard: Callable[[], None] = lambda: None,
) -> tuple[list[CheckedVideo], list[Problem]]:
    """Reads all records of a split: checksums, headers, images, labels and counts.

    Args:
        index: The split's index.
        frame_step: Every how manieth image is decoded; all are read and their checksums checked.
        workers: Shards that are read at the same time.
        after_shard: Called after each shard.

    Returns:
        The videos that are whole, in order, and the problems.
    """
    videos, problems = [], []
    check = functools.partial(_check_shard, index, frame_step=frame_step)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        for found, wrong in pool.map(check, range(len(index.shard_paths))):
            videos += found
            problems += wrong
            after_shard()
    return videos, problems + list(_check_counts(index))


def duplicates(videos: Iterable[CheckedVideo]) -> list[tuple[CheckedVideo, CheckedVideo]]:
    """Pairs of videos with the same frames, each with the first of its kind."""
    first: dict[str, CheckedVideo] = {}
    return [
        (first[video.digest], video)
        for video in videos
        if first.setdefault(video.digest, video) is not video
    ]


def _check_shard(
    index: split_index.Index, number: int, frame_step: int
) -> tuple[list[CheckedVideo], list[Problem]]:
    path = index.shard_paths[number]
    places = np.flatnonzero(index.shards == number).tolist()
    if index.manifest["shards"][number]["bytes"] and not tf.io.gfile.exists(path):
        return [], [Problem(path, 0, f"is missing, and with it {len(places)} videos")]
    videos, problems = [], list(_check_size(index, number))
    # One reader goes on from video to video, which is one pass over the file.
    reader: Iterator | None = None
    for place in places:
        offset = int(index.offsets[place])
        # After damage the index says where the next video starts.
        reader = reader or records.read_from(path, offset)
        try:
            found = next(reader, None)
            if found is None:
                raise records.DamagedRecordError(f"the shard ends before {index.keys[place]!r}")
            video, row = found
            _check_row(index, place, row)
            _check_images(video, frame_step)
        except records.DamagedRecordError as error:
            problems.append(Problem(path, offset, f"{index.keys[place]!r}: {error}"))
            reader = None
            continue
        videos.append(CheckedVideo(index.split, video.key, video.label, row.digest))
    return videos, problems


def _check_size(index: split_index.Index, number: int) -> Iterator[Problem]:
    path = index.shard_paths[number]
    size, written = filesystems.size(path), index.manifest["shards"][number]["bytes"]
    if size != written:
        place, what = min(size, written), "is cut" if size < written else "was added to"
        yield Problem(path, place, f"{what}: it has {size} bytes, its manifest says {written}")


def _check_row(index: split_index.Index, place: int, row: records.VideoRow) -> None:
    start = index.anchor_starts[place]
    expected = records.VideoRow(
        key=index.keys[place],
        label=int(index.labels[place]),
        num_frames=int(index.num_frames[place]),
        height=int(index.heights[place]),
        width=int(index.widths[place]),
        fps=float(index.fps[place]),
        offset=int(index.offsets[place]),
        anchors=index.anchors[start : start + len(row.anchors)].tolist(),
        # Older versions wrote none: then there is nothing to compare with.
        digest=index.digest(place) or row.digest,
    )
    # The first difference says enough: the rest mostly follows from it.
    for field in dataclasses.fields(row):
        seen, wanted = getattr(row, field.name), getattr(expected, field.name)
        if seen != wanted:
            raise records.DamagedRecordError(
                f"{field.name} is {seen!r} in the record and {wanted!r} in the index"
            )
    if not 0 <= row.label < len(index.class_names):
        raise records.DamagedRecordError(
            f"label {row.label} is not one of the {len(index.class_names)} classes"
        )


def _check_images(video: records.EncodedVideo, frame_step: int) -> None:
    for number in range(0, len(video.frames), frame_step):
        try:
            image = tf.io.decode_jpeg(video.frames[number], channels=3)
        except tf.errors.OpError as error:
            message = error.message.splitlines()[0]
            raise records.DamagedRecordError(f"frame {number} is no JPEG: {message}") from error
        if image.shape != (video.height, video.width, 3):
            raise records.DamagedRecordError(
                f"frame {number} is {image.shape[1]}x{image.shape[0]}, its header says "
                f"{video.width}x{video.height}"
            )


def _check_counts(index: split_index.Index) -> Iterator[Problem]:
    path = split_index.manifest_path(index.data_dir, index.split)
    manifest = index.manifest
    per_class = [0] * len(index.class_names)
    for label in index.labels:
        per_class[label] += 1
    seen = {
        "num_videos": len(index),
        "num_frames": int(index.num_frames.sum()),
        "videos_per_class": per_class,
        "num_classes": len(index.class_names),
    }
    for name, count in seen.items():
        if manifest.get(name) != count:
            yield Problem(path, 0, f"{name} is {manifest.get(name)} and must be {count}")
    repeated = len(index.keys) - len(set(index.keys))
    if repeated:
        yield Problem(path, 0, f"{repeated} keys occur more than once")
