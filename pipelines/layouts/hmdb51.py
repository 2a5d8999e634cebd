"""HMDB51, from the split files of its owners."""

import functools
import os
from collections.abc import Iterator, Sequence

from pipelines.layouts import annotations
from pipelines.system.text import printable

_MARKS = {"train": "1", "validation": "2", "test": "2"}


def hmdb51(source: annotations.Source) -> annotations.Listing:
    """Lists `train`, or `test` (also called `validation`), of one of the three published splits.

    Videos that a split marks with 0 belong to neither.

    Args:
        source: `annotations` is the folder of `<class>_test_split<1-3>.txt`; `videos` holds
            `<class>/<clip>.avi`.
    """
    if source.split_number not in (1, 2, 3):
        raise ValueError(
            f"HMDB51 has the splits 1, 2 and 3. Received: split_number={source.split_number}"
        )
    mark = _MARKS.get(annotations.canonical_split(source.split))
    if mark is None:
        raise ValueError(f"HMDB51 has the splits train and test. Received: split={source.split}")
    suffix = f"_test_split{source.split_number}.txt"
    folder = source.annotations
    if folder is None or not os.path.isdir(folder):
        raise ValueError(
            f"HMDB51 needs --annotations=FOLDER (<class>{suffix}). Received: annotations={folder}"
        )
    names = sorted(n.removesuffix(suffix) for n in os.listdir(folder) if n.endswith(suffix))
    if not names:
        raise ValueError(f"{folder} has no files <class>{suffix}. Give their folder.")
    return annotations.Listing(
        annotations.check_class_names(names, folder),
        functools.partial(_clips, folder, names, suffix, mark),
    )


def _clips(folder: str, names: Sequence[str], suffix: str, mark: str) -> Iterator[annotations.Clip]:
    for label, name in enumerate(names):
        path = os.path.join(folder, name + suffix)
        with annotations.open_list(path) as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                # Names of clips hold spaces: the mark is what follows the last one.
                video, _, listed = line.strip().rpartition(" ")
                if listed not in ("0", "1", "2") or not video.strip():
                    raise ValueError(
                        f"{path}, line {number}: expected `<clip>.avi 0|1|2`. "
                        f"Received: {printable(line.strip())!r}"
                    )
                if listed == mark:
                    video = f"{name}/{video.strip()}"
                    yield annotations.Clip(printable(video), video, label)
