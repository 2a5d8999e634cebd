"""What the folder of a run says of it once the run is trained and evaluated."""

from pathlib import Path

from analysis import training_curves
from analysis.score_files import read_summary
from keras_rms.training.work_dir import settings as work_settings
from keras_rms.training.work_dir.work_folder import WorkFolder


def evaluations(folder: Path, views: str) -> list[tuple[str, str, Path]]:
    """Split and views of each evaluation that a run of a table has, and the file of its accuracies.

    Args:
        folder: Of the run, which has begun.
        views: Of the validation videos, as 10x3; the training videos have one view.

    Raises:
        ValueError: If the run has no validation split.
    """
    settings = work_settings.read(folder)
    if not settings["validation_split"]:
        raise ValueError(
            f"{folder} was trained without validation, and a table is of accuracies on the "
            "validation split: name it by --validation_split, and delete the folder."
        )
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
    on_training, on_validation = (read_summary(path) for _, _, path in evaluations(folder, views))
    last = training_curves.read("", str(folder))[-1]
    return {
        "seed": work_settings.read(folder)["seed"],
        "top1": on_validation["top1"],
        "top5": on_validation["top5"],
        "train_top1": on_training["top1"],
        "gap": last["training_top1"] - last["validation_top1"],
    }
