"""Names for the files that are written about videos."""

import itertools
from collections.abc import Sequence
from pathlib import Path


def stems(videos: Sequence[str]) -> list[str]:
    """A name for each video's files: that of its file, with a number where it is taken."""
    taken: dict[str, None] = {}
    for video in videos:
        stem = Path(video).stem
        numbered = (f"{stem}-{number}" for number in itertools.count(2))
        name = next(name for name in itertools.chain([stem], numbered) if name not in taken)
        taken[name] = None
    return list(taken)
