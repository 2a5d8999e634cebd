"""Where the scores are that somebody names: a file, or the folder of a run."""

import json
from pathlib import Path

from keras_rms.training.work_dir.work_folder import WorkFolder


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
    others = ", ".join(sorted(file.stem for file in folder.glob("*.npz"))) or "no evaluation"
    raise ValueError(
        f"{folder} has no {found.name}. There is: {others}. Name one by --split and --views, or "
        f"run keras-rms evaluate --work_dir={place} --split={split} --views={views}."
    )


def summary_of(scores: Path) -> dict:
    """What the evaluation's JSON file says beside the scores; empty if it is gone."""
    path = scores.with_suffix(".json")
    return json.loads(path.read_text()) if path.is_file() else {}
