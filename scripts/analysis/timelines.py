"""What a network sees along a video, as a picture."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MultipleLocator

from analysis.pictures import COLOURS, colours, new_figure

_MOST_POINTS = 60  # with more of them their marks would touch
_MOST_MARKS = 8
_GREY = "#bbbbbb"


def timeline(
    seconds: np.ndarray, scores: np.ndarray, chosen: Sequence[int], class_names: Sequence[str]
) -> Figure:
    """The probability of some classes along a video.

    Args:
        seconds: Of each clip its middle.
        scores: (clips, classes), probabilities.
        chosen: The classes to draw.
        class_names: Of all.
    """
    figure, (axes,) = new_figure(6.4, 2.8)
    _lines(axes, seconds, scores, chosen, class_names)
    axes.legend()
    return figure


def long_timeline(
    starts: np.ndarray,
    ends: np.ndarray,
    scores: np.ndarray,
    class_names: Sequence[str],
    title: str,
) -> Figure:
    """A band in the colour of the best class, and below it the probabilities.

    Args:
        starts, ends: Of each window, in seconds.
        scores: (windows, classes), probabilities.
        class_names: Of the classes.
        title: Above the picture.
    """
    best = scores.argmax(axis=1)
    chosen = most_seen(scores, len(COLOURS) - 1)
    figure, (band, axes) = new_figure(9.6, 4.2, rows=2)
    band.get_gridspec().set_height_ratios([1, 6])
    by_class = dict(zip(chosen, colours(len(chosen))))
    middles = (starts + ends) / 2
    # Each moment belongs to the window whose middle is nearest.
    edges = np.concatenate([starts[:1], (middles[1:] + middles[:-1]) / 2, ends[-1:]])
    spans = [(left, right - left) for left, right in itertools.pairwise(edges)]
    shades = [by_class.get(int(number), _GREY) for number in best]
    band.broken_barh(spans, (0, 1), facecolors=shades, linewidth=0)
    band.set(
        title=title, xticks=[], yticks=[], ylabel="best", ylim=(0, 1), xlim=(edges[0], edges[-1])
    )
    _lines(axes, middles, scores, chosen, class_names)
    axes.set(xlim=(edges[0], edges[-1]))
    handles = axes.get_legend_handles_labels()[0]
    if set(best.tolist()) - set(chosen):
        handles = [*handles, Patch(color=_GREY, label="another class")]
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def most_seen(scores: np.ndarray, count: int) -> list[int]:
    """The classes that are the best somewhere, by how long and how surely; at most `count`."""
    best = scores.argmax(axis=1)
    totals = np.bincount(best, weights=scores.max(axis=1), minlength=scores.shape[1])
    order = np.argsort(-totals, kind="stable")[:count]
    return [int(number) for number in order if totals[number] > 0]


def clock(seconds: float) -> str:
    """A time as people write it: 7.5, 2:07, 1:02:07."""
    if seconds < 60:
        return f"{seconds:g}"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _lines(
    axes: Axes,
    seconds: np.ndarray,
    scores: np.ndarray,
    chosen: Sequence[int],
    class_names: Sequence[str],
) -> None:
    marker = "o" if len(seconds) <= _MOST_POINTS else ""
    for number, colour in zip(chosen, colours(len(chosen))):
        label = class_names[number]
        axes.plot(
            seconds, scores[:, number], marker=marker, markersize=4, color=colour, label=label
        )
    unit = "seconds" if seconds[-1] < 60 else "time"
    axes.set(xlabel=f"{unit}, middle of the clip", ylabel="probability", ylim=(0, 1.02))
    if unit == "time":
        step = next(step for step in _steps() if seconds[-1] <= _MOST_MARKS * step)
        axes.xaxis.set_major_locator(MultipleLocator(step))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: clock(value)))
    axes.grid(alpha=0.3)


def _steps() -> Iterator[int]:
    """Seconds between two marks, as clocks are read."""
    yield from (10, 20, 30, 60, 120, 300, 600, 900, 1200, 1800)
    yield from (3600 * 2**power for power in itertools.count())
