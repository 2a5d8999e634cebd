"""What a conversion will do, decided beforehand: which video goes into which shard, in which order.

The order is that of the hash of the keys. It mixes the classes, is the same on every machine, and
a video that is added or missing moves none of the others relative to each other.

The clips of a large dataset are kept in a temporary file; in memory there are 16 bytes a clip.
"""

import array
import collections
import dataclasses
import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from pipelines.frames import jpeg_encoders, video_file
from pipelines.layouts import annotations
from pipelines.shards import split_index
from pipelines.system.text import printable, stable_hash

_FEWEST_SHARDS = 16  # so that small datasets use several processes too
MAX_SHARDS = 99_999  # a shard's name has five digits


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that decides the bytes of a shard besides its videos."""

    fps: float = 25
    short_side: int | None = 256
    quality: int = 4
    upscale: bool = True
    encoder: str = jpeg_encoders.LIBAV

    def __post_init__(self):
        video_file.check_settings(self.fps, self.short_side, self.quality)
        jpeg_encoders.check_encoder(self.encoder)

    def recorded(self) -> dict[str, Any]:
        """As they are written and as readers of videos take them.

        The usual encoder has no name there: what was converted when there was no other stays
        what it is.
        """
        values = dataclasses.asdict(self)
        if self.encoder == jpeg_encoders.LIBAV:
            del values["encoder"]
        return values

    def differing(self, recorded: Mapping[str, Any]) -> list[str]:
        """How those of an earlier conversion are others, in words.

        What an older version did not record is taken as it is now.
        """
        before = {"encoder": jpeg_encoders.LIBAV, **recorded}
        return [
            f"{name} was {before[name]} and is now {value}"
            for name, value in dataclasses.asdict(self).items()
            if name in before and before[name] != value
        ]


@dataclasses.dataclass(frozen=True)
class ShardTask:
    """One shard to convert: all that the conversion of a shard depends on.

    Attributes:
        path: Where the shard goes.
        videos: Folder of the videos.
        clips: Its clips, in order.
        fingerprint: A hash of the settings, of the clips and of their files' sizes and times.
        settings: The settings.
        timeout: Seconds after which a video is given up.
    """

    path: str
    videos: str
    clips: tuple[annotations.Clip, ...]
    fingerprint: str
    settings: Settings
    timeout: float


class Plan:
    """The shards of one split, decided before anything is decoded.

    Clips are ordered by the hash of their keys, which mixes classes and is the same on every run,
    and cut into shards of equal size. Videos that are missing keep their places, so that finding
    them later changes their own shards only.

    Args:
        clips: The clips of the split, in any order; consumed once.
        videos: Folder of the videos.
        shard_path: Gives the path of a shard from its number and the number of shards.
        settings: The settings of the conversion.
        num_shards: Number of shards; `None` for one per `clips_per_shard`, and at least 16 if
            there are as many clips.
        timeout: Seconds after which a video is given up.
        clips_per_shard: See `annotations.Listing`.

    Raises:
        ValueError: There is no clip, or a key occurs twice.
    """

    def __init__(
        self,
        clips: Iterator[annotations.Clip],
        videos: str,
        shard_path: Callable[[int, int], str],
        settings: Settings,
        num_shards: int | None = None,
        timeout: float = 300.0,
        clips_per_shard: int = 128,
    ):
        self.settings = settings
        self.num_missing = 0
        self.first_missing: str | None = None
        self.clips_per_class: collections.Counter[int] = collections.Counter()
        self._videos = videos
        self._shard_path = shard_path
        self.timeout = timeout
        self._spool = tempfile.TemporaryFile()
        self._spool_lock = threading.Lock()  # a runner and its progress bar read at once
        self._offsets = self._sorted_offsets(clips)
        usual = self._usual_num_shards(clips_per_shard)
        self.num_shards = usual if num_shards is None else num_shards
        if not 1 <= self.num_shards <= MAX_SHARDS:
            raise ValueError(
                f"`num_shards` must be from 1 to {MAX_SHARDS}. "
                f"Received: num_shards={self.num_shards}"
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._spool.close()

    def __len__(self) -> int:
        return len(self._offsets)

    def _usual_num_shards(self, clips_per_shard: int) -> int:
        return max(-(-len(self) // clips_per_shard), min(len(self), _FEWEST_SHARDS))

    def _sorted_offsets(self, clips: Iterator[annotations.Clip]) -> np.ndarray:
        """Writes the clips to the temporary file and returns where each lies, in hash order."""
        hashes, offsets, identities = array.array("Q"), array.array("Q"), array.array("Q")
        position = 0
        for clip in clips:
            size, modified, identity = self._stat(clip)
            identities.append(stable_hash(identity))
            line = json.dumps([*clip, size, modified]).encode() + b"\n"
            self._spool.write(line)
            hashes.append(stable_hash(clip.key))
            offsets.append(position)
            position += len(line)
            self.clips_per_class[clip.label] += 1
        if not offsets:
            raise ValueError("A plan must have at least one video. Received: none")
        self._spool.flush()
        order = np.argsort(np.frombuffer(hashes, np.uint64), kind="stable")
        sorted_hashes, in_order, self._identities = (
            np.frombuffer(values, np.uint64)[order] for values in (hashes, offsets, identities)
        )
        for place in np.flatnonzero(sorted_hashes[1:] == sorted_hashes[:-1]):
            # Two keys may have one hash, though hardly ever: the keys themselves decide.
            first, second = (self._entry(in_order[place + step])[0] for step in (0, 1))
            if first.key == second.key:
                raise ValueError(
                    f"{first.key!r} is listed twice, as {printable(first.path)!r} with "
                    f"label {first.label} and as {printable(second.path)!r} with label "
                    f"{second.label}. Remove one of the lines."
                )
        return in_order

    def _stat(self, clip: annotations.Clip) -> tuple[int, int, str]:
        """Size and time of a clip's file, and a name for the clip that no link changes."""
        times = f"{clip.start}-{clip.end}"
        try:
            status = os.stat(os.path.join(self._videos, clip.path))
        except (OSError, ValueError):
            self.num_missing += 1
            self.first_missing = self.first_missing or clip.path
            return -1, 0, f"{printable(clip.path)} {times}"
        identity = f"{status.st_dev} {status.st_ino} {times}"
        return status.st_size, status.st_mtime_ns, identity

    def _entry(self, offset: int) -> tuple[annotations.Clip, int, int]:
        with self._spool_lock:
            self._spool.seek(int(offset))
            line = self._spool.readline()
        *clip, size, modified = json.loads(line)
        return annotations.Clip(*clip), size, modified

    def clips(self) -> Iterator[tuple[annotations.Clip, int]]:
        """Every clip in order of conversion, with its file's size in bytes, -1 if missing."""
        for offset in self._offsets:
            clip, size, _ = self._entry(offset)
            yield clip, size

    def shared_with(self, other: "Plan") -> list[tuple[annotations.Clip, annotations.Clip]]:
        """Pairs of clips, of this plan and of another, that are the same part of the same file."""
        _, here, there = np.intersect1d(
            self._identities, other._identities, assume_unique=False, return_indices=True
        )
        return [
            (self._entry(self._offsets[a])[0], other._entry(other._offsets[b])[0])
            for a, b in zip(here, there)
        ]

    def shard_path(self, number: int) -> str:
        """Path of a shard."""
        return self._shard_path(number, self.num_shards)

    def shard_sizes(self) -> list[int]:
        """Number of clips of each shard, by its number."""
        return np.diff(self._bounds()).tolist()

    def _bounds(self) -> np.ndarray:
        return np.linspace(0, len(self), self.num_shards + 1).astype(int)

    def tasks(self, numbers: Iterable[int] | None = None) -> Iterator[ShardTask]:
        """The shards of these numbers, or all, one after the other."""
        bounds = self._bounds()
        for number in range(self.num_shards) if numbers is None else numbers:
            entries = [
                self._entry(offset) for offset in self._offsets[bounds[number] : bounds[number + 1]]
            ]
            yield ShardTask(
                path=self.shard_path(number),
                videos=self._videos,
                clips=tuple(clip for clip, _, _ in entries),
                fingerprint=self._fingerprint(entries),
                settings=self.settings,
                timeout=self.timeout,
            )

    def _fingerprint(self, entries: list[tuple[annotations.Clip, int, int]]) -> str:
        # Another format, or another way of decoding, makes every shard anew.
        versions = [split_index.VERSION, video_file.VERSION]
        content = json.dumps([versions, self.settings.recorded(), entries])
        return hashlib.sha256(content.encode()).hexdigest()
