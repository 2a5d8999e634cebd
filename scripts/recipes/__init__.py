"""Files of flags for keras-rms train, found by their names: `--flagfile=demo_quick`."""

import re
from collections.abc import Sequence
from pathlib import Path

_FOLDER = Path(__file__).resolve().parent
_FLAG = re.compile(r"--?flagfile(?:=(?P<file>.*))?", re.DOTALL)


def names() -> list[str]:
    """All recipes."""
    return sorted(path.stem for path in _FOLDER.glob("*.flags"))


def find(file: str) -> Path:
    """The path of a file of flags: itself, or the recipe of that name.

    Raises:
        ValueError: It is neither.
    """
    path = Path(file).expanduser()
    recipe = _FOLDER / f"{file.removesuffix('.flags')}.flags"
    if path.exists() and not path.is_dir():
        return path
    if recipe.parent == _FOLDER and recipe.exists():
        return recipe
    raise ValueError(
        f"{file} is neither a file of flags nor the name of a recipe. The recipes are "
        f"{', '.join(names())}."
    )


def in_place_of_names(words: Sequence[str]) -> list[str]:
    """A command line in which each `--flagfile=NAME` has the path of its file."""
    words = list(words)
    flags = words.index("--") if "--" in words else len(words)
    for number in range(1, flags):
        match = _FLAG.fullmatch(words[number])
        if match and match["file"] is not None:
            words[number] = f"--flagfile={find(match['file'])}"
        elif match and number + 1 < flags:
            words[number + 1] = str(find(words[number + 1]))
    return words
