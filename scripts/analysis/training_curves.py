"""Training and validation accuracy by epoch, as a run's log has them."""

import csv
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.pictures import COLOURS, colours, new_figure
from keras_rms.training.work_dir.work_folder import WorkFolder

COLUMNS = ("run", "epoch", "training_top1", "validation_top1")


def read(name: str, work_dir: str) -> list[dict]:
    """A row an epoch; validation_top1 is None where there was no validation.

    Raises:
        ValueError: If the folder has no log.
    """
    path = WorkFolder(work_dir).table
    if not path.is_file():
        raise ValueError(f"{work_dir} has no {path.name}: no training has ended an epoch there.")
    with open(path, newline="") as file:
        return [
            {
                "run": name,
                "epoch": int(row["epoch"]),
                "training_top1": _number(row["top1"]),
                "validation_top1": _number(row["validation_top1"]),
            }
            for row in csv.DictReader(file)
            # The last line may be half written.
            if row["seconds"] is not None
        ]


def _number(text: str) -> float | None:
    return float(text) if text else None


def picture(rows: Sequence[dict]) -> Figure:
    """Dotted lines for training, solid ones for validation, a colour a run."""
    figure, (axes,) = new_figure()
    names = list(dict.fromkeys(row["run"] for row in rows))
    for name, colour in zip(names, colours(len(names))):
        own = [row for row in rows if row["run"] == name]
        points = [row for row in own if row["validation_top1"] is not None]
        label = name
        if points:
            last = points[-1]
            gap = last["training_top1"] - last["validation_top1"]
            label = f"{name}: {100 * last['validation_top1']:.1f} %, gap {100 * gap:.1f}"
        axes.plot(
            [row["epoch"] for row in own],
            [100 * row["training_top1"] for row in own],
            linestyle=":",
            color=colour,
        )
        axes.plot(
            [row["epoch"] for row in points],
            [100 * row["validation_top1"] for row in points],
            color=colour,
            label=label,
        )
    axes.plot([], [], linestyle=":", color=COLOURS[-1], label="(dotted: training)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel="top-1 accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
