"""What an evaluation looks like: the confusion matrix and the reliability diagram."""

import numpy as np
from matplotlib.figure import Figure

from analysis.pictures import COLOURS, new_figure
from keras_rms.inference.metrics import Calibration

_MOST_NAMES = 60  # with more classes their names would lie over each other
_MOST_NUMBERS = 20


def confusion_picture(counts: np.ndarray, class_names: list[str], title: str) -> Figure:
    """Shares of each label's videos; with few classes their numbers too.

    Args:
        counts: int (classes, classes), labels by predicted classes.
        class_names: Name of each class.
        title: Above the picture.
    """
    classes = len(class_names)
    side = min(max(4.5, 0.28 * min(classes, _MOST_NAMES) + 2.5), 18)
    figure, (axes,) = new_figure(side + 0.8, side)
    videos = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, videos, out=np.zeros(counts.shape), where=videos > 0)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the label's videos")
    axes.set(title=title, xlabel="predicted class", ylabel="label")
    if classes <= _MOST_NAMES:
        axes.set_xticks(range(classes), [_short(name) for name in class_names], rotation=90)
        axes.set_yticks(range(classes), [_short(name) for name in class_names])
    if classes <= _MOST_NUMBERS:
        for row, column in zip(*np.nonzero(counts)):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(
                column, row, counts[row, column], ha="center", va="center", color=colour, fontsize=8
            )
    return figure


def reliability_picture(found: Calibration, title: str) -> Figure:
    """Accuracy by confidence beside the diagonal, and how many videos there are of each."""
    figure, (axes,) = new_figure(5.2, 4.8)
    width = np.diff(found.edges)
    middles = found.edges[:-1] + width / 2
    there = found.videos > 0
    axes.bar(
        middles[there],
        found.accuracy[there],
        width=width[there],
        color=COLOURS[0],
        edgecolor="white",
        label="accuracy",
    )
    axes.plot([0, 1], [0, 1], linestyle="--", color=COLOURS[-1], label="calibrated")
    share = found.videos / max(1, found.videos.sum())
    axes.step(
        found.edges,
        np.append(share, share[-1]),
        where="post",
        color=COLOURS[1],
        label="share of the videos",
    )
    axes.set(
        title=f"{title}\nexpected calibration error {100 * found.error:.1f} %",
        xlabel="confidence",
        ylabel="share",
        xlim=(0, 1),
        ylim=(0, 1),
    )
    axes.legend(loc="upper left")
    return figure


def _short(name: str) -> str:
    return name if len(name) <= 28 else name[:27] + "…"
