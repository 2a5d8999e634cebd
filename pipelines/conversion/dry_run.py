"""What a conversion would do: counts, missing files, leaks between splits, expected size."""

import dataclasses
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence

from pipelines.conversion import conversion_plan, shard_conversion
from pipelines.frames import isolated_reader, video_file
from pipelines.layouts import annotations
from pipelines.system.text import printable

_SAMPLE = 8
_SHOWN = 10


def check_leaks(plans: Mapping[str, conversion_plan.Plan]) -> None:
    """Raises ValueError if a clip is in two splits, under whatever name."""
    for first, second in itertools.combinations(plans, 2):
        shared = plans[first].shared_with(plans[second])
        if shared:
            names = ", ".join(
                f"{here.key!r} ({there.key!r})" if here.key != there.key else f"{here.key!r}"
                for here, there in shared[:_SHOWN]
            )
            raise ValueError(
                f"{len(shared)} videos are both in {first!r} and in {second!r}, so that results on "
                f"one would not be honest after training on the other: {names}"
                f"{', ...' if len(shared) > _SHOWN else ''}. Remove them from one of the splits."
            )


def describe(
    plans: Mapping[str, conversion_plan.Plan], class_names: Sequence[str], videos: str, workers: int
) -> str:
    """The report of `--dry_run`; decodes a few videos to estimate size and time."""
    lines = [_table(plans, class_names), ""]
    for split, plan in plans.items():
        absent = [clip.path for clip in itertools.islice(_clips(plan, present=False), _SHOWN)]
        lines.append(
            f"{split}: {len(plan)} videos in {plan.num_shards} shards, {plan.num_missing} missing"
            + "".join(f"\n  missing: {printable(path)}" for path in absent)
            + (f"\n  ... and {plan.num_missing - _SHOWN} more" if plan.num_missing > _SHOWN else "")
        )
        lines.append(_estimate(plan, videos, workers))
    return "\n".join(lines)


def _clips(plan: conversion_plan.Plan, present: bool) -> Iterator[annotations.Clip]:
    return (clip for clip, size in plan.clips() if (size >= 0) == present)


def _table(plans: Mapping[str, conversion_plan.Plan], class_names: Sequence[str]) -> str:
    width = max([len(name) for name in class_names] + [len("total")])
    rows = [f"{'class':{width}} " + " ".join(f"{split:>12}" for split in plans)]
    for label, name in enumerate(class_names):
        counts = " ".join(f"{plan.clips_per_class[label]:12}" for plan in plans.values())
        rows.append(f"{name:{width}} {counts}")
    rows.append(f"{'total':{width}} " + " ".join(f"{len(plan):12}" for plan in plans.values()))
    return "\n".join(rows)


def _estimate(plan: conversion_plan.Plan, videos: str, workers: int) -> str:
    present = len(plan) - plan.num_missing
    sample = list(itertools.islice(_clips(plan, present=True), _SAMPLE))
    settings = dataclasses.asdict(plan.settings)
    sizes, failures = [], []
    with isolated_reader.IsolatedReader() as reader:
        began = time.monotonic()
        for clip in sample:
            try:
                path = shard_conversion.path_inside(videos, clip.path)
                encoded = reader.read_frames(path, start=clip.start, end=clip.end, **settings)
                sizes.append(sum(map(len, encoded.frames)))
            except video_file.VideoError as error:
                failures.append(f"  fails: {printable(str(error))}")
        seconds = (time.monotonic() - began) / max(1, len(sample))
    if not sizes:
        return "\n".join(["  no video of a sample could be decoded", *failures])
    gigabytes = present * sum(sizes) / len(sample) / 1e9
    hours = present * seconds / workers / 3600
    estimate = (
        f"  expected from {len(sample)} videos: {gigabytes:.3g} GB, {_duration(hours)} with "
        f"--workers={workers}"
    )
    return "\n".join([estimate, *failures])


def _duration(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{max(1, round(hours * 60))} min"
