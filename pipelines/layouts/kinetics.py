"""Kinetics-400, -600 and -700, and Mini-Kinetics, from the lists of their owners."""

import csv
import dataclasses
import functools
import os
from collections.abc import Iterator, Mapping

from pipelines.layouts import annotations
from pipelines.layouts.csv_list import csv_list
from pipelines.system.text import printable

_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov")

# How people name the folder of a split's videos: `train`, `videos_train`, `train_256`.
_SPLIT_FOLDERS = ("{}", "videos_{}", "{}_256")


def kinetics(source: annotations.Source) -> annotations.Listing:
    """Lists one split of Kinetics from its CSV file, `label,youtube_id,time_start,time_end,split`.

    A video may lie at `<label>/<id>_<start:06d>_<end:06d>.mp4` or without the folder, all of it
    below a folder of the split (`train`, `videos_val`, ...) or not, and the label may be spelled
    with underscores; a file `<id>.mp4` is taken for the whole video and cut
    by the list's times. Lists of `path label` are read too. Videos that are missing are normal.

    Args:
        source: `annotations` is the CSV file, or the folder of `train.csv`, `validate.csv`, ...
    """
    names = ["{split}.csv", "kinetics_{split}.csv", "{split}_list_videos.txt"]
    names += [f"kinetics-{size}_{{split}}.csv" for size in (400, 600, 700)]
    return _listing(source, source.list_file(names, "CSV-FILE (label,youtube_id,...)"), None)


def mini_kinetics(source: annotations.Source) -> annotations.Listing:
    """Lists Mini-Kinetics: 200 classes of Kinetics-400, by the published lists of YouTube ids.

    Args:
        source: `annotations` is a folder with Kinetics-400's CSV files and the lists
            `train_ytid_list.txt` and `val_ytid_list.txt`.
    """
    if source.annotations is not None and os.path.isfile(source.annotations):
        raise ValueError(
            "Mini-Kinetics needs a folder as --annotations, with Kinetics-400's CSV files and the "
            "published lists train_ytid_list.txt and val_ytid_list.txt. "
            f"Received: annotations={source.annotations}"
        )
    what = "FOLDER (Kinetics-400's CSV files, train_ytid_list.txt, val_ytid_list.txt)"
    with annotations.open_list(source.list_file(["{split}_ytid_list.txt"], what)) as file:
        ids = {line.strip() for line in file if line.strip()}
    names = ["{split}.csv", "kinetics_{split}.csv", "kinetics-400_{split}.csv"]
    return _listing(source, source.list_file(names, what), ids)


def _listing(source: annotations.Source, path: str, ids: set[str] | None) -> annotations.Listing:
    if not _is_owners_list(path):
        if ids is not None:
            raise ValueError(f"{path} is not a list label,youtube_id,time_start,time_end,split.")
        return csv_list(dataclasses.replace(source, annotations=path))
    # Ids follow the names: the owners' lists have none.
    labels = {row["label"] for row in _rows(path, source.split, ids)}
    if not labels:
        raise ValueError(f"{path} lists no video of split {source.split!r}.")
    names = annotations.check_class_names(sorted(labels), path)
    return annotations.Listing(
        names,
        functools.partial(_clips, source, path, {name: n for n, name in enumerate(names)}, ids),
    )


def _is_owners_list(path: str) -> bool:
    with annotations.open_list(path) as file:
        return "youtube_id" in file.readline()


def _rows(path: str, split: str, ids: set[str] | None) -> Iterator[Mapping[str, str]]:
    with annotations.open_list(path) as file:
        reader = csv.DictReader(file)
        try:
            present = set(reader.fieldnames or ())
            missing = {"label", "youtube_id", "time_start", "time_end"} - present
            if missing:
                raise ValueError(
                    f"{path} has no column {', '.join(sorted(missing))}. The test lists of some "
                    "editions come without labels and cannot be converted."
                )
            for row in reader:
                if _wanted(row, split, ids):
                    _check_row(row, f"{path}, line {reader.line_num}")
                    yield row
        except csv.Error as error:
            raise ValueError(f"{path}, line {reader.line_num}, is no CSV: {error}.") from error


def _wanted(row: Mapping[str, str], split: str, ids: set[str] | None) -> bool:
    # Lists of one split alone may leave the column out.
    listed = annotations.canonical_split(row.get("split") or split)
    return listed == annotations.canonical_split(split) and (
        ids is None or row["youtube_id"] in ids
    )


def _check_row(row: Mapping[str, str], where: str) -> None:
    start, end = _seconds(row["time_start"]), _seconds(row["time_end"])
    if not row["label"] or not row["youtube_id"] or not 0 <= start < end < float("inf"):
        raise ValueError(
            f"{where}: expected a label, an id, and two times in seconds. "
            f"Received: {printable(str(dict(row)))}"
        )


def _seconds(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")


def _clips(
    source: annotations.Source, path: str, label_ids: Mapping[str, int], ids: set[str] | None
) -> Iterator[annotations.Clip]:
    find = _Finder(source.videos, source.split)
    for row in _rows(path, source.split, ids):
        start, end = float(row["time_start"]), float(row["time_end"])
        name = f"{row['youtube_id']}_{int(start):06d}_{int(end):06d}"
        key, label = printable(name), label_ids[row["label"]]
        if (found := find(row["label"], name)) is not None:
            yield annotations.Clip(key, found, label)
        elif (found := find(row["label"], row["youtube_id"])) is not None:
            yield annotations.Clip(key, found, label, start, end)
        else:
            yield annotations.Clip(key, os.path.join(row["label"], f"{name}.mp4"), label)


class _Finder:
    """Finds videos by name and label; tries first what was right for the one before."""

    def __init__(self, videos: str, split: str):
        self._videos = videos
        names = annotations.SPLIT_NAMES.get(annotations.canonical_split(split), (split,))
        folders = [form.format(name) for name in names for form in _SPLIT_FOLDERS]
        above = ["", *(name for name in folders if os.path.isdir(os.path.join(videos, name)))]
        below = [os.path.join(top, folder) for top in above for folder in ("{}", "{_}", "")]
        self._habits = [(folder, suffix) for folder in below for suffix in _SUFFIXES]

    def __call__(self, label: str, name: str) -> str | None:
        for place, (folder, suffix) in enumerate(self._habits):
            folder = folder.replace("{}", label).replace("{_}", label.replace(" ", "_"))
            path = os.path.join(folder, name + suffix)
            # A link that leads nowhere is found here too, and later counted as missing by its name.
            if os.path.lexists(os.path.join(self._videos, path)):
                self._habits.insert(0, self._habits.pop(place))
                return path
        return None
