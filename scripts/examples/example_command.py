"""How the examples start and end, and what they look at before any work is done."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import app, flags

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Flags that name a file to write, and how its name may end: Keras and Matplotlib look at that.
_WRITTEN = {"output": (), "save_model": (".keras",), "picture": (".png", ".svg", ".pdf", ".jpg")}


def run(main: Callable[[], None]) -> None:
    """Runs an example, which takes flags only; ValueError and OSError are messages for its user."""

    def guarded(words: Sequence[str]) -> None:
        if len(words) > 1:
            sys.exit(f"error: Unknown arguments: {' '.join(words[1:])}. See --help.")
        try:
            _check_outputs()
            main()
        except (ValueError, OSError) as error:
            sys.exit(f"error: {error}")

    app.run(guarded)


def _check_outputs() -> None:
    """Raises ValueError if what is written at the end could not be."""
    given = flags.FLAGS.flag_values_dict()
    for name, endings in _WRITTEN.items():
        if not given.get(name):
            continue
        path = Path(given[name])
        above = next(folder for folder in path.absolute().parents if folder.exists())
        # A device, as /dev/null, is written itself.
        place = path if path.exists() and not path.is_file() else above
        if path.is_dir() or not above.is_dir() or not os.access(place, os.W_OK):
            raise ValueError(
                f"--{name} must name a file, in a folder that can be written. Received: {path}"
            )
        # Keras looks for .keras alone, Matplotlib for .PNG as well.
        ending = path.suffix if name == "save_model" else path.suffix.lower()
        if endings and ending not in endings:
            raise ValueError(f"--{name} must end in {' or '.join(endings)}. Received: {path}")


def save_picture(figure: "Figure", path: str) -> None:
    """Writes it in the format that the path ends in."""
    Path(path).absolute().parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def label_of(path: str) -> str:
    """A file's name for a legend, where Matplotlib reads $ as mathematics and hides _names."""
    return Path(path).stem.replace("$", r"\$").lstrip("_")
