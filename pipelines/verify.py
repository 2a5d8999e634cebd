"""Checks a converted dataset, and draws samples of it.

    keras-rms verify --data=DIR

reads every record of every split of DIR: checksums, JPEG validity, labels, counts against the
manifest, duplicates. Damage is reported by shard and offset, and the exit status is then 1.
DIR/<split>.png, or --contact_sheet, receives frames of sample clips of each class. --data may be
gs:// or another scheme that TensorFlow opens.
"""

import io
import os
import sys
from collections.abc import Sequence

if not __package__:  # run as a script, whose own folder Python has put first
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from pipelines.system import quiet_tensorflow  # noqa: F401  (before what imports TensorFlow)

# isort: split
from absl import flags
from PIL import Image

from pipelines.shards import contact_sheet, split_index, verification
from pipelines.system import command_help, command_line, filesystems
from pipelines.system.progress import Progress

_SHOWN = 50


def verify(
    data_dir: str,
    splits: Sequence[str] = (),
    *,
    frame_step: int = 1,
    workers: int = 1,
    sheets: str | None = None,
) -> int:
    """Checks splits of a converted folder, prints what is wrong and draws contact sheets.

    Args:
        data_dir: The folder.
        splits: Names of splits; none stands for all that are finished.
        frame_step: Every how manieth image is decoded.
        workers: Shards read at the same time.
        sheets: Folder for `<split>.png`; `None` draws none.

    Returns:
        The number of problems.

    Raises:
        ValueError: The folder holds no finished split, or not one of these.
    """
    split_index.read_class_names(data_dir)
    present = split_index.list_splits(data_dir, finished=False)
    if not present:
        raise ValueError(f"{data_dir} has no finished split. Run keras-rms convert to its end.")
    videos, count = [], 0
    # A split that was named twice would find each of its videos twice.
    for split in dict.fromkeys(splits or present):
        try:
            index = split_index.load_index(data_dir, split, check_shards=False)
        except ValueError as error:
            if split not in present:
                raise
            # The other splits are still to be looked at.
            _print(f"{split}: cannot be checked", [error])
            count += 1
            continue
        with Progress(len(index.shard_paths), "shard", split) as progress:
            whole, problems = verification.check_split(
                index, frame_step=frame_step, workers=workers, after_shard=progress.update
            )
        videos += whole
        count += len(problems)
        _print(f"{split}: {len(whole)} of {len(index)} videos are whole", problems)
        if sheets is not None:
            _write_sheet(index, os.path.join(sheets, f"{split}.png"))
    return count + _report_duplicates(verification.duplicates(videos))


def _report_duplicates(pairs: Sequence[tuple]) -> int:
    """Prints videos with the same frames; those in two splits or classes are problems."""
    leaks = [pair for pair in pairs if pair[0].split != pair[1].split]
    torn = [pair for pair in pairs if pair not in leaks and pair[0].label != pair[1].label]
    same = [pair for pair in pairs if pair not in leaks and pair not in torn]
    for found, text in (
        (leaks, "videos with the same frames are in two splits"),
        (torn, "videos with the same frames have different labels"),
        (same, "videos have the same frames as another of their class"),
    ):
        if found:
            lines = [f"{a.split}: {a.key!r} and {b.split}: {b.key!r}" for a, b in found]
            _print(f"{len(found)} {text}", lines)
    return len(leaks) + len(torn)


def _print(title: str, lines: Sequence) -> None:
    print(title)
    for line in lines[:_SHOWN]:
        print(f"  {line}")
    if len(lines) > _SHOWN:
        print(f"  ... and {len(lines) - _SHOWN} more")


def _write_sheet(index: split_index.Index, path: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(contact_sheet.contact_sheet(index)).save(buffer, "PNG")
    try:
        filesystems.write_file(path, buffer.getvalue())
    except OSError as error:  # the folder may be one that can only be read
        print(f"  No contact sheet: {error} Another folder can be given as --contact_sheet.")
    else:
        print(f"  {path} shows sample clips of each class")


def main(arguments: Sequence[str]) -> int:
    if len(arguments) > 1:
        raise ValueError(f"All options begin with --. Received: {' '.join(arguments[1:])}")
    options = flags.FLAGS
    if options.contact_sheet is None:
        sheets = options.data
    else:
        sheets = filesystems.without_file_scheme(options.contact_sheet) or None
        if sheets and filesystems.is_local(sheets):
            os.makedirs(sheets, exist_ok=True)
    problems = verify(
        options.data,
        options.split.split(",") if options.split else (),
        frame_step=options.frame_step,
        workers=options.workers,
        sheets=sheets,
    )
    print(f"{problems} problems." if problems else "Everything is as it was written.")
    return 1 if problems else 0


def _define_flags() -> None:
    command_help.section("What to check")
    flags.DEFINE_string("data", None, "Check this folder, which keras-rms convert wrote.")
    flags.DEFINE_string(
        "split", None, "Check these splits, separated by commas. By default all of them."
    )
    flags.DEFINE_string(
        "contact_sheet",
        None,
        "Draw <split>.png with sample clips of each class into this folder; '' draws none. By "
        "default into --data.",
    )

    command_help.section("How to check")
    flags.DEFINE_integer(
        "frame_step",
        1,
        "Decode only one of so many frames. The checksums of all frames are checked.",
        1,
    )
    flags.DEFINE_integer("workers", os.cpu_count(), "Read this many shards at the same time.", 1)
    flags.mark_flags_as_required(["data"])


if __name__ == "__main__":
    _define_flags()
    command_line.run(main)
