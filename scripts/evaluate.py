"""Evaluates a trained network over several views of each video, 30 by default.

    keras-rms evaluate --work_dir=runs/rms --data=data --views=10x3
    keras-rms evaluate --model=slow_only_50.keras --data=kinetics400 --output=evaluation

The network is that of a training, finished or not, or one that keras-rms import-weights wrote.
Prints top-1 and top-5 accuracy and writes into WORK_DIR/evaluation/ (or --output):
    <split>_10x3.json  the accuracies and what they were measured on
    <split>_10x3.csv   a line a video: key, label, the five best classes with their probabilities
    <split>_10x3.npz   keys, labels and the probability of every class for every video
"""

import csv
import io
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from pipelines.system import quiet_tensorflow  # noqa: F401  (before what imports TensorFlow)

# isort: split
import keras
import network_choice.clips
import numpy as np
from absl import flags

from keras_rms.inference.scores import Scores
from keras_rms.inference.trained_network import TrainedNetwork
from keras_rms.inference.view_scores import ViewScorer
from keras_rms.training.work_dir.work_folder import WorkFolder
from pipelines.input import damage, evaluation_dataset, open_split
from pipelines.input.splits import FORMATS, check_conversion
from pipelines.system import command_help, command_line, filesystems, gpus
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
    "crop is the centre. By default 10x3, and 1x1 of a network that takes images.",
)

command_help.section("How to evaluate")
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size",
    8,
    "Evaluate this many videos at a time. About six times their views are in memory: of 32 frames "
    "and 30 views, 1.2 GB a video.",
    lower_bound=1,
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
    "Write the results into this folder. By default into WORK_DIR/evaluation, and those of a "
    "checkpoint into a folder of its name below that.",
)


def main(arguments: Sequence[str]) -> None:
    if len(arguments) > 1:
        raise ValueError(f"Unknown arguments: {' '.join(arguments[1:])}. See --help.")
    if keras.backend.backend() == "tensorflow":
        gpus.tell_if_missed()
    data, output = _places()
    run = network_choice.clips.opened()
    views = _VIEWS.value or ("1x1" if run.takes_images else "10x3")
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
        batch_size=_BATCH_SIZE.value,
        num_clips=num_clips,
        num_crops=num_crops,
        num_frames=run.settings["num_frames"],
        span=run.settings["span"],
        crop_size=crop_size,
        short_side=run.settings.get("evaluation_short_side"),
        format=data_format,
        on_damage=_ON_DAMAGE.value or run.settings.get("on_damage", "stop"),
    )
    with (
        Progress(len(index), "video", f"{num_clips}x{num_crops} views") as progress,
        damage.explained(data),
    ):
        scores = ViewScorer(run.model).scores(batches, progress.update)

    summary = {
        "model": run.settings["model"],
        "weights": run.source,
        "data": str(data),
        "split": _SPLIT.value,
        "videos": len(scores.labels),
        "damaged": len(index) - len(scores.labels),
        "views": views,
        "crop_size": crop_size,
        "top1": scores.top_k(1),
        "top5": scores.top_k(5),
    }
    stem = (output or _folder_of(run)) / f"{_SPLIT.value}_{num_clips}x{num_crops}"
    write_results(stem, summary, scores, [index.keys[i] for i in scores.index], run)
    if summary["damaged"]:
        print(f"{summary['damaged']} damaged videos are left out.", file=sys.stderr)
    print(
        f"top-1 {summary['top1']:.2%}   top-5 {summary['top5']:.2%}   "
        f"({summary['videos']} videos of {_SPLIT.value}, {views} views of {crop_size} "
        f"pixels)\nScores of each video: {stem}.csv"
    )


def _places() -> tuple[str | None, Path | None]:
    """Where the data is and the results go, unless the training says it."""
    if network_choice.model() is not None:
        missing = [f"--{flag.name}" for flag in (_DATA, _OUTPUT) if flag.value is None]
        if missing:
            raise ValueError(f"With --model give {' and '.join(missing)} too.")
    return _DATA.value, Path(_OUTPUT.value) if _OUTPUT.value else None


def _folder_of(run: TrainedNetwork) -> Path:
    """Results of a checkpoint must not pass for those of the finished network."""
    folder, source = WorkFolder(network_choice.work_dir()), Path(run.source)
    return folder.evaluation if source == folder.model else folder.evaluation / source.stem


def parse_views(text: str) -> tuple[int, int]:
    """'10x3' -> (10, 3)."""
    match = re.fullmatch(r"([1-9]\d*)x([13])", text)
    if not match:
        raise ValueError(
            "--views is clips x crops, with 1 or 3 crops, for example 10x3 or 3x1. "
            f"Received: --views={text}"
        )
    return int(match[1]), int(match[2])


def write_results(
    stem: Path, summary: dict, scores: Scores, keys: list[str], run: TrainedNetwork
) -> None:
    """Writes the three files of the results, each whole or not at all."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    table, arrays = io.StringIO(), io.BytesIO()
    rows = csv.writer(table)
    best = np.argsort(-scores.scores, axis=1, kind="stable")[:, :5]
    ranks = range(1, best.shape[1] + 1)
    rows.writerow(["key", "label", *(f"{part}_{k}" for k in ranks for part in ("class", "score"))])
    for key, label, row, classes in zip(keys, scores.labels, scores.scores, best):
        ranked = [cell for c in classes for cell in (run.class_names[c], f"{row[c]:.6f}")]
        rows.writerow([key, run.class_names[label], *ranked])
    np.savez_compressed(
        arrays,
        keys=np.array(keys),
        labels=scores.labels,
        scores=scores.scores,
        class_names=np.array(run.class_names),
    )
    contents = {
        ".csv": table.getvalue().encode(),
        ".npz": arrays.getvalue(),
        ".json": json.dumps(summary, indent=1).encode(),
    }
    for ending, content in contents.items():
        filesystems.write_file(str(stem.with_name(stem.name + ending)), content)


if __name__ == "__main__":
    command_line.run(main)
