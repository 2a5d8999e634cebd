"""Heat maps laid over frames."""

from collections.abc import Iterable, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from analysis.pictures import new_figure

_STRENGTH = 0.55  # of the hottest place; cold ones keep the frame
_CAPTION = 20  # pixels
_SMALLEST = 224  # pixels of the height of a frame whose caption can be read


def overlaid(frames: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Frames with their heat in colour, strongest where it is hottest.

    Args:
        frames: uint8 (time, height, width, 3).
        heat: float (time, height, width) from 0 to 1.

    Returns:
        uint8 of the frames' shape.
    """
    # Grey frames, so that a colour always means heat.
    grey = frames @ np.array([0.299, 0.587, 0.114])
    colours = matplotlib.colormaps["inferno"](heat)[..., :3] * 255
    share = _STRENGTH * heat[..., None]
    mixed = grey[..., None] * (1 - share) + colours * share
    return mixed.clip(0, 255).astype(np.uint8)


def beside(frames: np.ndarray, heats: Iterable[np.ndarray]) -> np.ndarray:
    """Frames, and to their right the same frames with each of the heat maps.

    Args:
        frames, heats: See `overlaid`.

    Returns:
        uint8 (time, height, width * (1 + maps), 3).
    """
    return np.concatenate([frames, *(overlaid(frames, heat) for heat in heats)], axis=2)


def magnified(frames: np.ndarray) -> np.ndarray:
    """Frames a whole number of times as large, so that a caption beside them can be read.

    Args:
        frames: uint8 (time, height, width, 3).
    """
    times = -(-_SMALLEST // frames.shape[1])
    return frames.repeat(times, axis=1).repeat(times, axis=2)


def captioned(frame: np.ndarray, text: str) -> np.ndarray:
    """The frame with a line of text above; its height and width are made even for H.264."""
    height, width = frame.shape[0] + _CAPTION, frame.shape[1]
    image = Image.new("RGB", (width + width % 2, height + height % 2))
    image.paste(Image.fromarray(frame), (0, _CAPTION))
    font = ImageFont.load_default()
    ImageDraw.Draw(image).text((4, 4), text.encode("ascii", "replace").decode(), font=font)
    return np.asarray(image)


def grid(rows: Sequence[tuple[str, np.ndarray]], title: str, columns: int = 8) -> Figure:
    """A row of frames for each of the given videos, at the same moments.

    Args:
        rows: Of each row its name and its frames, uint8 (time, height, width, 3).
        title: Above the picture.
        columns: Frames in a row, at most those there are.
    """
    count = len(rows[0][1])
    places = np.linspace(0, count - 1, min(columns, count)).round().astype(int)
    height, width = rows[0][1].shape[1:3]
    cell = 1.5
    figure, axes = new_figure(
        cell * len(places) + 0.4,
        cell * height / width * len(rows) + 0.5,
        len(rows),
        len(places),
    )
    for row, (name, frames) in enumerate(rows):
        for column, place in enumerate(places):
            panel = axes[row * len(places) + column]
            panel.imshow(frames[place])
            panel.set_xticks([])
            panel.set_yticks([])
        axes[row * len(places)].set_ylabel(name, fontsize=8)
    figure.suptitle(title, fontsize=9)
    return figure
