"""What is converted, and the plans of its splits, which share one label map.

Words:
    layout   how a dataset names its files and lists; one of `layouts.catalog.LAYOUTS`
    listing  what a layout finds of one split: the names of the classes, and the clips
    plan     which clip goes into which shard, see `conversion_plan`
    leak     a clip that is in two splits, under whatever name or link

All splits are planned before anything is decoded: so a leak, a class that one split lacks, or a
wrong folder is found within seconds, and not after a day.
"""

import contextlib
import dataclasses
import functools
import itertools
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping

import tensorflow as tf

from pipelines.conversion import conversion_plan
from pipelines.frames import isolated_reader
from pipelines.layouts import annotations, catalog
from pipelines.shards import split_index
from pipelines.system import filesystems
from pipelines.system.parts import WHOLE, Part
from pipelines.system.text import printable

_SHOWN = 10


@dataclasses.dataclass(frozen=True)
class Conversion:
    """What is converted, and into what.

    Attributes:
        source: Where the videos and lists are; its `split` is not used.
        dataset: A name of `layouts.catalog.LAYOUTS`.
        output: Folder of the shards; None where nothing is to be written.
        splits: Names of the splits. They may share no video.
        settings: Rate, size and quality.
        num_shards: Number of shards of each split; None derives it from the number of videos.
        timeout: Seconds after which a video is given up.
        overwrite: Whether a finished split may be replaced by one with other settings or with
            fewer videos.
        part: The shards that are converted here. The part that ends last completes the splits.

    Raises:
        ValueError: A split's name cannot be that of files.
    """

    source: annotations.Source
    dataset: str
    output: str | None
    splits: tuple[str, ...]
    settings: conversion_plan.Settings
    num_shards: int | None = None
    timeout: float = isolated_reader.DEFAULT_TIMEOUT
    overwrite: bool = False
    part: Part = WHOLE

    def __post_init__(self):
        for split in self.splits:
            if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", split):
                raise ValueError(
                    "A split's name may hold letters, digits, _, . and -, because its files are "
                    f"named after it. Received: split={split!r}"
                )


@dataclasses.dataclass(frozen=True)
class SplitPlans:
    """The plans of the splits of a conversion.

    Attributes:
        plans: The plan of each split by its name.
        class_names: The label map that they share.
        videos: Folder of the videos.
    """

    plans: Mapping[str, conversion_plan.Plan]
    class_names: list[str]
    videos: str

    def check_leaks(self) -> None:
        """Raises ValueError if a clip is in two splits, under whatever name."""
        for first, second in itertools.combinations(self.plans, 2):
            shared = self.plans[first].shared_with(self.plans[second])
            if shared:
                names = ", ".join(
                    f"{here.key!r} ({there.key!r})" if here.key != there.key else f"{here.key!r}"
                    for here, there in shared[:_SHOWN]
                )
                more = ", ..." if len(shared) > _SHOWN else ""
                raise ValueError(
                    f"{len(shared)} videos are both in {first!r} and in {second!r}, so that "
                    "results on one would not be honest after training on the other: "
                    f"{names}{more}. Remove them from one of the splits."
                )

    def check_missing(self) -> None:
        """Raises ValueError if more than half of a split is not there: the folder is wrong."""
        for plan in self.plans.values():
            if plan.num_missing > len(plan) / 2:
                first = printable(plan.first_missing or "")
                raise ValueError(
                    f"{plan.num_missing} of the {len(plan)} listed videos are not in "
                    f"{self.videos}, {first!r} first. Give the folder that the list refers to as "
                    "--videos."
                )


@contextlib.contextmanager
def planned(conversion: Conversion) -> Iterator[SplitPlans]:
    """Plans all splits; while active, their clips lie in temporary files.

    Raises:
        ValueError: The dataset is not as its layout expects.
    """
    videos = conversion.source.videos
    if not os.path.isdir(videos):
        raise ValueError(f"There is no folder {videos}. Give the folder of the videos as --videos.")
    present = _present_class_names(conversion.output)
    listings = {}
    for split in conversion.splits:
        wanted = dataclasses.replace(conversion.source, split=split, class_names=present)
        listings[split] = catalog.LAYOUTS[conversion.dataset](wanted)
        for note in listings[split].notes:
            print(f"{split}: {note}", file=sys.stderr)
    class_names = list(present) if present else _all_class_names(listings.values())
    output = conversion.output or ""
    with contextlib.ExitStack() as stack:
        plans = {
            split: stack.enter_context(
                conversion_plan.Plan(
                    _checked(_with_shared_ids(listing, class_names, output), split, conversion),
                    videos,
                    functools.partial(split_index.shard_path, output, split),
                    conversion.settings,
                    conversion.num_shards,
                    conversion.timeout,
                    listing.clips_per_shard,
                )
            )
            for split, listing in listings.items()
        }
        yield SplitPlans(plans, class_names, videos)


def _checked(
    clips: Iterator[annotations.Clip], split: str, conversion: Conversion
) -> Iterator[annotations.Clip]:
    """The same clips; raises ValueError if there is none."""
    empty = True
    for clip in clips:
        empty = False
        yield clip
    if empty:
        listed = conversion.source.annotations
        source = f"the list {listed}" if listed else conversion.source.videos
        raise ValueError(
            f"Split {split!r} has no video in {source}. Leave it out of --split if there is none, "
            f"or check {'--annotations' if listed else '--videos'} and the names of the files."
        )


def _present_class_names(output: str | None) -> tuple[str, ...] | None:
    if output is None:
        return None
    filesystems.require(output)
    with filesystems.explained(output):
        if not tf.io.gfile.exists(split_index.labels_path(output)):
            return None
    return tuple(split_index.read_class_names(output))


def _all_class_names(listings: Iterable[annotations.Listing]) -> list[str]:
    first, *others = (listing.class_names for listing in listings)
    if all(names == first for names in others):
        return first
    names = set(first).union(*others)
    # Lists of ids name classes by numbers: 10 comes after 9 then, and not after 1.
    ids = all(name.isdecimal() for name in names)
    return sorted(names, key=int if ids else None)


def _with_shared_ids(
    listing: annotations.Listing, class_names: list[str], output: str
) -> Iterator[annotations.Clip]:
    """The clips with the ids of the label map that all splits share."""
    if class_names == listing.class_names:
        return listing.clips()
    where = split_index.labels_path(output)
    ids = annotations.merge_class_names(listing.class_names, class_names, where)
    return (clip._replace(label=ids[clip.label]) for clip in listing.clips())
