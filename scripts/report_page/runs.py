"""What a report says of runs: their folders, settings, logs and evaluations."""

import csv
import statistics
from dataclasses import dataclass
from pathlib import Path

from analysis import training_curves
from analysis.run_names import distinct_names
from analysis.score_files import evaluations, summary_of
from keras_rms.inference import metrics
from keras_rms.inference.saved_scores import SavedScores, read_scores
from keras_rms.training.work_dir import settings as work_settings
from keras_rms.training.work_dir.work_folder import WorkFolder


@dataclass(frozen=True)
class Evaluated:
    """One evaluation of a run.

    Attributes:
        name: Split and views, as validation_10x3; of a checkpoint, its name before a slash.
        measured_on: What the evaluation wrote of the data and the views.
        saved: The scores.
        found: What `metrics.accuracies` makes of them.
    """

    name: str
    measured_on: dict
    saved: SavedScores
    found: dict


@dataclass(frozen=True)
class ReportedRun:
    """A run as its folder shows it, finished or not.

    Attributes:
        name: Short, different for each run of a report.
        settings: The content of settings.json.
        finished: Whether the training has come to its end.
        curve: A row an epoch, see `training_curves.read`; empty before the first.
        rate: Clips a second, the median over the epochs; None before the first.
        evaluations: By their names.
    """

    name: str
    settings: dict
    finished: bool
    curve: list[dict]
    rate: float | None
    evaluations: dict[str, Evaluated]


def read_runs(work_dirs: list[str]) -> list[ReportedRun]:
    """Reads all that the folders hold.

    Raises:
        ValueError: If one is no run's folder, or a file of it cannot be read.
    """
    return [_read(name, place) for name, place in zip(distinct_names(work_dirs), work_dirs)]


def _read(name: str, place: str) -> ReportedRun:
    folder = WorkFolder(place)
    settings = work_settings.read(place)
    has_log = folder.table.is_file()
    found = evaluations(folder.evaluation)
    return ReportedRun(
        name,
        settings,
        folder.finished,
        training_curves.read(name, place) if has_log else [],
        _rate(folder.table) if has_log else None,
        {name: _evaluated(name, path) for name, path in found.items()},
    )


def _evaluated(name: str, path: Path) -> Evaluated:
    saved = read_scores(path)
    return Evaluated(name, summary_of(path), saved, metrics.accuracies(saved))


def _rate(table: Path) -> float | None:
    with open(table, newline="") as file:
        rates = [row.get("clips_per_second") for row in csv.DictReader(file)]
    numbers = [float(rate) for rate in rates if rate]
    return statistics.median(numbers) if numbers else None


def differing(runs: list[ReportedRun], names: list[str]) -> list[str]:
    """Of the settings `names`, those that are not the same in all runs."""
    first = runs[0].settings
    return [n for n in names if any(run.settings.get(n) != first.get(n) for run in runs[1:])]
