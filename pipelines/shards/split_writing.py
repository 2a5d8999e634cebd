"""Writes what makes a split of shards complete; `split_index` has the words and the order."""

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.shards import index_arrays, sealed_json, split_index
from pipelines.shards.records import VideoRow
from pipelines.system import filesystems


def write_split(
    data_dir: str,
    split: str,
    shards: Iterable[Sequence[VideoRow]],
    class_names: Sequence[str],
    extra: Mapping[str, Any],
) -> dict[str, Any]:
    """Write the label map, the index and last the manifest of a split whose shards are written.

    Args:
        data_dir: The folder of the shards.
        split: Name of the split.
        shards: For each shard, by number, the rows that `write_shard` returned.
        class_names: The class names; a label is a place in it.
        extra: What else the manifest shall carry, e.g. settings and failures.

    Returns:
        The manifest: `version`, `split`, `num_videos`, `num_frames`, `num_classes`,
        `class_names_sha256`, `videos_per_class`, `shards` (a list of name, videos and bytes),
        `index_sha256`, the entries of `extra` and a hash of all these, `content_sha256`.

    Raises:
        ValueError: If there is no video, a key occurs twice, a label has no class name, a shard is
            missing, or the folder holds another label map.
    """
    filesystems.require(data_dir)
    shards = [list(rows) for rows in shards]
    rows = [row for shard in shards for row in shard]
    _check_rows(split, rows, class_names)
    write_class_names(data_dir, class_names, [split])
    index = index_arrays.pack(shards)
    manifest = {
        "version": split_index.VERSION,
        "split": split,
        "num_videos": len(rows),
        "num_frames": sum(row.num_frames for row in rows),
        "num_classes": len(class_names),
        "class_names_sha256": split_index.class_names_sha256(class_names),
        "videos_per_class": np.bincount(
            [row.label for row in rows], minlength=len(class_names)
        ).tolist(),
        "shards": [
            _describe_shard(split_index.shard_path(data_dir, split, number, len(shards)), shard)
            for number, shard in enumerate(shards)
        ],
        "index_sha256": hashlib.sha256(index).hexdigest(),
    }
    clash = sorted(set(manifest) & set(extra))
    if clash:
        raise ValueError(f"`extra` must not redefine entries of the manifest. Received: {clash}")
    manifest = sealed_json.sealed({**manifest, **extra})
    filesystems.write_file(split_index.index_path(data_dir, split), index)
    text = json.dumps(manifest, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    filesystems.write_file(split_index.manifest_path(data_dir, split), text.encode())
    return manifest


def _check_rows(split: str, rows: Sequence[VideoRow], class_names: Sequence[str]) -> None:
    if not rows:
        raise ValueError(f"A split must hold at least one video. Received: split={split!r}")
    seen = set()
    for row in rows:
        if row.key in seen:
            raise ValueError(f"Keys must be unique in a split. Received twice: {row.key!r}")
        seen.add(row.key)
        if row.label >= len(class_names):
            raise ValueError(
                f"Labels must be below the number of classes, {len(class_names)}. Received: "
                f"label={row.label} for {row.key!r}"
            )


def write_class_names(
    data_dir: str, class_names: Sequence[str], replaced: Collection[str] = ()
) -> None:
    """Write the label map of a folder, or check that it is the one that is there.

    Args:
        data_dir: The folder.
        class_names: The class names, by class id.
        replaced: Splits that are about to be written anew, whatever classes they had.

    Raises:
        ValueError: If the folder holds another one, a finished split was written with another one,
            or a name is not a line.
    """
    filesystems.require(data_dir)
    for name in class_names:
        if not name.strip() or name.splitlines() != [name]:
            raise ValueError(f"A class name must be one line that is not empty. Received: {name!r}")
    path = split_index.labels_path(data_dir)
    if tf.io.gfile.exists(path):
        present = split_index.read_class_names(data_dir)
        if present != list(class_names):
            raise ValueError(
                f"{path} holds another label map ({len(present)} classes against "
                f"{len(class_names)}). Splits of one folder share their label map: write to "
                "another folder, or remove this one."
            )
        return
    # A gone map is written anew only if no finished split would get wrong names by it.
    for split in set(split_index.list_splits(data_dir)) - set(replaced):
        if not split_index.was_written_with(
            split_index.read_manifest(data_dir, split), class_names
        ):
            raise ValueError(
                f"{path} is gone, and split {split!r} of the folder was converted with other "
                f"classes than these {len(class_names)}: its videos would get wrong names. Put the "
                "old labels.txt back, convert into another folder, or convert that split too."
            )
    filesystems.write_file(path, "".join(name + "\n" for name in class_names).encode())


def _describe_shard(path: str, rows: Sequence[VideoRow]) -> dict[str, Any]:
    size = filesystems.size(path)
    if rows and not size:
        raise ValueError(f"A shard is missing: {path}. Convert it before the manifest is written.")
    return {"name": os.path.basename(path), "videos": len(rows), "bytes": size}
