"""What the folder of a run says of it once the run is trained and evaluated."""

import csv
import json
from pathlib import Path

from keras_rms.training.work_dir import settings as work_settings
from keras_rms.training.work_dir.work_folder import WorkFolder


def evaluations(folder: Path, views: str) -> list[tuple[str, str, Path]]:
    """Split and views of each evaluation that a run of a table has, and the file of its accuracies.

    Args:
        folder: Of the run, which has begun.
        views: Of the validation videos, as 10x3; the training videos have one view.
    """
    settings = work_settings.read(folder)
    wanted = (settings["train_split"], "1x1"), (settings["validation_split"], views)
    place = WorkFolder(folder).evaluation
    return [(split, each, place / f"{split}_{each}.json") for split, each in wanted]


def is_done(folder: Path, views: str) -> bool:
    """Whether the run is trained and evaluated."""
    if not WorkFolder(folder).finished:
        return False
    return all(path.exists() for _, _, path in evaluations(folder, views))


def result(folder: Path, views: str) -> dict[str, float]:
    """What `result_tables.COLUMNS` names, of a run that is done, and its seed.

    Raises:
        OSError, ValueError: If a file of the run is gone or damaged.
    """
    on_training, on_validation = (
        json.loads(path.read_text()) for _, _, path in evaluations(folder, views)
    )
    with open(WorkFolder(folder).table, newline="") as file:
        last = list(csv.DictReader(file))[-1]
    return {
        "seed": work_settings.read(folder)["seed"],
        "top1": on_validation["top1"],
        "top5": on_validation["top5"],
        "train_top1": on_training["top1"],
        "gap": float(last["top1"]) - float(last["validation_top1"]),
    }
