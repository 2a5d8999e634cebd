"""A list of videos: lines of `path,label`, or of `path,label,start,end` below a header."""

import csv
import functools
from collections.abc import Iterable, Iterator

from pipelines import annotations

_COLUMNS = ("path", "label", "start", "end")


def csv_list(source: annotations.Source) -> annotations.Listing:
    """Lists the videos of a file of lines `path,label`.

    Paths are relative to the folder of the videos. They may hold spaces, and commas too: in
    quotes, or bare where a line is only `path,label`, whose last comma then counts. A line
    without a comma is read as `path label`. A header names the columns `path`, `label` and, for
    clips of longer videos, `start` and `end` in seconds. If every label is a whole number the
    labels are ids, else they are names and ids follow their sorted order.

    Args:
        source: `annotations` is the list, or a folder with a list `<split>.csv`; `class_names`, the
            label map of the output folder if it has one, gives ids their names.
    """
    path = source.list_file(["{split}.csv", "{split}.txt"], "FILE (lines of path,label)")
    labels = {label for _, label, _, _ in _rows(path)}
    if not labels:
        raise ValueError(f"{path} lists no video. Give a file with lines of path,label.")
    if all(label.isdecimal() for label in labels) and not labels <= set(source.class_names or ()):
        names = _names_of_ids(path, labels, source.class_names)
        ids = {label: int(label) for label in labels}
    else:
        names = annotations.check_class_names(sorted(labels), path)
        ids = {name: number for number, name in enumerate(names)}
    return annotations.Listing(names, functools.partial(_clips, path, ids))


def _names_of_ids(path: str, labels: set[str], known: tuple[str, ...] | None) -> list[str]:
    largest = max(map(int, labels))
    if known is not None:
        if largest >= len(known):
            raise ValueError(
                f"{path} uses the class id {largest}, and the label map of the output folder has "
                f"{len(known)} classes. Convert into another folder, or mend the list."
            )
        return list(known)
    if largest >= 1_000_000:
        raise ValueError(f"A class id must be below 1000000. Received: {largest} in {path}")
    return [str(number) for number in range(largest + 1)]


def _clips(path: str, ids: dict[str, int]) -> Iterator[annotations.Clip]:
    for video, label, start, end in _rows(path):
        key = annotations.printable(video)
        if start is not None or end is not None:
            key += f"#{start or 0:g}-{'' if end is None else f'{end:g}'}"
        yield annotations.Clip(key, video, ids[label], start, end)


def _rows(path: str) -> Iterator[tuple[str, str, float | None, float | None]]:
    """Path, label, start and end of each line."""
    # Names of files need not be UTF-8; "surrogateescape" keeps such bytes as they are.
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        columns = None
        # Python's reader takes line ends within quotes for a part of the path, as they are.
        for number, line in enumerate(_logical_lines(file), 1):
            if not line.strip():
                continue
            if columns is None:
                fields = [field.strip().lower() for field in next(csv.reader([line]))]
                if "path" in fields and "label" in fields:
                    columns = fields
                    continue
                columns = ["path", "label"]
            yield _row(line, columns, f"{path}, line {number}")


def _logical_lines(file: Iterable[str]) -> Iterator[str]:
    held = ""
    for line in file:
        held += line
        if held.count('"') % 2 == 0:
            yield held.rstrip("\r\n")
            held = ""
    if held:
        yield held.rstrip("\r\n")


def _row(line: str, columns: list[str], where: str) -> tuple[str, str, float | None, float | None]:
    fields = next(csv.reader([line], skipinitialspace=True)) if '"' in line else line.split(",")
    if len(fields) != len(columns) and columns == ["path", "label"]:
        fields = line.rsplit("," if "," in line else None, 1)
    if len(fields) != len(columns):
        raise ValueError(
            f"{where} has {len(fields)} fields where {','.join(columns)} was expected; put paths "
            f"with commas in quotes. Received: {annotations.printable(line)!r}"
        )
    row = dict(zip(columns, (field.strip() for field in fields)))
    if not row["path"] or not row["label"]:
        raise ValueError(
            f"{where} lacks a path or a label. Received: {annotations.printable(line)!r}"
        )
    start, end = _seconds(row.get("start"), where), _seconds(row.get("end"), where)
    if end is not None and end <= (start or 0):
        raise ValueError(f"{where} ends before it starts. Received: start={start}, end={end}")
    return row["path"], row["label"], start, end


def _seconds(text: str | None, where: str) -> float | None:
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"{where}: a time must be a number of seconds. Received: {text!r}")
    return seconds
