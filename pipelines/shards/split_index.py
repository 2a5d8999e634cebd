"""The index of a split: where each video lies, what the classes are, and how it was made.

`split_writing` writes it. Words:
    split      a part of a dataset with a name, as train or validation
    label map  labels.txt, the names of the classes; a label is a line's number from 0 on. All
               splits of a folder share it
    index      <split>.index.npz, what `records.VideoRow` says of every video, in arrays
    manifest   <split>.json, counts, settings of the conversion, failures, and hashes of the index
               and of itself

The order of writing is shards, label map, index, manifest. So a split that has a manifest is
complete, and a reader that finds the hashes right has files that belong together.
"""

import dataclasses
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.shards import index_arrays, sealed_json
from pipelines.shards.records import DamagedRecordError, EncodedVideo, read_from
from pipelines.system import filesystems

VERSION = 1


@dataclasses.dataclass(frozen=True)
class Index:
    """Where every video of a split lies. Arrays have one entry a video unless said otherwise.

    Attributes:
        data_dir, split: What was loaded.
        keys: List of names.
        labels, num_frames, heights, widths, shards: int32 arrays; `shards` are shard numbers.
        fps: float32 array.
        offsets: int64 array, the byte at which a video's header lies in its shard.
        anchor_starts: int64 array, place of a video's first entry in `anchors`.
        anchors: int64 array, the bytes at which frames 0, 16, 32, ... of every video lie.
        class_names: List of class names; a label is a place in it.
        manifest: The split's manifest as a dict.
        digests: uint8 array (videos, 16), see `digest`; `None` where an older version wrote none.
    """

    data_dir: str
    split: str
    keys: list[str]
    labels: np.ndarray
    num_frames: np.ndarray
    heights: np.ndarray
    widths: np.ndarray
    fps: np.ndarray
    shards: np.ndarray
    offsets: np.ndarray
    anchor_starts: np.ndarray
    anchors: np.ndarray
    class_names: list[str]
    manifest: dict[str, Any]
    digests: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def digest(self, number: int) -> str:
        """`records.frames_digest` of a video as it was written; empty if that is not known."""
        if self.digests is None or not self.digests[number].any():
            return ""
        return self.digests[number].tobytes().hex()

    @property
    def conversion(self) -> dict[str, Any]:
        """How the videos were encoded: arguments of `video_file.read_frames`."""
        return self.manifest.get("settings", {})

    @property
    def shard_paths(self) -> list[str]:
        """Paths of the shards, by shard number."""
        count = len(self.manifest["shards"])
        return [shard_path(self.data_dir, self.split, i, count) for i in range(count)]


def shard_path(data_dir: str, split: str, number: int, num_shards: int) -> str:
    """Path of one shard: `<data_dir>/<split>-00000-of-000NN.tfrecord`."""
    return os.path.join(data_dir, f"{split}-{number:05d}-of-{num_shards:05d}.tfrecord")


def manifest_path(data_dir: str, split: str) -> str:
    """Path of a split's manifest, which is written last and so marks the split as complete."""
    return os.path.join(data_dir, f"{split}.json")


def index_path(data_dir: str, split: str) -> str:
    """Path of a split's index."""
    return os.path.join(data_dir, f"{split}.index.npz")


def labels_path(data_dir: str) -> str:
    """Path of the label map, one class name a line."""
    return os.path.join(data_dir, "labels.txt")


def class_names_sha256(class_names: Sequence[str]) -> str:
    """By which a split's manifest knows the label map that the split was written with."""
    return hashlib.sha256("\n".join(class_names).encode()).hexdigest()


def was_written_with(manifest: Mapping[str, Any], class_names: Sequence[str]) -> bool:
    """Whether these are the classes of a split, by its manifest."""
    # Older versions wrote no hash.
    digest = class_names_sha256(class_names)
    return manifest.get("class_names_sha256", digest) == digest


def list_splits(data_dir: str, *, finished: bool = True) -> list[str]:
    """Names of the complete splits of a folder, or of all of which it holds anything."""
    filesystems.require(data_dir)
    with filesystems.explained(data_dir):
        if not tf.io.gfile.isdir(data_dir):
            return []
        names = filesystems.names(data_dir)
    manifests = {name.removesuffix(".json") for name in names if name.endswith(".json")}
    indices = {name.removesuffix(".index.npz") for name in names if name.endswith(".index.npz")}
    if finished:
        return sorted(manifests & indices)
    shards = (re.fullmatch(r"(.+)-\d{5}-of-\d{5}\.tfrecord", name) for name in names)
    return sorted(indices | {match.group(1) for match in shards if match})


def read_class_names(data_dir: str) -> list[str]:
    """Class names of a folder, by class id.

    Raises:
        ValueError: If the folder has no label map.
        OSError: If the folder cannot be read.
    """
    filesystems.require(data_dir)
    path = labels_path(data_dir)
    with filesystems.explained(data_dir):
        if not tf.io.gfile.exists(path):
            # tensorflow-io says of a server that does not answer that the file is not there.
            local = filesystems.is_local(data_dir)
            raise ValueError(
                f"{data_dir} holds no converted videos: there is no labels.txt in it. Name the "
                "folder that keras-rms convert wrote (its --output)"
                f"{'' if local else ', and make sure that its server answers and lets you read'}."
            )
        with tf.io.gfile.GFile(path, "rb") as file:
            content = file.read()
    try:
        return content.decode().splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} must be UTF-8 text, one class name a line, and is not ({error})."
        ) from error


def load_index(data_dir: str, split: str, *, check_shards: bool = True) -> Index:
    """Load the index of a split and check it against its manifest and shards.

    Example:

    ```python
    index = load_index("data/kinetics400", "validate")
    print(len(index), "videos of", len(index.class_names), "classes")
    ```

    Args:
        data_dir: A converted folder, local or with a scheme that TensorFlow can open.
        split: Name of the split.
        check_shards: Whether all shards must be there and have their size.

    Returns:
        An `Index`.

    Raises:
        ValueError: If the folder or split is missing, was not finished, was written by a newer
            version, or its files do not belong together.
        OSError: If the folder cannot be read.
    """
    class_names = read_class_names(data_dir)
    with filesystems.explained(data_dir):
        index = _load(data_dir, split, class_names)
        _check_index(index)
        if check_shards:
            _check_shards(index)
    return index


def _load(data_dir: str, split: str, class_names: list[str]) -> Index:
    path = manifest_path(data_dir, split)
    if not tf.io.gfile.exists(path):
        there = ", ".join(list_splits(data_dir)) or "none"
        raise ValueError(
            f"{data_dir} has no finished split {split!r} (finished splits: {there}). Name one of "
            "these, or run keras-rms convert for it; running it again goes on where it ended."
        )
    manifest = read_manifest(data_dir, split)
    arrays = _load_arrays(data_dir, split, manifest)
    return Index(
        data_dir=data_dir,
        split=split,
        class_names=class_names,
        manifest=manifest,
        **arrays,
    )


def read_manifest(data_dir: str, split: str) -> dict[str, Any]:
    """The manifest of a finished split.

    Raises:
        ValueError: If it was changed or damaged, or has another version.
    """
    path = manifest_path(data_dir, split)
    with tf.io.gfile.GFile(path, "rb") as file:
        content = file.read()
    try:
        manifest = sealed_json.opened(content)
        version = manifest["version"]
        for shard in manifest["shards"]:
            if not isinstance(shard["name"], str) or not isinstance(shard["bytes"], int):
                raise TypeError("shards")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not a manifest that keras-rms convert wrote, or it was changed or damaged "
            "since. Remove it and convert the split again; finished shards are kept. "
            f"(cause: {error!r})"
        ) from error
    if version != VERSION:
        raise ValueError(
            f"{path} was written in version {version} of the record format and this program "
            f"reads version {VERSION}. Convert the videos again, or use the other program."
        )
    return manifest


def _load_arrays(data_dir: str, split: str, manifest: dict[str, Any]) -> dict[str, Any]:
    path = index_path(data_dir, split)
    content = b""
    if tf.io.gfile.exists(path):
        with tf.io.gfile.GFile(path, "rb") as file:
            content = file.read()
    if hashlib.sha256(content).hexdigest() != manifest.get("index_sha256"):
        raise ValueError(
            f"{path} is {'damaged or of another conversion' if content else 'missing'}: it does "
            "not belong to the split's manifest. Run keras-rms convert again; finished shards "
            "are kept."
        )
    try:
        return index_arrays.unpack(content, len(manifest["shards"]))
    except ValueError as error:
        raise ValueError(
            f"{path} is not an index that keras-rms convert wrote. Remove it and convert the "
            f"split again. (cause: {error})"
        ) from error


def _check_index(index: Index) -> None:
    where = manifest_path(index.data_dir, index.split)
    if not was_written_with(index.manifest, index.class_names):
        raise ValueError(
            f"{labels_path(index.data_dir)} is not the label map that split {index.split!r} was "
            "converted with: it was changed, or written anew for another split. Every label would "
            "get a wrong name. Put the old file back, or convert all splits of the folder again."
        )
    if index.labels.max() >= len(index.class_names):
        raise ValueError(
            f"{where} and {labels_path(index.data_dir)} do not belong together: a label is "
            f"{index.labels.max()} and there are {len(index.class_names)} class names."
        )


def _check_shards(index: Index) -> None:
    present = filesystems.names(index.data_dir)
    # Some stores hold no empty files, so that a shard of no video may be absent.
    wanted = [shard["name"] for shard in index.manifest["shards"] if shard["bytes"]]
    missing = [name for name in wanted if name not in present]
    if missing:
        raise ValueError(
            f"{index.data_dir} lacks {len(missing)} of the {len(index.manifest['shards'])} shards "
            f"of split {index.split!r}, {missing[0]} first. Copy them too, or convert again."
        )
    # A store would have to be asked once for each shard.
    if filesystems.is_local(index.data_dir):
        for shard, path in zip(index.manifest["shards"], index.shard_paths):
            size = filesystems.size(path)
            if size != shard["bytes"]:
                raise ValueError(
                    f"{path} has {size} bytes where its manifest says {shard['bytes']}: it was "
                    "cut or replaced. Copy it again, or remove it and convert again."
                )


def read_video(index: Index, number: int) -> EncodedVideo:
    """Read one whole video and check it: checksums, header against index, JPEG marks.

    Args:
        index: The split's index.
        number: Place of the video in the index.

    Raises:
        DamagedRecordError: If a record is damaged or another video's; names shard and offset.
    """
    path, offset = index.shard_paths[index.shards[number]], int(index.offsets[number])
    videos = read_from(path, offset)
    first = next(videos, None)
    expected = (index.keys[number], int(index.labels[number]), int(index.num_frames[number]))
    found = first and (first[1].key, first[1].label, first[1].num_frames)
    if first is None or found != expected:
        raise DamagedRecordError(
            f"{path} holds at byte {offset} not the video that the index says, "
            f"{index.keys[number]!r}."
        )
    return first[0]
