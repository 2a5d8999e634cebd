"""The one way to matplotlib: figures that look alike, and PNG files that are whole or not there."""

import io
import itertools
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from pipelines.system import whole_files
from pipelines.system.text import printable

# Told apart by people who do not see all colours, and in print: Okabe and Ito's.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_DPI = 120

# Names of files and classes are no formulas, whatever dollars are in them.
matplotlib.rcParams["text.parse_math"] = False


def colours(count: int) -> list[str]:
    """As many, from the beginning again where there are more runs than colours."""
    return list(itertools.islice(itertools.cycle(COLOURS), count))


def empty_figure(width: float, height: float) -> Figure:
    """A figure of so many inches."""
    # Not by pyplot, which looks for a display and keeps every figure.
    return Figure(figsize=(width, height), layout="constrained", dpi=_DPI)


def new_figure(
    width: float = 6.4, height: float = 4.4, rows: int = 1, columns: int = 1
) -> tuple[Figure, list[Axes]]:
    """A figure of so many inches, and its axes by row."""
    figure = empty_figure(width, height)
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def png(figure: Figure) -> bytes:
    """The figure as a PNG file's content."""
    for each in figure.findobj(Text):
        # Names of files need not be Unicode, which is all that can be drawn.
        if (words := printable(each.get_text())) != each.get_text():
            each.set_text(words)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def save(figure: Figure, path: str | Path) -> None:
    """Writes a PNG file."""
    whole_files.write(path, png(figure))
