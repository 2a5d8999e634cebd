"""A list of videos: lines of `path,label`, or of `path,label,start,end` below a header."""

import csv
import functools
import os
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pipelines.layouts import annotations
from pipelines.system.text import printable

# Fields with commas between them, of which none begins with a quote that is not closed.
_FIELD = r'(?:\s*"(?:[^"]|"")*"(?!")[^,]*|(?!\s*")[^,]*)'
_WHOLE_LINE = re.compile(f"{_FIELD}(?:,{_FIELD})*")

# Not all that float() reads: nan, inf and 1e5 are names.
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d*)?")

_LONGEST_LINE = 1 << 16  # more than any path

_COLUMNS = frozenset(["path", "label", "start", "end", "split"])

# What other projects call the columns. A first line of such words is no video.
_HEADER_WORDS = frozenset(
    "path label start end video video_path video_id file filename file_name file_path filepath "
    "name class class_id class_name class_label category label_id id split time_start time_end "
    "start_time end_time youtube_id".split()
)


def csv_list(source: annotations.Source) -> annotations.Listing:
    """Lists the videos of a file of lines `path,label`.

    Paths are relative to the folder of the videos. They may hold spaces, and commas too: in
    quotes, or bare where a line is only `path,label`, whose last comma then counts. A line
    without a comma is read as `path label`. A header names the columns `path`, `label`, for clips
    of longer videos `start` and `end` in seconds, and, in a list of several splits, `split`. If
    every label is a whole number (`3`, or `3.0` as pandas writes it) the labels are ids; if none is
    a number they are names, and ids follow their sorted order. A line that begins with `#` and
    names no file is a comment.

    Args:
        source: `annotations` is the list, or a folder with a list `<split>.csv`; `class_names`, the
            label map of the output folder if it has one, gives ids their names.

    Raises:
        ValueError: A line cannot be read, some labels are numbers and others are not, or an id is
            below 0 or beyond the label map.
    """
    path = source.list_file(["{split}.csv", "{split}.txt"], "FILE (lines of path,label)")
    # Of all splits of the list, so that they have one label map; each with its first line.
    labels: dict[str, str] = {}
    for row in _rows(path, source.videos):
        labels.setdefault(row.label, row.where)
    if not labels:
        raise ValueError(f"{path} lists no video. Give a file with lines of path,label.")
    notes: list[str] = []
    if set(labels) <= set(source.class_names or ()) or not _are_ids(labels):
        names = annotations.check_class_names(sorted(labels), path)
        ids = {name: number for number, name in enumerate(names)}
    else:
        # pandas writes ids as 3.0 where a column had a gap.
        ids = {label: int(float(label)) for label in labels}
        names = _names_of_ids(path, set(ids.values()), source.class_names)
        notes = _notes_on_unused_ids(path, set(ids.values()), len(names))
    return annotations.Listing(names, functools.partial(_clips, path, ids, source), tuple(notes))


def _are_ids(labels: dict[str, str]) -> bool:
    """Whether labels, each with its first line, are ids of classes and not their names."""
    numbers = [label for label in labels if _number(label) is not None]
    if not numbers:
        return False
    others = [label for label in labels if _number(label) is None]
    if others:
        few, many = sorted((numbers, others), key=len)
        odd, usual = few[0], many[0]
        raise ValueError(
            f"{labels[odd]} has the label {printable(odd)!r}, and {labels[usual]} has {usual!r}: "
            "labels are either all ids of classes, whole numbers from 0 on, or all names. Mend or "
            "remove the line. If these are names of classes, write all names into labels.txt of "
            "the output folder, one a line, before the conversion."
        )
    wrong = next((label for label in labels if not _is_id(label)), None)
    if wrong is not None:
        raise ValueError(
            f"{labels[wrong]} has the label {wrong!r}, which is no id of a class: ids are whole "
            "numbers from 0 on. Lists of a test set often mark what has no label so; such lines "
            "cannot be converted: remove them."
        )
    return True


def _is_id(label: str) -> bool:
    number = _number(label)
    return number is not None and number >= 0 and number.is_integer()


def _number(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text) else None


def _notes_on_unused_ids(path: str, used: set[int], count: int) -> list[str]:
    unused = [number for number in range(count) if number not in used]
    if not unused:
        return []
    first = (
        f" The ids of {path} seem to begin at 1: number them from 0 on." if unused == [0] else ""
    )
    shown = ", ".join(map(str, unused[:3])) + (" and others" if len(unused) > 3 else "")
    return [f"{len(unused)} of {count} classes have no video in the list, with id {shown}.{first}"]


def _names_of_ids(path: str, ids: set[int], known: tuple[str, ...] | None) -> list[str]:
    largest = max(ids)
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


class _Row(NamedTuple):
    path: str
    label: str
    start: float | None
    end: float | None
    split: str | None
    where: str


def _clips(
    path: str, ids: dict[str, int], source: annotations.Source
) -> Iterator[annotations.Clip]:
    split = annotations.canonical_split(source.split)
    for row in _rows(path, source.videos):
        if row.split and annotations.canonical_split(row.split) != split:
            continue
        key = printable(row.path)
        if row.start is not None or row.end is not None:
            key += f"#{row.start or 0:.15g}-{'' if row.end is None else f'{row.end:.15g}'}"
        yield annotations.Clip(key, row.path, ids[row.label], row.start, row.end)


def _rows(path: str, videos: str) -> Iterator[_Row]:
    with annotations.open_list(path) as file:
        columns = None
        for number, line in _logical_lines(file, path):
            where = f"{path}, line {number}"
            if line.lstrip().startswith("#") and _is_comment(line, columns, videos):
                continue
            if columns is None and (columns := _columns(line, where)) is not None:
                continue
            columns = columns or ["path", "label"]
            yield _row(line, columns, where, videos)


def _is_comment(line: str, columns: list[str] | None, videos: str) -> bool:
    """Whether a line that begins with # is no video; there are files whose names do."""
    try:
        row = _row(line, columns or ["path", "label"], "", videos)
    except ValueError:
        return True
    return not os.path.lexists(os.path.join(videos, row.path))


def _columns(line: str, where: str) -> list[str] | None:
    """The columns that a header names; `None` if the line is none."""
    fields = _fields(line) if "," in line else line.split()
    fields = [field.strip().lower() for field in fields]
    if {"path", "label"} <= set(fields):
        # Not left aside: a start under another name would be lost without a word.
        if unknown := [field for field in fields if field not in _COLUMNS]:
            kept = [str(place) for place, field in enumerate(fields, 1) if field in _COLUMNS]
            remedy = f"cut -d{',' if ',' in line else repr(' ')} -f{','.join(kept)}"
            raise ValueError(
                f"{where} names {', '.join(map(repr, unknown))}; the columns are "
                f"{', '.join(sorted(_COLUMNS))}. Rename what is one of these, and leave out the "
                f"others, as by: {remedy} OLD.csv > NEW.csv. Received: {line!r}"
            )
        return fields
    if len(fields) > 1 and _HEADER_WORDS.issuperset(fields):
        raise ValueError(
            f"{where} is a header and does not name the columns path and label (and, for clips of "
            f"longer videos, start and end). Rename them. Received: {line!r}"
        )
    return None


def _logical_lines(file: Iterable[str], path: str) -> Iterator[tuple[int, str]]:
    """Lines that are not empty, each with its number; within quotes a line goes on."""
    held, first = "", 1
    for number, line in enumerate(file, 1):
        # A message names the line on which the field began.
        first = first if held else number
        held += line
        if len(held) > _LONGEST_LINE:
            break
        # What began with a quote ends with one: to look after every line would take minutes.
        if (held == line or '"' in line) and _WHOLE_LINE.fullmatch(held.rstrip("\r\n")):
            if held.strip():
                yield first, held.rstrip("\r\n")
            held = ""
    if held:
        raise ValueError(
            f"{path}, line {first} does not end: a field begins with a quote that is never closed, "
            f"or it is no list. Received: {printable(held[:80])!r}"
        )


def _row(line: str, columns: list[str], where: str, videos: str) -> _Row:
    fields = _fields(line) if '"' in line else line.split(",")
    if len(fields) != len(columns) and columns == ["path", "label"]:
        fields = line.rsplit("," if "," in line else None, 1)
    if len(fields) != len(columns):
        raise ValueError(
            f"{where} has {len(fields)} fields where {','.join(columns)} was expected; put paths "
            f"with commas in quotes. Received: {printable(line)!r}"
        )
    row = dict(zip(columns, (field.strip() for field in fields)))
    if not row["path"] or not row["label"]:
        raise ValueError(f"{where} lacks a path or a label. Received: {printable(line)!r}")
    start, end = _seconds(row.get("start"), where), _seconds(row.get("end"), where)
    if end is not None and end <= (start or 0):
        raise ValueError(f"{where} ends before it starts. Received: start={start}, end={end}")
    if row.get("split") == "":
        raise ValueError(
            f"{where} has an empty split, so that the video would be in every one. Name its split, "
            f"or remove the line. Received: {printable(line)!r}"
        )
    return _Row(_below(row["path"], videos), row["label"], start, end, row.get("split"), where)


def _below(path: str, videos: str) -> str:
    """The path from the folder of the videos on, so that one file has one name."""
    if os.path.isabs(path):
        root = os.path.join(os.path.abspath(videos), "")
        path = path.removeprefix(root) if path.startswith(root) else path
    # Not of `a/../b`: a may be a link.
    return path if ".." in path.split("/") else os.path.normpath(path)


def _fields(line: str) -> list[str]:
    # A list of one string: its line ends are a part of the path.
    return next(csv.reader([line], skipinitialspace=True))


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
