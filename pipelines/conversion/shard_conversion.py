"""Convert one shard: a pure function of its task, on whatever machine it runs.

Words:
    task         the clips of a shard in order, the folder of their files, and the settings
    fingerprint  a hash of all that the bytes of the shard depend on
    report       the .json beside the shard: fingerprint, size, rows, failures and notes
    lasting      of a failure: the file itself is the cause, so that another try gives the same

A shard is finished if its report has the fingerprint that is wanted now and the size of the file.
Nothing else has to be remembered, and a kill costs the shards under way only.
"""

import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from pipelines.conversion.conversion_plan import ShardTask
from pipelines.frames import isolated_reader, video_file
from pipelines.shards import records, sealed_json
from pipelines.system import filesystems
from pipelines.system.text import printable


@dataclasses.dataclass(frozen=True)
class Failure:
    """A video that could not be converted.

    Attributes:
        key, path: The clip's.
        cause: Why.
        lasting: Whether the file itself is the cause, so that trying again is of no use.
    """

    key: str
    path: str
    cause: str
    lasting: bool = True


@dataclasses.dataclass(frozen=True)
class Note:
    """What a person should look at in a video that was converted.

    Attributes:
        key, path: The clip's.
        notes: Sentences, such as one about a gap that was filled.
    """

    key: str
    path: str
    notes: list[str]


@dataclasses.dataclass(frozen=True)
class ShardReport:
    """What a shard holds, what it lacks, and what is to be looked at."""

    rows: list[records.VideoRow]
    failures: list[Failure]
    notes: list[Note]

    @property
    def is_lasting(self) -> bool:
        """Whether the same videos would give the same again, with more time and memory too."""
        return all(failure.lasting for failure in self.failures)


def report_path(shard: str) -> str:
    """The file beside a shard that says from what it was made; its presence marks it finished."""
    return f"{shard.removesuffix('.tfrecord')}.json"


def convert_shard(task: ShardTask, after_video: Callable[[], None] = lambda: None) -> ShardReport:
    """Converts the videos of one shard and writes it, then its report.

    The shard appears under its name only when it is whole. A video that fails, hangs or crashes
    the decoder costs itself only.

    Args:
        task: What to convert; the shard's bytes depend on nothing else.
        after_video: Called after each video. What it raises ends the conversion of the shard.

    Raises:
        OSError: The shard cannot be written.
    """
    failures: list[Failure] = []
    notes: list[Note] = []
    # A kill between the two writes below must not leave a shard beside another one's report.
    if tf.io.gfile.exists(report_path(task.path)):
        tf.io.gfile.remove(report_path(task.path))
    with isolated_reader.IsolatedReader(task.timeout) as reader:
        rows = records.write_shard(task.path, _videos(task, reader, failures, notes, after_video))
    report = {
        "fingerprint": task.fingerprint,
        "settings": task.settings.recorded(),
        "bytes": filesystems.size(task.path),
        "failures": [dataclasses.asdict(failure) for failure in failures],
        "notes": [dataclasses.asdict(note) for note in notes],
        "rows": [dataclasses.asdict(row) for row in rows],
    }
    text = json.dumps(sealed_json.sealed(report))
    filesystems.write_file(report_path(task.path), text.encode())
    return ShardReport(rows, failures, notes)


def finished_report(task: ShardTask) -> ShardReport | None:
    """The report of a shard that an earlier run finished from the same videos and settings."""
    path = report_path(task.path)
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            report = sealed_json.opened(file.read())
        whole = filesystems.size(task.path) == report["bytes"]
        if report["fingerprint"] != task.fingerprint or not whole:
            return None
        return ShardReport(
            [records.VideoRow(**row) for row in report["rows"]],
            [Failure(**failure) for failure in report["failures"]],
            [Note(**note) for note in report["notes"]],
        )
    except (tf.errors.OpError, ValueError, KeyError, TypeError):
        return None  # absent, damaged, or not a report


def recorded_settings(path: str) -> dict[str, Any] | None:
    """Those that a report names; None if there is no report that can be read."""
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            return sealed_json.opened(file.read()).get("settings")
    except (tf.errors.OpError, ValueError):
        return None


def _videos(
    task: ShardTask,
    reader: isolated_reader.IsolatedReader,
    failures: list[Failure],
    notes: list[Note],
    after_video: Callable[[], None],
) -> Iterator[records.EncodedVideo]:
    settings = task.settings.recorded()
    for clip in task.clips:
        try:
            path = path_inside(task.videos, clip.path)
            encoded = reader.read_frames(path, start=clip.start, end=clip.end, **settings)
        except video_file.VideoError as error:
            path = printable(clip.path)
            failures.append(Failure(clip.key, path, error.cause, error.lasting))
        else:
            if encoded.notes:
                notes.append(Note(clip.key, printable(clip.path), list(encoded.notes)))
            yield records.EncodedVideo(
                key=clip.key,
                label=clip.label,
                frames=encoded.frames,
                height=encoded.height,
                width=encoded.width,
                fps=encoded.fps,
            )
        after_video()


def path_inside(folder: str, path: str) -> str:
    """The real path of a file below a folder.

    Raises:
        video_file.VideoError: it lies elsewhere, by `..`, an absolute path or a link.
    """
    root = os.path.realpath(folder)
    try:
        real = os.path.realpath(os.path.join(root, path))
    except (OSError, ValueError) as error:
        raise video_file.VideoError(path, f"is no path: {error}") from error
    # With the separator: /data/videos2 is not below /data/videos.
    if not real.startswith(os.path.join(root, "")):
        raise video_file.VideoError(
            path, f"leads outside the folder of the videos, to {real}; only files below it are read"
        )
    return real
