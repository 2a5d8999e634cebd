"""Convert the videos of a dataset into TFRecord shards of JPEG frames.

    python pipelines/convert.py --dataset=folder --videos=DIR --split=train --output=OUT
    python pipelines/convert.py --dataset=csv --videos=DIR --annotations=LIST --split=test
    --output=OUT

The first takes DIR/<class>/<video>, the second a list of lines `path,label`. OUT receives
`<split>-00000-of-000NN.tfrecord`, an index and a manifest `<split>.json` with counts, settings and
failures, and `labels.txt`, which the splits of one folder share.

A video that cannot be decoded is named with its cause, counted and left out. Stop the command at
any moment and run it again: it goes on after the shards that are finished.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import glob
import math
import os
import re
import sys
import threading
import time
from collections.abc import Iterator, Sequence

if not __package__:  # run as a script, whose own folder Python has put first
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import tqdm
from absl import flags

from pipelines import (
    annotations,
    command_line,
    conversion,
    conversion_plan,
    filesystems,
    isolated_decoder,
    split_index,
)
from pipelines.layouts import catalog

_SHOWN_FAILURES = 20


class _StoppedError(Exception):
    """Another part of the conversion failed; this one ends early."""


def convert_split(
    source: annotations.Source,
    dataset: str,
    output: str,
    *,
    settings: conversion_plan.Settings,
    num_shards: int | None = None,
    workers: int = 1,
    timeout: float = isolated_decoder.DEFAULT_TIMEOUT,
) -> dict:
    """Converts one split and writes its shards, index, manifest and label map.

    Args:
        source: where the videos and lists are, and which split is wanted.
        dataset: a name of `layouts.catalog.LAYOUTS`.
        output: folder of the shards.
        settings: rate, size and quality.
        num_shards: number of shards; `None` derives it from the number of videos.
        workers: videos that are decoded at the same time. The bytes do not depend on it.
        timeout: seconds after which a video is given up.

    Returns:
        The manifest. Its `failures` lists the videos that are left out.

    Raises:
        ValueError: the dataset is not as its layout expects, or belongs to another label map.
        OSError: the output cannot be written.
    """
    _check_split(source.split)
    if not os.path.isdir(source.videos):
        raise ValueError(
            f"There is no folder {source.videos}. Give the folder of the videos as --videos."
        )
    _make_folder(output)
    with _sole_writer(output, source.split):
        present = _present_class_names(output)
        source = dataclasses.replace(source, class_names=present)
        listing = catalog.LAYOUTS[dataset](source)
        clips, class_names = _with_shared_ids(listing, present, output)
        for note in listing.notes:
            print(note, file=sys.stderr)
        shard_path = functools.partial(split_index.shard_path, output, source.split)
        with conversion_plan.Plan(
            clips, source.videos, shard_path, settings, num_shards, timeout
        ) as plan:
            _check_missing(plan, source.videos)
            reports = _convert(plan, output, source.split, workers)
            return _write_manifest(plan, reports, output, source.split, class_names, dataset)


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
        pattern = f"{glob.escape(os.path.join(output, split))}-[0-9]*-of-[0-9]*.*.tmp"
        for leftover in glob.glob(pattern):
            os.remove(leftover)
        yield


def _present_class_names(output: str) -> tuple[str, ...] | None:
    if not filesystems.is_local(output) or os.path.exists(split_index.labels_path(output)):
        try:
            return tuple(split_index.read_class_names(output))
        except ValueError:
            return None
    return None


def _with_shared_ids(
    listing: annotations.Listing, present: tuple[str, ...] | None, output: str
) -> tuple[Iterator[annotations.Clip], list[str]]:
    """The clips with the ids of the folder's label map, if it has one already."""
    if present is None or list(present) == listing.class_names:
        return listing.clips(), listing.class_names
    where = split_index.labels_path(output)
    ids = annotations.merge_class_names(listing.class_names, list(present), where)
    return (clip._replace(label=ids[clip.label]) for clip in listing.clips()), list(present)


def _check_missing(plan: conversion_plan.Plan, videos: str) -> None:
    if plan.num_missing > len(plan) / 2:
        raise ValueError(
            f"{plan.num_missing} of the {len(plan)} listed videos are not in {videos}, "
            f"{annotations.printable(plan.first_missing)!r} first. Give the folder that the list "
            "refers to as --videos."
        )


def _convert(
    plan: conversion_plan.Plan, output: str, split: str, workers: int
) -> list[conversion.ShardReport]:
    """Converts the shards that are not finished; gives the reports of all."""
    reports = [conversion.finished_report(task) for task in plan.tasks()]
    pending = sum(report is None for report in reports)
    if not pending:
        print(f"All {len(reports)} shards of {split!r} are finished already.", file=sys.stderr)
        return reports
    # A manifest marks a split as complete, which it is not from here on.
    if filesystems.is_local(output):
        with contextlib.suppress(FileNotFoundError):
            os.remove(split_index.manifest_path(output, split))
    done = sum(len(r.rows) + len(r.failures) for r in reports if r is not None)
    with tqdm.tqdm(total=len(plan), initial=done, unit="video", desc=split) as bar:
        for number, report in _converted(plan, reports, workers, bar):
            reports[number] = report
    return reports


def _converted(
    plan: conversion_plan.Plan,
    reports: Sequence[conversion.ShardReport | None],
    workers: int,
    bar: tqdm.tqdm,
) -> Iterator[tuple[int, conversion.ShardReport]]:
    """Converts in threads. Each waits for a decoding process of its own, so threads are enough."""
    stop = threading.Event()
    lock = threading.Lock()

    def after_video() -> None:
        with lock:
            bar.update()
        if stop.is_set():
            raise _StoppedError

    tasks = ((n, task) for n, task in enumerate(plan.tasks()) if reports[n] is None)
    running: dict[concurrent.futures.Future, int] = {}
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        try:
            while True:
                for number, task in tasks:
                    running[pool.submit(conversion.convert_shard, task, after_video)] = number
                    if len(running) >= workers:
                        break
                if not running:
                    return
                ended, _ = concurrent.futures.wait(
                    running, return_when=concurrent.futures.FIRST_COMPLETED
                )
                for future in ended:
                    yield running.pop(future), future.result()
        finally:
            stop.set()


def _write_manifest(
    plan: conversion_plan.Plan,
    reports: Sequence[conversion.ShardReport],
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


def _print_failures(failures: Sequence[dict[str, str]], manifest: str) -> None:
    for failure in failures[:_SHOWN_FAILURES]:
        print(f"left out: {failure['path']}: {failure['cause']}", file=sys.stderr)
    if len(failures) > _SHOWN_FAILURES:
        kinds = collections.Counter(failure["cause"].split(":")[0] for failure in failures)
        print(
            f"... and {len(failures) - _SHOWN_FAILURES} more, all in {manifest}. Most frequent: "
            + "; ".join(f"{cause} ({count})" for cause, count in kinds.most_common(5)),
            file=sys.stderr,
        )


def main(arguments: Sequence[str]) -> int:
    if len(arguments) > 1:
        raise ValueError(f"All options begin with --. Received: {' '.join(arguments[1:])}")
    options = flags.FLAGS
    source = annotations.Source(
        videos=options.videos,
        annotations=options.annotations,
        split=options.split,
        validation_share=options.validation_share,
    )
    began = time.monotonic()
    manifest = convert_split(
        source,
        options.dataset,
        options.output,
        settings=conversion_plan.Settings(
            fps=options.fps,
            short_side=options.short_side or None,
            quality=options.quality,
            upscale=options.upscale,
        ),
        num_shards=options.num_shards,
        workers=options.workers,
        timeout=options.timeout,
    )
    path = split_index.manifest_path(options.output, options.split)
    size = sum(shard["bytes"] for shard in manifest["shards"])
    _print_failures(manifest["failures"], path)
    print(
        f"{manifest['num_videos']} videos of {manifest['num_classes']} classes, "
        f"{manifest['num_frames']} frames, {size / 1e9:.3f} GB in {len(manifest['shards'])} shards "
        f"of {options.output} after {time.monotonic() - began:.0f} s; {manifest['num_failures']} "
        "failed."
    )
    allowed = options.max_failures
    share = manifest["num_failures"] / manifest["num_listed"]
    if share > allowed:
        raise ValueError(
            f"{manifest['num_failures']} of {manifest['num_listed']} videos ({share:.1%}) could "
            f"not be converted, more than --max_failures={allowed:g}. What was converted is kept. "
            "Mend the videos, or accept the loss with "
            f"--max_failures={math.ceil(share * 1000) / 1000:g}; the finished shards are not "
            "converted again."
        )
    return 0


def _define_flags() -> None:
    flags.DEFINE_enum("dataset", None, sorted(catalog.LAYOUTS), "Layout of the dataset.")
    flags.DEFINE_string("videos", None, "Folder of the videos. Nothing outside it is read.")
    flags.DEFINE_string("annotations", None, "The dataset's list, for layouts that have one.")
    flags.DEFINE_string("split", "train", "Name of the split to convert.")
    flags.DEFINE_string("output", None, "Folder to write to; may be gs:// or another scheme.")
    flags.DEFINE_float(
        "validation_share",
        0.2,
        "--dataset=folder: the part of each class that train leaves to validation. 0 takes every "
        "video, for folders that are sorted by split already.",
        lower_bound=0,
    )
    flags.DEFINE_float("fps", 25, "Frames a second, by the clock.")
    flags.DEFINE_integer("short_side", 256, "Pixels of the shorter side; 0 keeps the size.")
    flags.DEFINE_bool("upscale", True, "Scale smaller videos up to --short_side.")
    flags.DEFINE_integer("quality", 4, "JPEG quantiser: 1 is the best, 31 the smallest.")
    flags.DEFINE_integer(
        "num_shards", None, "Number of shards. Default: one per 128 videos, at least 16.", 1
    )
    flags.DEFINE_integer(
        "workers",
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "Videos decoded at the same time; the result does not depend on it. Default: the cores.",
        lower_bound=1,
    )
    flags.DEFINE_float(
        "max_failures", 0.01, "Share of the videos that may fail; beyond it the status is 1.", 0, 1
    )
    flags.DEFINE_float(
        "timeout",
        isolated_decoder.DEFAULT_TIMEOUT,
        "Seconds after which a video is given up.",
        lower_bound=0.001,
    )
    flags.mark_flags_as_required(["dataset", "videos", "output"])


if __name__ == "__main__":
    _define_flags()
    command_line.run(main)
