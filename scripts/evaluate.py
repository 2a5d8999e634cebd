"""Evaluates a trained network over several views of each video, 30 by default.

    keras-rms evaluate --work_dir=runs/rms --data=data --views=10x3
    keras-rms evaluate --model=slow_only_50.keras --data=kinetics400 --output=evaluation

The network is that of a training, finished or not, or one that keras-rms import-weights wrote.
Prints top-1, top-5 and mean class accuracy and writes into WORK_DIR/evaluation/ (or --output):
    <split>_10x3.json             the accuracies, the most confused pairs of classes, and what it
                                  was measured on
    <split>_10x3.csv              a line a video: key, label, the five best classes and their
                                  probabilities
    <split>_10x3.npz              keys, labels and all probabilities, for keras-rms compare
    <split>_10x3_classes.csv      a line a class: videos, accuracy, precision, F1
    <split>_10x3_confusion.csv, .png
    <split>_10x3_calibration.png  how often a network that says 80 % is right

All GPUs of the machine share the videos. Several machines do by --part=1/3, 2/3 and 3/3, with the
same other flags and one folder for the results: the one that ends last writes them.
"""

import re
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

from pipelines.system import quiet_tensorflow  # noqa: F401  (before what imports TensorFlow)

# isort: split
import keras
import network_choice.clips
from absl import flags

from analysis import evaluation_parts
from analysis.evaluation_results import (
    check_videos,
    folder_of_data,
    replaced,
    write_results,
)
from keras_rms.inference.saved_scores import SavedScores
from keras_rms.inference.trained_network import TrainedNetwork
from keras_rms.inference.view_scores import ViewScorer
from keras_rms.training.work_dir.work_folder import WorkFolder
from keras_rms.training.workers.strategies import make_strategy
from pipelines.input import damage, evaluation_dataset, open_split
from pipelines.input.splits import FORMATS, check_conversion
from pipelines.system import command_help, command_line, gpus, output_paths
from pipelines.system.parts import Part, part_of
from pipelines.system.progress import Progress

flags.adopt_module_key_flags(network_choice)
flags.adopt_module_key_flags(network_choice.clips)

command_help.section("What to evaluate it on")
_DATA = flags.DEFINE_string(
    "data",
    None,
    "Evaluate on the converted dataset in this folder. By default on the training's own.",
)
_SPLIT = flags.DEFINE_string("split", "validation", "Evaluate on the videos of this split.")
_VIEWS = flags.DEFINE_string(
    "views",
    None,
    "Average over these views of a video: clips over time x crops along the longer side, where 1 "
    "crop is the centre. By default 10x3, 1x3 of a network whose clips cover the whole video, and "
    "1x1 of one that takes images.",
)

command_help.section("How to evaluate")
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size",
    8,
    "Evaluate this many videos at a time. About six times their views are in memory: of 32 frames "
    "and 30 views, 1.2 GB a video.",
    lower_bound=1,
)
_REPLICAS = flags.DEFINE_integer(
    "replicas",
    0,
    "Share each batch between this number of devices of the machine. 0 takes all GPUs.",
    lower_bound=0,
)
_PART = flags.DEFINE_string(
    "part", None, "Evaluate part K of N of the videos only, as in 1/3; see above."
)
_FORMAT = flags.DEFINE_enum(
    "format", None, sorted(FORMATS), "Read shards of this format. By default as in training."
)
_ON_DAMAGE = flags.DEFINE_enum(
    "on_damage",
    None,
    damage.POLICIES,
    "Stop at a damaged record, or leave its video out of the scores. By default as in training.",
)
_ALLOW_OTHER_CONVERSION = flags.DEFINE_bool(
    "allow_other_conversion",
    None,
    "Evaluate also on videos of another frame rate, size or quality than those of the training, "
    "with a warning. By default as in training.",
)
_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "Write the results into this folder. By default into WORK_DIR/evaluation; below that, those of "
    "a checkpoint into a folder of its name, and those of other data into on_NAME.",
)
output_paths.names_folder(_OUTPUT)


def main(arguments: Sequence[str]) -> None:
    if len(arguments) > 1:
        raise ValueError(f"Unknown arguments: {' '.join(arguments[1:])}. See --help.")
    if keras.backend.backend() == "tensorflow":
        gpus.tell_if_missed()
    data, output = _places()
    part = part_of("part", _PART.value)
    strategy = make_strategy(_REPLICAS.value)
    with strategy.scope():
        run = network_choice.clips.opened()
    # Now: a training that goes on replaces or removes the file before the videos are scored.
    checksum = _checksum(run.source)
    views = _VIEWS.value or "{}x{}".format(*run.usual_views)
    num_clips, num_crops = parse_views(views)
    data = data or run.settings["data"]
    # Runs of before there was a choice have no such settings.
    data_format = _FORMAT.value or run.settings.get("format", "records")
    crop_size = run.settings["evaluation_crop_size"]

    index = open_split(data, _SPLIT.value, data_format)
    run.check_classes(index.class_names, data)
    allowed = _ALLOW_OTHER_CONVERSION.value or run.settings.get("allow_other_conversion", False)
    check_conversion(index, run.settings.get("conversion", {}), "the training's videos", allowed)
    batches = evaluation_dataset(
        data,
        _SPLIT.value,
        batch_size=_batch_size(strategy.num_replicas_in_sync) * part.count,
        num_workers=part.count,
        worker_index=part.number - 1,
        num_clips=num_clips,
        num_crops=num_crops,
        num_frames=run.settings["num_frames"],
        span=run.settings["span"],
        crop_size=crop_size,
        short_side=run.settings.get("evaluation_short_side"),
        format=data_format,
        on_damage=_ON_DAMAGE.value or run.settings.get("on_damage", "stop"),
    )
    measured_on = {
        "model": run.settings["model"],
        "weights": run.source,
        "weights_crc32": checksum,
        "data": str(data),
        "format": data_format,
        "split": _SPLIT.value,
        "keys_crc32": zlib.crc32("\n".join(index.keys).encode("utf-8", "surrogateescape")),
        "views": views,
        "num_frames": run.settings["num_frames"],
        "span": run.settings["span"],
        "crop_size": crop_size,
        "short_side": run.settings.get("evaluation_short_side"),
    }
    stem = (output or _folder_of(run, data)) / f"{_SPLIT.value}_{num_clips}x{num_crops}"
    # Before hours of work: they can be told apart by --output.
    check_videos(stem, measured_on)
    if differing := replaced(stem, measured_on):
        words = f"The results in {stem.parent} of {stem.name} will be replaced: {differing}."
        print(command_line.paragraph(words), file=sys.stderr)
    with (
        Progress(_share(len(index), part), "video", f"{num_clips}x{num_crops} views") as progress,
        damage.explained(data),
    ):
        scorer = ViewScorer(run.model, strategy)
        score = scorer.scores if part.is_whole else scorer.scores_of_part
        scores = score(batches, progress.update)

    keys = [index.keys[i] for i in scores.index]
    saved = SavedScores(keys, scores.labels, scores.scores, run.class_names)
    if not part.is_whole:
        stem.parent.mkdir(parents=True, exist_ok=True)
        whole = evaluation_parts.joined(stem, part, saved, measured_on, index.keys)
        if whole is None:
            missing = ", ".join(evaluation_parts.missing(stem, part))
            print(f"Part {_PART.value} is evaluated. The results come with --part={missing}.")
            return
        saved = whole
    counts = {"videos": len(saved.keys), "damaged": len(index) - len(saved.keys)}
    summary = write_results(stem, saved, {**measured_on, **counts})
    if not part.is_whole:
        evaluation_parts.remove(stem, part)
    if summary["damaged"]:
        print(f"{summary['damaged']} damaged videos are left out.", file=sys.stderr)
    print(_as_text(summary, len(run.class_names), stem))


def _as_text(summary: dict, num_classes: int, stem: Path) -> str:
    low, high = summary["top1_interval"]
    # Of five classes or fewer all are among the best five.
    top5 = f"   top-5 {summary['top5']:.2%}" if num_classes > 5 else ""
    return (
        f"top-1 {summary['top1']:.2%} (95 % interval of {summary['videos']} videos: {low:.1%} to "
        f"{high:.1%}){top5}   mean class {summary['mean_class_accuracy']:.2%}\n"
        f"{summary['views']} views of {summary['crop_size']} pixels. Scores of each video, tables "
        f"and pictures: {stem}*"
    )


def _batch_size(replicas: int) -> int:
    """--batch_size, or a little more, so that each replica gets as many videos."""
    return -(-_BATCH_SIZE.value // replicas) * replicas


def _share(videos: int, part: Part) -> int:
    """How many videos the part has; see `evaluation_dataset`."""
    return sum(number in part for number in range(videos))


def _checksum(path: str) -> int:
    """Of a file's content: parts of two networks must not be joined."""
    checksum = 0
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            checksum = zlib.crc32(piece, checksum)
    return checksum


def _places() -> tuple[str | None, Path | None]:
    """Where the data is and the results go, unless the training says it."""
    if network_choice.model() is not None:
        missing = [f"--{flag.name}" for flag in (_DATA, _OUTPUT) if flag.value is None]
        if missing:
            raise ValueError(f"With --model give {' and '.join(missing)} too.")
    return _DATA.value, Path(_OUTPUT.value) if _OUTPUT.value else None


def _folder_of(run: TrainedNetwork, data: str) -> Path:
    """Results of a checkpoint, or of other data, must not pass for those of the training."""
    folder, source = WorkFolder(network_choice.work_dir()), Path(run.source)
    place = folder.evaluation if source == folder.model else folder.evaluation / source.stem
    return folder_of_data(place, data, run.settings["data"])


def parse_views(text: str) -> tuple[int, int]:
    """'10x3' -> (10, 3)."""
    match = re.fullmatch(r"([1-9]\d*)x([13])", text)
    if not match:
        raise ValueError(
            "--views is clips x crops, with 1 or 3 crops, for example 10x3 or 3x1. "
            f"Received: --views={text}"
        )
    return int(match[1]), int(match[2])


if __name__ == "__main__":
    command_line.run(main)
