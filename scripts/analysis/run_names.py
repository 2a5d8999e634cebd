"""Short names for runs that are given by their paths."""

from collections.abc import Sequence
from pathlib import Path


def distinct_names(places: Sequence[str]) -> list[str]:
    """For each path its last parts, as many as tell it from the others.

    Raises:
        ValueError: If a path is given twice, or is empty.
    """
    if "" in places:
        raise ValueError(f"One of the runs has no name. Received: {','.join(places)}")
    # Without the root, whose name is the sign that no name of a file may have.
    parts = [Path(place.removesuffix(".npz")).absolute().parts[1:] for place in places]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["-".join(each[-length:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    raise ValueError(f"The same run is named twice. Received: {' '.join(places)}")
