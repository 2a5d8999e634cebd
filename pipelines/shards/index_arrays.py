"""The arrays of an index as one .npz file."""

import io
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipelines.shards.records import ANCHOR_INTERVAL, VideoRow

# Arrays of a number for each video.
_OF_VIDEOS = {
    "key_ends": np.int64,
    "labels": np.int32,
    "num_frames": np.int32,
    "heights": np.int32,
    "widths": np.int32,
    "fps": np.float32,
    "shards": np.int32,
    "offsets": np.int64,
    "anchor_starts": np.int64,
}
_DIGEST_BYTES = 16


def pack(shards: Sequence[Sequence[VideoRow]]) -> bytes:
    """The file of an index.

    Args:
        shards: For each shard, by number, the rows of its videos.
    """
    rows = [row for shard in shards for row in shard]
    keys = [row.key.encode() for row in rows]
    counts = [len(row.anchors) for row in rows]
    arrays: dict[str, Any] = {
        # One string of all keys: an array of strings would give each the longest one's size.
        "keys": np.frombuffer(b"".join(keys), np.uint8),
        "key_ends": np.cumsum([len(key) for key in keys]),
        "labels": [row.label for row in rows],
        "num_frames": [row.num_frames for row in rows],
        "heights": [row.height for row in rows],
        "widths": [row.width for row in rows],
        "fps": [row.fps for row in rows],
        "shards": np.repeat(np.arange(len(shards)), [len(shard) for shard in shards]),
        "offsets": [row.offset for row in rows],
        "anchor_starts": np.cumsum([0, *counts])[:-1],
        "anchors": np.array([a for row in rows for a in row.anchors], np.int64),
        "digests": np.frombuffer(
            b"".join(bytes.fromhex(row.digest) or bytes(_DIGEST_BYTES) for row in rows), np.uint8
        ).reshape(-1, _DIGEST_BYTES),
    }
    arrays |= {name: np.asarray(arrays[name], dtype) for name, dtype in _OF_VIDEOS.items()}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def unpack(content: bytes, num_shards: int) -> dict[str, Any]:
    """The arrays of an index by name, and `keys`, a list of strings, in place of two of them.

    Args:
        content: What `pack` gave; older versions' lack `digests`.
        num_shards: Number of shards of the split.

    Raises:
        ValueError: If it is something else.
    """
    try:
        with np.load(io.BytesIO(content)) as file:
            arrays = dict(file)
        _check(arrays, num_shards)
        arrays["keys"] = _split_keys(arrays["keys"], arrays.pop("key_ends"))
    # Whatever a file of another kind makes of NumPy's reader.
    except (zipfile.BadZipFile, zlib.error, KeyError, TypeError, OSError, EOFError) as error:
        raise ValueError(f"it is no index: {error!r}") from error
    except (MemoryError, NotImplementedError) as error:
        raise ValueError(f"it is no index: {error!r}") from error
    return arrays


def _check(arrays: dict[str, np.ndarray], num_shards: int) -> None:
    count = len(arrays["key_ends"])
    for name, dtype in _OF_VIDEOS.items():
        _require(arrays[name].dtype == dtype and arrays[name].shape == (count,), name)
    for name, dtype in (("keys", np.uint8), ("anchors", np.int64)):
        _require(arrays[name].dtype == dtype and arrays[name].ndim == 1, name)
    if "digests" in arrays:
        digests = arrays["digests"]
        _require(digests.dtype == np.uint8 and digests.shape == (count, _DIGEST_BYTES), "digests")
    known = {*_OF_VIDEOS, "keys", "anchors", "digests"}
    _require(set(arrays) <= known, ", ".join(sorted(set(arrays) - known)))
    ends = arrays["key_ends"]
    _require(count > 0 and np.all(np.diff(ends, prepend=0) > 0), "key_ends")
    _require(ends[-1] == len(arrays["keys"]), "keys")
    for name in ("num_frames", "heights", "widths", "fps"):
        _require(bool(np.all(arrays[name] > 0)), name)
    for name in ("labels", "shards", "offsets", "anchors"):
        _require(bool(np.all(arrays[name] >= 0)), name)
    _require(arrays["shards"].max() < num_shards, "shards")
    anchors = -(-arrays["num_frames"].astype(np.int64) // ANCHOR_INTERVAL)
    _require(np.array_equal(arrays["anchor_starts"], np.cumsum(anchors) - anchors), "anchor_starts")
    _require(anchors.sum() == len(arrays["anchors"]), "anchors")


def _require(holds: bool | np.bool_, name: str) -> None:
    if not holds:
        raise ValueError(f"it is no index: {name} is not what it must be")


def _split_keys(keys: np.ndarray, ends: np.ndarray) -> list[str]:
    content = keys.tobytes()
    return [content[a:b].decode() for a, b in zip([0, *ends[:-1]], ends)]
