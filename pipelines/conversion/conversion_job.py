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
import sys
import threading
from collections.abc import Iterator, Sequence

import tensorflow as tf

from pipelines.conversion import beam_runner, local_runner, output_folder, shard_conversion
from pipelines.conversion.conversion_plan import Plan
from pipelines.conversion.replacement import check_nothing_is_replaced
from pipelines.conversion.split_plans import Conversion, planned
from pipelines.shards import split_index
from pipelines.system import filesystems
from pipelines.system.progress import Progress

LOCAL = "local"


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
        The manifest of each split. Its `failures` lists the videos that are left out, its `notes`
        what a person should look at in others.

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
            stack.enter_context(output_folder.sole_writer(output, split))
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
            split_index.write_class_names(output, class_names, splits)
        manifests = {}
        for split, plan in planned_splits.plans.items():
            reports = _convert(plan, output, split, runner)
            manifests[split] = _write_manifest(plan, reports, output, split, class_names, dataset)
            output_folder.name_old_shards(output, split, plan.num_shards)
        return manifests


def _convert(
    plan: Plan, output: str, split: str, runner: Runner
) -> list[shard_conversion.ShardReport]:
    """Converts the shards that are not finished; gives the reports of all."""
    finished = _finished(plan)
    again = [number for number, report in finished.items() if not report.is_lasting]
    if again:
        print(
            f"{len(again)} shards of {split!r} lack videos for want of time, memory or permission: "
            "they are converted again.",
            file=sys.stderr,
        )
    for number in again:
        del finished[number]
    if len(finished) == plan.num_shards:
        print(f"All {len(finished)} shards of {split!r} are finished already.", file=sys.stderr)
        return _in_order(finished)
    # A manifest marks a split as complete, which it is not from here on.
    if tf.io.gfile.exists(split_index.manifest_path(output, split)):
        tf.io.gfile.remove(split_index.manifest_path(output, split))
    # Lazily: the tasks of a large dataset do not fit into memory at once.
    wanted = set(range(plan.num_shards)) - set(finished)
    pending = ((number, task) for number, task in enumerate(plan.tasks()) if number in wanted)
    done = sum(len(report.rows) + len(report.failures) for report in finished.values())
    with Progress(len(plan), "video", split, done=done) as progress:
        if runner.name == LOCAL:
            finished |= local_runner.run(pending, runner.workers, progress.update)
            return _in_order(finished)
        with _polled(progress, plan):
            beam_runner.run(pending, runner.name, runner.options)
    finished = _finished(plan)
    missing = plan.num_shards - len(finished)
    if missing:
        raise ValueError(
            f"{runner.name} says that all is converted, and {missing} shards of "
            f"{split!r} are not in {output} as this machine sees it. Give an --output that all "
            "machines share."
        )
    return _in_order(finished)


def _finished(plan: Plan) -> dict[int, shard_conversion.ShardReport]:
    """The reports of the shards that are finished, by shard number."""
    reports = enumerate(shard_conversion.finished_report(task) for task in plan.tasks())
    return {number: report for number, report in reports if report is not None}


def _in_order(
    reports: dict[int, shard_conversion.ShardReport],
) -> list[shard_conversion.ShardReport]:
    return [reports[number] for number in range(len(reports))]


@contextlib.contextmanager
def _polled(progress: Progress, plan: Plan) -> Iterator[None]:
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


def _write_manifest(
    plan: Plan,
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
        "notes": [dataclasses.asdict(note) for report in reports for note in report.notes],
        "settings": dataclasses.asdict(plan.settings),
    }
    rows = [report.rows for report in reports]
    return split_index.write_split(output, split, rows, class_names, extra)
