"""What a conversion would do: counts, missing files, expected size and time."""

import itertools
import time
from collections.abc import Iterator

from pipelines.conversion import shard_conversion
from pipelines.conversion.conversion_plan import Plan
from pipelines.conversion.split_plans import SplitPlans
from pipelines.frames import isolated_reader, video_file
from pipelines.layouts import annotations
from pipelines.system.text import printable

_SAMPLE = 8
_SHOWN = 10


def describe(splits: SplitPlans, workers: int) -> str:
    """The report of `--dry_run`; decodes a few videos to estimate size and time."""
    lines = [_table(splits), ""]
    for split, plan in splits.plans.items():
        absent = [clip.path for clip in itertools.islice(_clips(plan, present=False), _SHOWN)]
        lines.append(
            f"{split}: {len(plan)} videos in {plan.num_shards} shards, {plan.num_missing} missing"
            + "".join(f"\n  missing: {printable(path)}" for path in absent)
            + (f"\n  ... and {plan.num_missing - _SHOWN} more" if plan.num_missing > _SHOWN else "")
        )
        lines.append(_estimate(plan, splits.videos, workers))
    return "\n".join(lines)


def _clips(plan: Plan, present: bool) -> Iterator[annotations.Clip]:
    return (clip for clip, size in plan.clips() if (size >= 0) == present)


def _table(splits: SplitPlans) -> str:
    plans, class_names = splits.plans, splits.class_names
    width = max([len(name) for name in class_names] + [len("total")])
    rows = [f"{'class':{width}} " + " ".join(f"{split:>12}" for split in plans)]
    for label, name in enumerate(class_names):
        counts = " ".join(f"{plan.clips_per_class[label]:12}" for plan in plans.values())
        rows.append(f"{name:{width}} {counts}")
    rows.append(f"{'total':{width}} " + " ".join(f"{len(plan):12}" for plan in plans.values()))
    return "\n".join(rows)


def _estimate(plan: Plan, videos: str, workers: int) -> str:
    present = len(plan) - plan.num_missing
    # The order is that of hashes, so that the first ones are a random sample.
    sample = list(itertools.islice(_clips(plan, present=True), _SAMPLE))
    settings = plan.settings.recorded()
    sizes, failures = [], []
    with isolated_reader.IsolatedReader(plan.timeout) as reader:
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
    # Those that fail give no bytes, but take their time.
    gigabytes = present * sum(sizes) / len(sample) / 1e9
    hours = present * seconds / workers / 3600
    estimate = (
        f"  expected from {len(sample)} videos: {gigabytes:.3g} GB, {_duration(hours)} with "
        f"--workers={workers}"
    )
    return "\n".join([estimate, *failures])


def _duration(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{max(1, round(hours * 60))} min"
