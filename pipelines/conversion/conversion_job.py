"""Converts splits of a dataset: plan, convert what is missing, write index and manifest.

Words:
    listing  what a layout finds: the names of the classes, and clips with path and label
    plan     which clip goes into which shard; see `conversion_plan`
    report   the .json beside a shard, written after it: what it holds and what it was made from
    runner   who converts the shards that are missing: processes here, or Apache Beam

A shard depends on its clips and the settings alone, never on the runner or on other shards. So the
result has the same bytes on one core and on many machines, and a conversion that was stopped goes
on: a shard is done if its report names the clips and settings that are wanted now.
"""

import contextlib
import dataclasses
import os
import sys
import threading
from collections.abc import Iterator, Sequence

import tensorflow as tf

from pipelines.conversion import beam_runner, local_runner, output_folder, shard_conversion
from pipelines.conversion.conversion_plan import Plan
from pipelines.conversion.replacement import check_nothing_is_replaced
from pipelines.conversion.split_plans import Conversion, planned
from pipelines.shards import split_index, split_writing
from pipelines.system import filesystems
from pipelines.system.parts import Part
from pipelines.system.progress import Progress

LOCAL = "local"
_LOOK_S = 2


@dataclasses.dataclass(frozen=True)
class Runner:
    """Where shards are converted.

    Attributes:
        name: `"local"`, or one of Apache Beam's runners.
        workers: Shards that the local one converts at the same time.
        options: Beam's own options.
    """

    name: str = LOCAL
    workers: int = 1
    options: tuple[str, ...] = ()


def convert_splits(conversion: Conversion, runner: Runner = Runner()) -> dict[str, dict]:
    """Converts splits of a dataset: shards, index and manifest of each, one label map for all.

    Args:
        conversion: What to convert, and into which folder.
        runner: Where to convert.

    Returns:
        The manifest of each split that is complete; other parts may be missing yet. Its `failures`
        lists the videos that are left out, its `notes` what a person should look at in others.

    Raises:
        ValueError: There is no folder to write to, the dataset is not as its layout expects, a
            video is in two splits, the folder holds another label map, or a finished split would
            be replaced.
        OSError: The output cannot be written.
    """
    if conversion.output is None:
        raise ValueError("The conversion needs a folder to write to. Give it as --output.")
    output = filesystems.without_file_scheme(conversion.output)
    splits, dataset = conversion.splits, conversion.dataset
    with contextlib.ExitStack() as stack:
        stack.enter_context(filesystems.explained(output, "written"))
        output_folder.make_folder(output)
        for split in splits:
            stack.enter_context(output_folder.sole_writer(output, split, conversion.part))
        planned_splits = stack.enter_context(
            planned(dataclasses.replace(conversion, output=output))
        )
        planned_splits.check_leaks()
        planned_splits.check_missing()
        if not conversion.overwrite:
            for split, plan in planned_splits.plans.items():
                check_nothing_is_replaced(output, split, plan)
        class_names = planned_splits.class_names
        # Fixed before the first shard, so that another split, converted at the same time into
        # this folder, takes it too or says at once that it cannot.
        with output_folder.sole_writer_of_labels(output):
            split_writing.write_class_names(output, class_names, splits)
        manifests = {}
        for split, plan in planned_splits.plans.items():
            reports = _convert(plan, conversion.part, output, split, runner)
            with output_folder.sole_finisher(output, split):
                if _is_complete(plan, conversion.part, reports, split):
                    manifests[split] = _write_manifest(
                        plan, _in_order(reports), output, split, class_names, dataset
                    )
            output_folder.name_old_shards(output, split, plan.num_shards)
        return manifests


def _convert(
    plan: Plan, part: Part, output: str, split: str, runner: Runner
) -> dict[int, shard_conversion.ShardReport]:
    """Converts the shards of a part that are not finished; gives the reports of all of it."""
    own = [number for number in range(plan.num_shards) if number in part]
    finished = _finished(plan, own)
    again = [number for number, report in finished.items() if not report.is_lasting]
    if again:
        print(
            f"{len(again)} shards of {split!r} lack videos for want of time, memory or permission: "
            "they are converted again.",
            file=sys.stderr,
        )
    for number in again:
        del finished[number]
    if len(finished) == len(own):
        print(f"All {len(finished)} shards of {split!r} are finished already.", file=sys.stderr)
        return finished
    with output_folder.sole_finisher(output, split):
        # A manifest marks a split as complete, which it is not from here on.
        if tf.io.gfile.exists(split_index.manifest_path(output, split)):
            tf.io.gfile.remove(split_index.manifest_path(output, split))
    # Lazily: the tasks of a large dataset do not fit into memory at once.
    wanted = [number for number in own if number not in finished]
    pending = zip(wanted, plan.tasks(wanted))
    sizes = plan.shard_sizes()
    done = sum(sizes[number] for number in finished)
    with Progress(sum(sizes[number] for number in own), "video", split, done=done) as progress:
        if runner.name == LOCAL:
            return finished | dict(local_runner.run(pending, runner.workers, progress.update))
        awaited = {shard_conversion.report_path(plan.shard_path(n)): sizes[n] for n in wanted}
        with _polled(progress, output, awaited):
            beam_runner.run(pending, runner.name, runner.options)
    finished = _finished(plan, own)
    missing = len(own) - len(finished)
    if missing:
        raise ValueError(
            f"{runner.name} says that all is converted, and {missing} shards of "
            f"{split!r} are not in {output} as this machine sees it. Give an --output that all "
            "machines share."
        )
    return finished


def _finished(plan: Plan, numbers: Sequence[int]) -> dict[int, shard_conversion.ShardReport]:
    """The reports of those of these shards that are finished, by shard number."""
    reports = map(shard_conversion.finished_report, plan.tasks(numbers))
    return {number: report for number, report in zip(numbers, reports) if report is not None}


def _is_complete(
    plan: Plan, part: Part, reports: dict[int, shard_conversion.ShardReport], split: str
) -> bool:
    """Whether the other parts are finished too; adds their reports."""
    others = [number for number in range(plan.num_shards) if number not in part]
    reports.update(_finished(plan, others))
    missing = plan.num_shards - len(reports)
    if missing:
        print(
            f"Part {part.number} of {part.count} of {split!r} is finished; {missing} shards of "
            "other parts are not. The part that ends last completes the split. If all have ended, "
            "run any one of them again."
        )
    return not missing


def _in_order(
    reports: dict[int, shard_conversion.ShardReport],
) -> list[shard_conversion.ShardReport]:
    return [reports[number] for number in range(len(reports))]


@contextlib.contextmanager
def _polled(progress: Progress, output: str, awaited: dict[str, int]) -> Iterator[None]:
    """Moves the progress by the reports that appear, wherever shards are converted.

    A look costs one listing of the folder. A report of an earlier conversion counts once it has
    been away, which it is while its shard is made anew.

    Args:
        progress: The progress.
        output: Folder of the reports.
        awaited: How many clips each report that is to come stands for, by its path.
    """
    ended = threading.Event()
    left = {os.path.basename(path): clips for path, clips in awaited.items()}
    stale = left.keys() & filesystems.names(output)

    def look() -> None:
        nonlocal stale
        present = left.keys() & filesystems.names(output)
        stale &= present
        progress.update(sum(left.pop(name) for name in present - stale))

    def poll() -> None:
        while not ended.wait(_LOOK_S):
            look()

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield
        progress.complete()
    finally:
        ended.set()
        thread.join()


def _write_manifest(
    plan: Plan,
    reports: Sequence[shard_conversion.ShardReport],
    output: str,
    split: str,
    class_names: list[str],
    dataset: str,
) -> dict:
    failures = [failure for report in reports for failure in report.failures]
    # An index of no video could not be read.
    if len(failures) == len(plan):
        causes = "; ".join(f"{failure.path}: {failure.cause}" for failure in failures[:3])
        raise ValueError(f"None of the {len(plan)} videos could be converted. {causes}")
    extra = {
        "dataset": dataset,
        "num_listed": len(plan),
        "num_failures": len(failures),
        "failures": [dataclasses.asdict(failure) for failure in failures],
        "notes": [dataclasses.asdict(note) for report in reports for note in report.notes],
        "settings": plan.settings.recorded(),
    }
    rows = [report.rows for report in reports]
    return split_writing.write_split(output, split, rows, class_names, extra)
