"""UCF101, from the lists of its owners."""

import functools
import os
from collections.abc import Iterator, Mapping

from pipelines.layouts import annotations
from pipelines.system.text import printable

_MOST_DIGITS = 9


def ucf101(source: annotations.Source) -> annotations.Listing:
    """Lists `train`, or `test` (also called `validation`), of one of the three published splits.

    Args:
        source: `annotations` is the folder of `classInd.txt`, `trainlist01.txt`, ...; `videos`
            holds `<class>/<video>.avi`.
    """
    if source.split_number not in (1, 2, 3):
        raise ValueError(
            f"UCF101 has the splits 1, 2 and 3. Received: split_number={source.split_number}"
        )
    what = "FOLDER (classInd.txt, trainlist01.txt, testlist01.txt, ...)"
    kind = annotations.canonical_split(source.split)
    if kind not in ("train", "validation", "test"):
        raise ValueError(f"UCF101 has the splits train and test. Received: split={source.split}")
    if source.annotations is not None and os.path.isfile(source.annotations):
        raise ValueError(
            f"UCF101 needs --annotations={what}. Received: annotations={source.annotations}"
        )
    names = _class_names(source.list_file(["classInd.txt"], what))
    lists = f"{'train' if kind == 'train' else 'test'}list{source.split_number:02d}.txt"
    path = source.list_file([lists], what)
    ids = {name: number for number, name in enumerate(names)}
    return annotations.Listing(names, functools.partial(_clips, path, ids))


def _class_names(path: str) -> list[str]:
    numbered = {}
    with annotations.open_list(path) as file:
        for line in filter(str.strip, file):
            fields = line.split(maxsplit=1)
            if len(fields) < 2 or not fields[0].isdecimal() or len(fields[0]) > _MOST_DIGITS:
                raise ValueError(
                    f"{path}: expected lines `<number> <class>`. "
                    f"Received: {printable(line.strip())!r}"
                )
            numbered[int(fields[0])] = fields[1].strip()
    if sorted(numbered) != list(range(1, len(numbered) + 1)):
        raise ValueError(f"{path} does not number its {len(numbered)} classes from 1 on.")
    # Their numbers begin at 1, labels at 0.
    return annotations.check_class_names([numbered[n] for n in sorted(numbered)], path)


def _clips(path: str, ids: Mapping[str, int]) -> Iterator[annotations.Clip]:
    with annotations.open_list(path) as file:
        for line in filter(str.strip, file):
            # The training lists add the class number; the folder says the class in both.
            video = line.split()[0]
            key, label = printable(video), ids.get(video.split("/")[0])
            if label is None:
                raise ValueError(f"{path} lists a video of no class in classInd.txt: {key!r}")
            yield annotations.Clip(key, video, label)
