"""Videos sorted into one folder a class: `DIR/<class>/<video>`."""

import functools
import os
from collections.abc import Collection, Iterator

from pipelines.layouts import annotations
from pipelines.system.text import printable, stable_hash


def folder(source: annotations.Source) -> annotations.Listing:
    """Lists `DIR/<class>/<video>`; class ids follow the sorted names of the classes.

    `train` and `validation`, under any of their usual names, share each class by the hash of the
    videos' names, so that the share of a video depends on neither order nor machine. Any other
    split name, or a `validation_share` of 0, takes every video.

    Args:
        source: `videos`, `split` and `validation_share` are used.
    """
    return class_folders(source, "video", annotations.VIDEO_SUFFIXES)


def class_folders(
    source: annotations.Source, kind: str, suffixes: Collection[str], inner: str = ""
) -> annotations.Listing:
    """Lists `DIR/<inner>/<class>/<file>` for files of one kind.

    Args:
        source: as for `folder`.
        kind: what the files are called in messages.
        suffixes: their endings.
        inner: folder of the classes, below the folder of the videos.
    """
    if not 0 <= source.validation_share < 1:
        raise ValueError(
            "`validation_share` must be at least 0 and below 1. Received: "
            f"validation_share={source.validation_share}"
        )
    root = os.path.join(source.videos, inner)
    classes, left_out = [], 0
    for name in sorted(_entries(root)):
        files = _entries(os.path.join(root, name))
        wanted = sum(annotations.ends_in(file, suffixes) for file in files)
        left_out += len(files) - wanted
        if wanted:
            classes.append(name)
    if not classes:
        raise ValueError(
            f"No {kind} was found as {os.path.join(root, f'<class>/<{kind}>')}. Give the folder "
            f"that holds one folder a class as --videos; the {kind}s must end in one of "
            f"{' '.join(sorted(suffixes))}. Received: videos={source.videos}"
        )
    notes = (f"{left_out} files without the ending of a {kind} were left out.",) if left_out else ()
    return annotations.Listing(
        class_names=annotations.check_class_names(classes, source.videos),
        clips=functools.partial(_clips, source, inner, classes, suffixes),
        notes=notes,
    )


def _entries(path: str) -> list[str]:
    if not os.path.isdir(path):
        return []
    return [name for name in os.listdir(path) if not name.startswith(".")]


def _clips(
    source: annotations.Source, inner: str, classes: list[str], suffixes: Collection[str]
) -> Iterator[annotations.Clip]:
    for label, name in enumerate(classes):
        below = os.path.join(inner, name)
        paths = [
            os.path.join(below, file)
            for file in sorted(_entries(os.path.join(source.videos, below)))
            if annotations.ends_in(file, suffixes)
        ]
        for path in _share(paths, source):
            yield annotations.Clip(printable(path), path, label)


def _share(paths: list[str], source: annotations.Source) -> list[str]:
    """The videos of one class that belong to the split."""
    split = annotations.canonical_split(source.split)
    if split not in ("train", "validation") or source.validation_share == 0:
        return paths
    count = round(len(paths) * source.validation_share)
    # Neither split loses a class that has videos for both.
    count = min(max(count, 1), len(paths) - 1)
    by_hash = sorted(paths, key=lambda path: stable_hash(printable(path)))
    taken = by_hash[:count] if split == "validation" else by_hash[count:]
    return sorted(taken)
