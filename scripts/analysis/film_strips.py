"""Videos as rows of frames with a caption each, to look at those that a table names."""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from analysis.pictures import new_figure

_HEIGHT = 1.25  # inches of a row


def film_strips(strips: Sequence[tuple[str, Sequence[bytes]]], frames: int = 6) -> Figure:
    """A row a video: frames at equal distances, the caption above.

    Args:
        strips: Of each video its caption and the JPEGs of all its frames.
        frames: Frames in a row.
    """
    figure, axes = new_figure(1.6 * frames, (_HEIGHT + 0.25) * len(strips), len(strips), frames)
    for row, (caption, encoded) in enumerate(strips):
        places = np.linspace(0, len(encoded) - 1, frames).round().astype(int)
        for column, place in enumerate(places):
            cell = axes[row * frames + column]
            cell.imshow(Image.open(io.BytesIO(encoded[place])))
            cell.axis("off")
        axes[row * frames].set_title(caption, loc="left", fontsize=8)
    return figure
