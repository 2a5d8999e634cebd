"""Videos as rows of frames with a caption each, to look at those that a table names."""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from analysis.pictures import empty_figure

_HEIGHT = 1.25  # inches of a row


def film_strips(strips: Sequence[tuple[str, Sequence[bytes]]], frames: int = 6) -> Figure:
    """A row a video: frames at equal distances, the caption above.

    Args:
        strips: Of each video its caption and the JPEGs of all its frames.
        frames: Frames in a row.
    """
    figure = empty_figure(1.6 * frames, (_HEIGHT + 0.25) * len(strips))
    # A part of the figure each: the title of a cell would widen the first column.
    rows = figure.subfigures(len(strips), 1, squeeze=False)[:, 0]
    for row, (caption, encoded) in zip(rows, strips):
        places = np.linspace(0, len(encoded) - 1, frames).round().astype(int)
        for cell, place in zip(row.subplots(1, frames, squeeze=False)[0], places):
            cell.imshow(Image.open(io.BytesIO(encoded[place])))
            cell.axis("off")
        row.suptitle(caption, x=0.005, ha="left", fontsize=8)
    return figure
