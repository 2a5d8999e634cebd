"""Convert splits of a dataset: plan, convert what is missing, write index and manifest."""

import collections
import contextlib
import dataclasses
import functools
import glob
import os
import re
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence

import tensorflow as tf

from pipelines.conversion import (
    beam_runner,
    conversion_plan,
    dry_run,
    local_runner,
    shard_conversion,
)
from pipelines.frames import isolated_reader
from pipelines.layouts import annotations, catalog
from pipelines.shards import split_index
from pipelines.system import filesystems, whole_files
from pipelines.system.progress import Progress
from pipelines.system.text import printable

LOCAL = "local"


@dataclasses.dataclass(frozen=True)
class Runner:
    """Where shards are converted.

    Attributes:
        name: `"local"`, or one of Apache Beam's runners.
        workers: shards that the local one converts at the same time.
        options: Beam's own options.
    """

    name: str = LOCAL
    workers: int = 1
    options: tuple[str, ...] = ()


def convert_splits(
    source: annotations.Source,
    dataset: str,
    output: str,
    splits: Sequence[str],
    *,
    settings: conversion_plan.Settings,
    num_shards: int | None = None,
    timeout: float = isolated_reader.DEFAULT_TIMEOUT,
    runner: Runner = Runner(),
) -> dict[str, dict]:
    """Converts splits of a dataset: shards, index and manifest of each, one label map for all.

    Args:
        source: where the videos and lists are; its `split` is not used.
        dataset: a name of `layouts.catalog.LAYOUTS`.
        output: folder of the shards.
        splits: names of the splits. They may share no video.
        settings: rate, size and quality.
        num_shards: number of shards of each; `None` derives it from the number of videos.
        timeout: seconds after which a video is given up.
        runner: where to convert.

    Returns:
        The manifest of each split. Its `failures` lists the videos that are left out.

    Raises:
        ValueError: the dataset is not as its layout expects, a video is in two splits, or the
            folder holds another label map.
        OSError: the output cannot be written.
    """
    output = filesystems.without_file_scheme(output)
    with contextlib.ExitStack() as stack:
        stack.enter_context(filesystems.explained(output, "written"))
        _make_folder(output)
        for split in splits:
            stack.enter_context(_sole_writer(output, split))
        plans, class_names = make_plans(
            stack, source, dataset, output, splits, settings, num_shards, timeout
        )
        dry_run.check_leaks(plans)
        for plan in plans.values():
            check_missing(plan, source.videos)
        # Fixed before the first shard, so that another split, converted at the same time into
        # this folder, takes it too or says at once that it cannot.
        split_index.write_class_names(output, class_names, splits)
        manifests = {}
        for split, plan in plans.items():
            reports = _convert(plan, output, split, runner)
            manifests[split] = _write_manifest(plan, reports, output, split, class_names, dataset)
            _name_old_shards(output, split, plan.num_shards)
        return manifests


def make_plans(
    stack: contextlib.ExitStack,
    source: annotations.Source,
    dataset: str,
    output: str | None,
    splits: Sequence[str],
    settings: conversion_plan.Settings,
    num_shards: int | None,
    timeout: float,
) -> tuple[dict[str, conversion_plan.Plan], list[str]]:
    """The plan of each split, and the class names."""
    if not os.path.isdir(source.videos):
        raise ValueError(
            f"There is no folder {source.videos}. Give the folder of the videos as --videos."
        )
    present = _present_class_names(output)
    listings = {}
    for split in splits:
        _check_split(split)
        wanted = dataclasses.replace(source, split=split, class_names=present)
        listings[split] = catalog.LAYOUTS[dataset](wanted)
        for note in listings[split].notes:
            print(f"{split}: {note}", file=sys.stderr)
    class_names = list(present) if present else _all_class_names(listings.values())
    plans = {}
    for split, listing in listings.items():
        clips = _with_shared_ids(listing, class_names, output)
        path = functools.partial(split_index.shard_path, output or "", split)
        plan = conversion_plan.Plan(
            clips, source.videos, path, settings, num_shards, timeout, listing.clips_per_shard
        )
        plans[split] = stack.enter_context(plan)
    return plans, class_names


def _check_split(split: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", split):
        raise ValueError(
            "A split's name may hold letters, digits, _, . and -, because its files are named "
            f"after it. Received: split={split!r}"
        )


def _make_folder(output: str) -> None:
    filesystems.require(output)
    if not filesystems.is_local(output):
        return
    try:
        os.makedirs(output, exist_ok=True)
    except OSError as error:
        raise OSError(f"--output={output} cannot be made: {error.strerror}.") from error
    if not os.access(output, os.W_OK | os.X_OK):
        raise OSError(f"--output={output} cannot be written to: permission denied.")


@contextlib.contextmanager
def _sole_writer(output: str, split: str) -> Iterator[None]:
    """Holds a lock on the split, and clears what a killed run has left behind."""
    _check_split(split)
    if not filesystems.is_local(output):
        yield
        return
    import fcntl

    with open(os.path.join(output, f".{split}.lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(
                f"Another conversion is writing split {split!r} to {output}. Wait until it has "
                "ended, or choose another --output."
            ) from error
        stem = glob.escape(os.path.join(output, split))
        for ending in ("-[0-9]*-of-[0-9]*", ".json", ".index.npz"):
            for leftover in glob.glob(f"{stem}{ending}.*{whole_files.ENDING}"):
                os.remove(leftover)
        yield


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
    ids = all(name.isdecimal() for name in names)
    return sorted(names, key=int if ids else None)


def _with_shared_ids(
    listing: annotations.Listing, class_names: list[str], output: str | None
) -> Iterator[annotations.Clip]:
    """The clips with the ids of the label map that all splits share."""
    if class_names == listing.class_names:
        return listing.clips()
    where = split_index.labels_path(output or "")
    ids = annotations.merge_class_names(listing.class_names, class_names, where)
    return (clip._replace(label=ids[clip.label]) for clip in listing.clips())


def check_missing(plan: conversion_plan.Plan, videos: str) -> None:
    """Raises ValueError if more than half of the videos are not there: the folder is wrong."""
    if plan.num_missing > len(plan) / 2:
        raise ValueError(
            f"{plan.num_missing} of the {len(plan)} listed videos are not in {videos}, "
            f"{printable(plan.first_missing)!r} first. Give the folder that the list "
            "refers to as --videos."
        )


def _convert(
    plan: conversion_plan.Plan, output: str, split: str, runner: Runner
) -> list[shard_conversion.ShardReport]:
    """Converts the shards that are not finished; gives the reports of all."""
    reports = [shard_conversion.finished_report(task) for task in plan.tasks()]
    again = [n for n, report in enumerate(reports) if report and not report.is_lasting]
    if again:
        print(
            f"{len(again)} shards of {split!r} lack videos for want of time, memory or permission: "
            "they are converted again.",
            file=sys.stderr,
        )
    for number in again:
        reports[number] = None
    if None not in reports:
        print(f"All {len(reports)} shards of {split!r} are finished already.", file=sys.stderr)
        return reports
    # A manifest marks a split as complete, which it is not from here on.
    if tf.io.gfile.exists(split_index.manifest_path(output, split)):
        tf.io.gfile.remove(split_index.manifest_path(output, split))
    pending = ((n, task) for n, task in enumerate(plan.tasks()) if reports[n] is None)
    done = sum(len(r.rows) + len(r.failures) for r in reports if r is not None)
    with Progress(len(plan), "video", split, done=done) as progress:
        if runner.name == LOCAL:
            for number, report in local_runner.run(pending, runner.workers, progress.update):
                reports[number] = report
            return reports
        with _polled(progress, plan):
            beam_runner.run(pending, runner.name, runner.options)
    reports = [shard_conversion.finished_report(task) for task in plan.tasks()]
    if None in reports:
        raise ValueError(
            f"{runner.name} says that all is converted, and {reports.count(None)} shards of "
            f"{split!r} are not in {output} as this machine sees it. Give an --output that all "
            "machines share."
        )
    return reports


@contextlib.contextmanager
def _polled(progress: Progress, plan: conversion_plan.Plan) -> Iterator[None]:
    """Moves the progress by the reports of finished shards, wherever they are converted."""
    ended = threading.Event()

    def poll() -> None:
        while not ended.wait(2):
            finished = sum(
                len(task.clips) for task in plan.tasks() if shard_conversion.finished_report(task)
            )
            progress.update(finished - progress.count)

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield
        progress.update(progress.total - progress.count)
    finally:
        ended.set()
        thread.join()


def _name_old_shards(output: str, split: str, num_shards: int) -> None:
    """Says which shards another number of shards has left behind: a terabyte, it may be."""
    shard = re.compile(re.escape(split) + r"-\d{5}-of-(\d{5})\.tfrecord")
    found = filter(None, map(shard.fullmatch, tf.io.gfile.listdir(output)))
    old = collections.Counter(match[1] for match in found if int(match[1]) != num_shards)
    for number, count in sorted(old.items()):
        print(
            f"{count} shards of an earlier conversion remain, which nothing reads any more. Remove "
            f"{os.path.join(output, f'{split}-*-of-{number}.*')} to get their space back.",
            file=sys.stderr,
        )


def _write_manifest(
    plan: conversion_plan.Plan,
    reports: Sequence[shard_conversion.ShardReport],
    output: str,
    split: str,
    class_names: list[str],
    dataset: str,
) -> dict:
    failures = [failure for report in reports for failure in report.failures]
    if len(failures) == len(plan):
        causes = "; ".join(f"{failure.path}: {failure.cause}" for failure in failures[:3])
        raise ValueError(f"None of the {len(plan)} videos could be converted. {causes}")
    extra = {
        "dataset": dataset,
        "num_listed": len(plan),
        "num_failures": len(failures),
        "failures": [dataclasses.asdict(failure) for failure in failures],
        "settings": dataclasses.asdict(plan.settings),
    }
    rows = [report.rows for report in reports]
    return split_index.write_split(output, split, rows, class_names, extra)
