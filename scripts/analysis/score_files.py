"""Where the scores are that somebody names: a file, or the folder of a run."""

import json
from pathlib import Path

from keras_rms.training.work_dir.work_folder import WorkFolder


def evaluations(folder: Path) -> dict[str, Path]:
    """The .npz files of the evaluations in a run's folder of them, by name.

    A name is split and views, as validation_10x3, best/validation_10x3 of a checkpoint, and
    on_other/validation_10x3 of other data.
    """
    files = sorted(folder.rglob("*.npz"), key=lambda file: (len(file.parts), file))
    names = {str(file.relative_to(folder).with_suffix("")): file for file in files}
    # A part is no evaluation yet; see `evaluation_parts`.
    return {name: file for name, file in names.items() if ".part_" not in name}


def score_file(place: str, split: str, views: str) -> Path:
    """The .npz file of an evaluation.

    Args:
        place: The file itself, or the folder of a run that was evaluated.
        split: In a folder, the split that was evaluated.
        views: In a folder, the views, as 10x3.

    Raises:
        ValueError: If there is none; names what there is.
    """
    path = Path(place)
    if path.is_file():
        return path
    folder = WorkFolder(place).evaluation
    found = folder / f"{split}_{views}.npz"
    if found.is_file():
        return found
    if not path.exists():
        raise ValueError(f"There is no {place}. Name a run's folder, or an .npz of its evaluation.")
    others = ", ".join(evaluations(folder)) or "no evaluation"
    raise ValueError(
        f"{folder} has no {found.name}. There is: {others}. Name one by --split and --views, or by "
        f"its file, those of a checkpoint too, or "
        f"run keras-rms evaluate --work_dir={place} --split={split} --views={views}."
    )


def summary_of(scores: Path) -> dict:
    """What the evaluation's JSON file says beside the scores; empty if it is gone.

    Raises:
        ValueError: If it is damaged.
    """
    path = scores.with_suffix(".json")
    return read_summary(path) if path.is_file() else {}


def read_summary(path: Path) -> dict:
    """The JSON file of an evaluation.

    Raises:
        ValueError: If it is damaged.
        OSError: If it cannot be read.
    """
    try:
        summary = json.loads(path.read_bytes())
        if not isinstance(summary, dict):
            raise ValueError(f"it holds a {type(summary).__name__}")
    except ValueError as error:  # of Unicode too
        raise ValueError(
            f"{path} is not what keras-rms evaluate wrote: {error}. Remove it and evaluate again."
        ) from error
    return summary
