"""One evaluation on several machines: each scores its part of the videos, the last one joins them.

The parts meet in a folder that all machines share. A part is a file beside the results; it knows
what it was measured on, so that parts of another network, of other views or of other data are not
joined with it.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_rms.inference.saved_scores import SavedScores, read_scores
from pipelines.system import whole_files
from pipelines.system.parts import Part


def joined(
    stem: Path, part: Part, saved: SavedScores, measured_on: dict, order: Sequence[str]
) -> SavedScores | None:
    """Keeps this part's scores; gives those of all parts once all are there.

    Two parts that end at once may both join them, to the same result. The parts stay until
    `remove`, to be called once the results are written: hours of work must not hang on that.

    Args:
        stem: The path of the results, without what they end in.
        part: Which part this is.
        saved: Its scores.
        measured_on: What the parts have to have in common, as JSON holds it.
        order: The keys of all videos of the split; some may be missing as damaged.

    Raises:
        ValueError: If another part was measured on something else, or a video is in two parts.
    """
    common = json.loads(json.dumps(measured_on))
    own = _path(stem, part.number, part.count)
    whole_files.write(own, saved.packed())
    whole_files.write(own.with_suffix(".json"), json.dumps(common).encode())
    paths = [_path(stem, number, part.count) for number in range(1, part.count + 1)]
    # The JSON file is written last: who finds it finds the scores.
    if not all(path.with_suffix(".json").exists() for path in paths):
        return None
    try:
        for path in paths:
            if json.loads(path.with_suffix(".json").read_text()) != common:
                raise ValueError(
                    f"{path} is of another network, of other views or of other data. Remove it, "
                    "and evaluate that part again."
                )
        parts = [read_scores(path) for path in paths]
    except FileNotFoundError:  # another part has joined all meanwhile, and written the results
        return read_scores(stem.with_name(f"{stem.name}.npz"))
    return _in_order(parts, order)


def remove(stem: Path, part: Part) -> None:
    """Removes the parts, whose scores are in the results now."""
    for number in range(1, part.count + 1):
        path = _path(stem, number, part.count)
        # In this order: who finds the JSON file finds the scores.
        path.with_suffix(".json").unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def missing(stem: Path, part: Part) -> list[str]:
    """The parts that are not there yet, as --part names them."""
    numbers = range(1, part.count + 1)
    return [
        f"{number}/{part.count}"
        for number in numbers
        if not _path(stem, number, part.count).with_suffix(".json").exists()
    ]


def _path(stem: Path, number: int, count: int) -> Path:
    return stem.with_name(f"{stem.name}.part_{number}_of_{count}.npz")


def _in_order(parts: Sequence[SavedScores], order: Sequence[str]) -> SavedScores:
    keys = [key for part in parts for key in part.keys]
    if len(set(keys)) < len(keys):
        raise ValueError("A video is in two parts: they were not cut from the same split.")
    if not keys:
        raise ValueError("There is no video to evaluate: all of them are damaged.")
    place = {key: number for number, key in enumerate(order)}
    rows = np.argsort([place[key] for key in keys], kind="stable")
    return SavedScores(
        [keys[row] for row in rows],
        np.concatenate([part.labels for part in parts])[rows],
        np.concatenate([part.scores for part in parts])[rows],
        parts[0].class_names,
    )
