"""The files of an evaluation, written together."""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from analysis.evaluation_pictures import confusion_picture, reliability_picture
from analysis.pictures import png
from analysis.tables import csv_file
from keras_rms.inference import metrics
from keras_rms.inference.saved_scores import SavedScores
from pipelines.system import filesystems, whole_files


def write_results(stem: Path, saved: SavedScores, measured_on: dict) -> dict:
    """Writes all that an evaluation found, each file whole or not at all.

    Args:
        stem: The files' path without what they end in.
        saved: The scores.
        measured_on: What the JSON file begins with: the network, the data, the views.

    Returns:
        The content of the JSON file.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    counts, calibration = metrics.confusion(saved), metrics.calibration(saved)
    classes = metrics.by_class(saved)
    summary = {
        **measured_on,
        **metrics.accuracies(saved),
        "most_confused": metrics.confused_pairs(saved),
    }
    title = f"{measured_on['model']}, {measured_on['split']}"
    contents = {
        ".csv": csv_file(*_video_rows(saved)),
        ".npz": saved.packed(),
        "_classes.csv": csv_file(list(classes[0]), (line.values() for line in classes)),
        "_confusion.csv": csv_file(
            ["label", *saved.class_names],
            ([name, *row] for name, row in zip(saved.class_names, counts)),
        ),
        "_confusion.png": png(confusion_picture(counts, saved.class_names, title)),
        "_calibration.png": png(reliability_picture(calibration, title)),
        # Last: who finds it finds all.
        ".json": json.dumps(summary, indent=1).encode(),
    }
    # A kill or a full disk in between must not leave the old one with new scores.
    stem.with_name(f"{stem.name}.json").unlink(missing_ok=True)
    for ending, content in contents.items():
        whole_files.write(stem.with_name(stem.name + ending), content)
    return summary


def folder_of_data(folder: Path, data: str, own: str) -> Path:
    """Where results belong: those of other data than a training's own must not replace those.

    Args:
        folder: For the training's own data, which may have moved.
        data: What is evaluated on.
        own: What was trained on.
    """
    if not filesystems.is_local(own):
        other = data.rstrip("/") != own.rstrip("/")
    else:
        other = os.path.exists(own) and os.path.realpath(data) != os.path.realpath(own)
    path = os.path.realpath(data) if filesystems.is_local(data) else data.rstrip("/")
    return folder / f"on_{os.path.basename(path)}" if other else folder


def check_videos(stem: Path, measured_on: dict) -> None:
    """Raises ValueError if the results of other data would be replaced.

    Args:
        stem: See `write_results`.
        measured_on: What the new ones will be measured on.
    """
    before = _earlier(stem)
    differing = [n for n in ("data", "keys_crc32") if n in before and before[n] != measured_on[n]]
    if len(differing) == 2:  # neither the folder nor the videos
        raise ValueError(
            f"{stem.parent} holds results {stem.name} of other videos, those of {before['data']}. "
            f"Give another --output for those of {measured_on['data']}, or remove them."
        )


def replaced(stem: Path, measured_on: dict) -> str:
    """In what earlier results of the same name were measured otherwise; empty if in nothing.

    Args:
        stem: See `write_results`.
        measured_on: What the new ones will be measured on; their weights may be others.
    """
    before = _earlier(stem)
    names = ("data", "keys_crc32", "num_frames", "span", "crop_size", "short_side")
    differing = [n for n in names if n in before and before[n] != measured_on[n]]
    return ", ".join(f"{name} was {before[name]}, is {measured_on[name]}" for name in differing)


def _earlier(stem: Path) -> dict:
    """The content of the JSON file that is there; empty if there is none, or it is damaged."""
    try:
        found = json.loads(stem.with_name(f"{stem.name}.json").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _video_rows(saved: SavedScores) -> tuple[list[str], Iterable[Sequence]]:
    """Of each video its key, its label, and its five best classes with their scores."""
    best = np.argsort(-saved.scores, axis=1, kind="stable")[:, :5]
    ranks = range(1, best.shape[1] + 1)
    head = ["key", "label", *(f"{part}_{k}" for k in ranks for part in ("class", "score"))]
    names = saved.class_names

    def row(key: str, label: int, scores: np.ndarray, classes: np.ndarray) -> list[str]:
        ranked = [cell for c in classes for cell in (names[c], f"{scores[c]:.6f}")]
        return [key, names[label], *ranked]

    return head, map(row, saved.keys, saved.labels, saved.scores, best)
