"""What a `.keras` file says of the clips that its network was made for.

Keras keeps the network alone. The record is one more member of the archive, which Keras ignores, so
that it goes wherever the file goes.
"""

import json
import os
import zipfile
from collections.abc import Mapping
from typing import Any

MEMBER = "keras_rms.json"
# Those of settings.json that a network is used by, and what a network of float inputs needs beside.
NAMES = (
    "model",
    "class_names",
    "num_frames",
    "span",
    "evaluation_crop_size",
    "evaluation_short_side",
    "conversion",
    "normalization",
    "network_options",
)
# Arguments of a builder that give the same weights another meaning.
OPTIONS = (
    "alpha",
    "epsilon",
    "head_order",
    "include_preprocessing",
    "lateral_kernel",
    "lateral_norm",
    "slow_frames",
    "temporal_blocks",
)
_LARGEST = 1 << 24  # bytes; a name is a line


def add_record(path: str | os.PathLike, settings: Mapping[str, Any]) -> None:
    """Adds a record to a `.keras` file, once.

    Example:

    >>> keras_rms.models.SlowOnly(18, width=8).save("slow_only.keras")
    >>> add_record("slow_only.keras", {"num_frames": 8, "span": 64})
    >>> read_record("slow_only.keras")
    {'num_frames': 8, 'span': 64}

    Args:
        path: The file.
        settings: Of these, `NAMES` are kept: as in settings.json; `normalization` has "mean" and
            "stddev" of RGB from 0 to 1, a number or three, and `network_options` is what
            `options_of` gives. A span of 0 is all of the video.
    """
    record = {name: settings[name] for name in NAMES if name in settings}
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(MEMBER, json.dumps(record, indent=1))


def read_record(path: str | os.PathLike) -> dict[str, Any]:
    """The record of a `.keras` file; empty where it has none.

    Raises:
        ValueError: If what it has under the record's name is none.
    """
    with zipfile.ZipFile(path) as archive:
        if MEMBER not in archive.namelist():
            return {}
        try:
            if archive.getinfo(MEMBER).file_size > _LARGEST:
                raise ValueError(f"more than {_LARGEST} bytes")
            record = json.loads(archive.read(MEMBER))
            return {name: record[name] for name in NAMES if name in record}
        except (ValueError, TypeError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{path} has a damaged record of its clips, {MEMBER} ({error}). Make it anew: "
                "import or train the network again."
            ) from error


def options_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Of a builder's arguments those that a network with the same weights has to be built with."""
    given = {name: arguments[name] for name in OPTIONS if arguments.get(name) is not None}
    # Clips that come normalised are so by others, who have to know how.
    if given.get("include_preprocessing") is False:
        del given["include_preprocessing"]
    return given
