"""The typed form of a dataset's lists: which clip lies where and which class it shows."""

import dataclasses
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple, TextIO

from pipelines.system.text import printable

VIDEO_SUFFIXES = frozenset(
    ".3gp .asf .avi .flv .gif .m2ts .m4v .mjpeg .mkv .mov .mp4 .mpeg .mpg .mts .mxf .nut .ogg .ogv "
    ".ts .vob .webm .wmv".split()
)

SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "validate", "val", "valid"),
    "test": ("test", "testing"),
}


class Clip(NamedTuple):
    """One clip as a dataset lists it.

    Attributes:
        key: Unique name of the clip within its split.
        path: Its file, below the folder of the videos or absolute; it need not exist.
        label: Class id.
        start: Seconds at which the clip begins in the file; `None` for the beginning. Of a file
            that holds many images, the number of the image.
        end: Seconds at which it ends; `None` for the end of the file.
    """

    key: str
    path: str
    label: int
    start: float | None = None
    end: float | None = None


@dataclasses.dataclass(frozen=True)
class Source:
    """What a user says about a dataset: the arguments of every layout.

    Attributes:
        videos: Folder of the videos.
        annotations: File or folder of the lists; `None` for layouts that need none.
        split: Name of the split.
        split_number: Which of the published splits, for datasets that have several.
        validation_share: Part of each class that `train` leaves to `validation`, for datasets
            that come without splits.
        class_names: The label map of the output folder, if it has one.
    """

    videos: str
    annotations: str | None = None
    split: str = "train"
    split_number: int = 1
    validation_share: float = 0.2
    class_names: tuple[str, ...] | None = None

    def list_file(self, names: Iterable[str] = (), what: str = "FILE") -> str:
        """The path of one of the dataset's lists.

        Args:
            names: Names that the file has where `annotations` is a folder, `{split}` standing for
                the split under any of its usual names.
            what: The value of --annotations that an error asks for.

        Raises:
            ValueError: There is no such file.
        """
        if self.annotations is None:
            raise ValueError(f"This dataset needs --annotations={what}. Received: none")
        if os.path.isfile(self.annotations):
            return self.annotations
        splits = SPLIT_NAMES.get(canonical_split(self.split), (self.split,))
        tried = [name.format(split=split) for name in names for split in splits]
        for name in dict.fromkeys(tried):
            if os.path.isfile(os.path.join(self.annotations, name)):
                return os.path.join(self.annotations, name)
        there = f"has none of {', '.join(dict.fromkeys(tried))}" if tried else "is no file"
        missing = "does not exist" if not os.path.exists(self.annotations) else there
        raise ValueError(
            f"{self.annotations} {missing}. Give {what} as --annotations. "
            f"Received: annotations={self.annotations}, split={self.split}"
        )


@dataclasses.dataclass(frozen=True)
class Listing:
    """The clips of one split, as a layout returns them.

    Attributes:
        class_names: The class names; a label is a place in it.
        clips: Gives an iterator over the clips, anew at each call, so that no list of a large
            dataset has to be held.
        notes: Sentences for the user, e.g. what was left out.
        clips_per_shard: What makes a shard of some hundred megabytes.
    """

    class_names: list[str]
    clips: Callable[[], Iterator[Clip]]
    notes: tuple[str, ...] = ()
    clips_per_shard: int = 128


def canonical_split(split: str) -> str:
    """`train`, `validation` or `test` for their usual names, any other name as it is."""
    return next((name for name, names in SPLIT_NAMES.items() if split in names), split)


def open_list(path: str) -> TextIO:
    """Opens a list as text; bytes that are no UTF-8 stay as they are, as names of files need it."""
    return open(path, encoding="utf-8-sig", errors="surrogateescape", newline="")


def ends_in(name: str, suffixes: Collection[str]) -> bool:
    """Whether the name of a file that is not hidden has one of these endings."""
    return os.path.splitext(name)[1].lower() in suffixes and not name.startswith(".")


def check_class_names(names: Iterable[str], where: str) -> list[str]:
    """The names as a list, or a ValueError if they cannot be the lines of a label map."""
    names = list(names)
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{where} names two classes {printable(repeated)!r}. Remove one of them.")
    for name in names:
        if not name.strip() or name.splitlines() != [name] or printable(name) != name:
            raise ValueError(
                f"A class name must be one line of Unicode text that is not empty; {where} has "
                f"another. Rename the class. Received: {printable(name)!r}"
            )
    return names


def merge_class_names(listed: list[str], present: list[str], where: str) -> list[int]:
    """For each listed class its id in a label map that exists already.

    Raises:
        ValueError: The label map lacks a listed class.
    """
    ids = {name: number for number, name in enumerate(present)}
    missing = [name for name in listed if name not in ids]
    if missing:
        raise ValueError(
            f"{where} holds the label map of {len(present)} classes for all splits of its folder, "
            f"and {missing[0]!r}{f' and {len(missing) - 1} more' if missing[1:] else ''} of this "
            "dataset is not in it. Convert into another folder, or, if the map is an old one, "
            "remove it and the splits beside it."
        )
    return [ids[name] for name in listed]
