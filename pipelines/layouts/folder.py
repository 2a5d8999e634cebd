"""Videos sorted into one folder a class: `DIR/<class>/<video>`, or `DIR/<split>/<class>/<video>`.

A video's split is a function of its own name, so that adding videos moves none of the others from
one split to the other.
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Collection, Iterator, Sequence

from pipelines.layouts import annotations
from pipelines.system.text import printable, stable_hash

_NAMED = 3  # files that a note names


def folder(source: annotations.Source) -> annotations.Listing:
    """Lists `DIR/<class>/<video>`; class ids follow the sorted names of the classes.

    `train` and `validation`, under any of their usual names, share the videos by the hash of each
    one's name. Any other split name, or a `validation_share` of 0, takes every video. Where DIR
    holds a folder of the split's name with folders of classes in it, that is the split.

    Args:
        source: `videos`, `split` and `validation_share` are used.
    """
    return split_folders(source, "video", annotations.VIDEO_SUFFIXES)


def split_folders(
    source: annotations.Source, kind: str, suffixes: Collection[str]
) -> annotations.Listing:
    """Lists `DIR/<split>/<class>/<file>`, or else `DIR/<class>/<file>`, for files of one kind.

    Args:
        source: As for `folder`.
        kind: What the files are called in messages.
        suffixes: Their endings.

    Raises:
        ValueError: There is no such file, or the split's folder holds files and another's classes.
    """
    names = annotations.SPLIT_NAMES.get(annotations.canonical_split(source.split), (source.split,))
    present = [name for name in names if _holds_folders(os.path.join(source.videos, name))]
    if not present:
        _check_no_flat_split(source.videos, names, kind)
        return _class_folders(source, kind, suffixes, "")
    source = dataclasses.replace(source, validation_share=0)
    return _class_folders(source, kind, suffixes, present[0])


def _holds_folders(path: str) -> bool:
    """Whether this is the folder of a split; there are classes that are called train."""
    # Not hidden ones, such as the thumbnails that a file manager leaves in a class called train.
    return any(entry.is_dir() for entry in _entries(path))


def _check_no_flat_split(videos: str, names: Sequence[str], kind: str) -> None:
    """Refuses ImageNet's validation images as they come, which would be a class of their own."""
    every_name = {name for each in annotations.SPLIT_NAMES.values() for name in each}
    others = [n for n in sorted(every_name - {*names}) if _holds_folders(os.path.join(videos, n))]
    if not others:
        return
    flat = [name for name in names if os.path.isdir(os.path.join(videos, name))]
    if flat:
        raise ValueError(
            f"{os.path.join(videos, flat[0])} holds no folder a class, as another split does. Sort "
            f"its {kind}s into folders of their classes."
        )
    if names[0] in annotations.SPLIT_NAMES:
        raise ValueError(
            f"{videos} has a folder {others[0]!r} with classes and none called "
            f"{' or '.join(map(repr, names))}. Give --split={others[0]} alone, add the folder of "
            f"the other split, or share out one folder: --videos={os.path.join(videos, others[0])}."
        )


@dataclasses.dataclass
class _Found:
    """What lies below the folder of the classes; paths are relative to it."""

    classes: dict[str, tuple[int, int]]  # class -> its files, and how many belong to the split
    loose: list[str]
    other_files: list[str]
    deeper: list[str]
    empty: list[str]


def _class_folders(
    source: annotations.Source, kind: str, suffixes: Collection[str], inner: str
) -> annotations.Listing:
    if not 0 <= source.validation_share < 1:
        raise ValueError(
            "`validation_share` must be at least 0 and below 1. Received: "
            f"validation_share={source.validation_share}"
        )
    root = os.path.join(source.videos, inner)
    belongs = _split_of(source)
    found = _find(root, suffixes, belongs)
    if not found.classes:
        raise ValueError(
            f"No {kind} was found as {os.path.join(root, f'<class>/<{kind}>')}. Give the folder "
            f"that holds one folder a class as --videos; the {kind}s must end in one of "
            f"{' '.join(sorted(suffixes))}. Received: videos={source.videos}"
        )
    shared = annotations.canonical_split(source.split) in ("train", "validation")
    notes = _notes_on_what_is_left_out(found, kind)
    if shared and source.validation_share > 0:
        notes += _notes_on_the_share(found, source, kind)
    return annotations.Listing(
        class_names=annotations.check_class_names(found.classes, source.videos),
        clips=functools.partial(_clips, source.videos, inner, [*found.classes], suffixes, belongs),
        notes=tuple(notes),
    )


def _find(root: str, suffixes: Collection[str], belongs: Callable[[str], bool]) -> _Found:
    found = _Found({}, [], [], [], [])
    for top in _entries(root):
        if not top.is_dir():
            if annotations.ends_in(top.name, suffixes):
                found.loose.append(top.name)
            continue
        files, deeper = [], []
        for entry in _entries(top.path):
            path = os.path.join(top.name, entry.name)
            if entry.is_dir():
                deeper += _deeper(root, path, suffixes)
            elif annotations.ends_in(entry.name, suffixes):
                files.append(path)
            else:
                found.other_files.append(path)
        found.deeper += deeper
        if files:
            found.classes[top.name] = len(files), sum(map(belongs, files))
        elif not deeper:
            found.empty.append(top.name)
    return found


def _entries(path: str) -> list[os.DirEntry]:
    """What is in a folder and not hidden; the entries know the folders without asking the disk."""
    if not os.path.isdir(path):
        return []
    with os.scandir(path) as entries:
        visible = [entry for entry in entries if not entry.name.startswith(".")]
    return sorted(visible, key=lambda entry: entry.name)


def _deeper(root: str, folder: str, suffixes: Collection[str]) -> list[str]:
    return [
        os.path.relpath(os.path.join(where, file), root)
        for where, _, files in sorted(os.walk(os.path.join(root, folder)))
        for file in sorted(files)
        if annotations.ends_in(file, suffixes)
    ]


def _notes_on_what_is_left_out(found: _Found, kind: str) -> list[str]:
    left_out = {
        f"{kind}s beside the folders of the classes": found.loose,
        f"{kind}s in a folder inside of a class's": found.deeper,
        f"files without the ending of a {kind}": found.other_files,
        f"folders without any {kind}": found.empty,
    }
    return [
        f"Left out: {len(names)} {what}: {_some(names)}."
        for what, names in left_out.items()
        if names
    ]


def _notes_on_the_share(found: _Found, source: annotations.Source, kind: str) -> list[str]:
    total, taken = (sum(counts) for counts in zip(*found.classes.values()))
    other = {"train": "validation", "validation": "train"}
    split = annotations.canonical_split(source.split)
    if not taken:
        raise ValueError(
            f"None of the {total} {kind}s in {source.videos} belongs to {split!r}: each one's own "
            f"name decides, with --validation_share={source.validation_share:g}. Give another "
            f"--validation_share, or more {kind}s."
        )
    notes = [
        f"{taken} of {total} {kind}s belong to this split and {total - taken} to "
        f"{other[split]!r}, by --validation_share={source.validation_share:g}."
    ]
    without = [name for name, (_, count) in found.classes.items() if not count]
    if without:
        notes.append(
            f"{len(without)} classes have no {kind} in this split: {_some(without)}. Each "
            f"{kind}'s own name decides; more {kind}s or another --validation_share give them some."
        )
    return notes


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(map(printable, names[:_NAMED]))
    return f"{shown} and {len(names) - _NAMED} more" if len(names) > _NAMED else shown


def _clips(
    videos: str,
    inner: str,
    classes: Sequence[str],
    suffixes: Collection[str],
    belongs: Callable[[str], bool],
) -> Iterator[annotations.Clip]:
    for label, name in enumerate(classes):
        for entry in _entries(os.path.join(videos, inner, name)):
            file = os.path.join(name, entry.name)
            if annotations.ends_in(entry.name, suffixes) and not entry.is_dir() and belongs(file):
                path = os.path.join(inner, file)
                yield annotations.Clip(printable(path), path, label)


def _split_of(source: annotations.Source) -> Callable[[str], bool]:
    """Whether a video, by its path below the folder of the classes, belongs to the split."""
    split = annotations.canonical_split(source.split)
    if split not in ("train", "validation") or source.validation_share == 0:
        return lambda _: True
    # Hashes are uniform over 64 bits: this share of them lies below.
    below = source.validation_share * 2**64
    validates = split == "validation"
    return lambda file: (stable_hash(printable(file)) < below) == validates
