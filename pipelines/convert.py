"""Converts the videos of a dataset into TFRecord shards of JPEG frames.

    keras-rms convert --dataset=folder --videos=DIR --split=train --output=OUT
    keras-rms convert --dataset=csv --videos=DIR --annotations=LIST --split=test \\
        --output=OUT

    keras-rms convert --dataset=kinetics400 --videos=DIR --annotations=LISTS --dry_run \\
        --split=train,validation

The first takes DIR/<class>/<video> or DIR/<split>/<class>/<video>, the second a list of lines
`path,label`, the third says what a conversion of Kinetics would do: counts, missing files, leaks
between splits, size and time.

Images are converted too, each as a video of one frame: `--dataset=image_folder` takes
DIR/<split>/<class>/<image> of JPEG and PNG files (ImageNet's validation images have to be sorted
into folders of classes first), and `--dataset=cifar100` the folder of cifar-100-python.tar.gz or
Keras's ~/.keras/datasets. pipelines/README.md says how to get such folders out of TensorFlow
Datasets.

    keras-rms convert --dataset=cifar100 --videos=$HOME/.keras/datasets \\
        --split=train,validation --output=OUT

OUT receives `<split>-00000-of-000NN.tfrecord`, an index and a manifest `<split>.json` with counts,
settings and failures, and `labels.txt`, which the splits of one folder share. A `.json` beside each
shard marks it as finished.

A video that cannot be decoded is named with its cause, counted and left out. Stop the command at
any moment and run it again: it goes on after the shards that are finished.

Several machines share a split by --shards=1/3, 2/3 and 3/3, with the same other flags.

--runner=DirectRunner|FlinkRunner|SparkRunner|DataflowRunner converts on Apache Beam; its own
options follow after `--`, e.g. `-- --direct_num_workers=8 --direct_running_mode=multi_processing`.
"""

import collections
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

if not __package__:  # run as a script, whose own folder Python has put first
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from pipelines.system import quiet_tensorflow  # noqa: F401  (before what imports TensorFlow)

# isort: split
from absl import flags

from pipelines.conversion import conversion_job, conversion_plan, dry_run, split_plans
from pipelines.frames import isolated_reader, jpeg_encoders
from pipelines.layouts import annotations, catalog
from pipelines.shards import split_index
from pipelines.system import command_help, command_line
from pipelines.system.parts import part_of

_SHOWN_FAILURES = 20
_SHOWN_NOTES = 5


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


def _print_notes(notes: Sequence[dict], manifest: str) -> None:
    for note in notes[:_SHOWN_NOTES]:
        print(f"look at: {note['path']}: {'; '.join(note['notes'])}", file=sys.stderr)
    if len(notes) > _SHOWN_NOTES:
        print(
            f"... and {len(notes) - _SHOWN_NOTES} more to look at, all in {manifest}.",
            file=sys.stderr,
        )


def main(arguments: Sequence[str]) -> int:
    options = flags.FLAGS
    if options.runner == conversion_job.LOCAL and len(arguments) > 1:
        raise ValueError(f"All options begin with --. Received: {' '.join(arguments[1:])}")
    conversion = split_plans.Conversion(
        source=annotations.Source(
            videos=options.videos,
            annotations=options.annotations,
            split_number=options.split_number,
            validation_share=options.validation_share,
        ),
        dataset=options.dataset,
        output=options.output,
        splits=tuple(dict.fromkeys(options.split.split(","))),
        settings=conversion_plan.Settings(
            fps=options.fps,
            upscale=options.upscale,
            encoder=options.encoder,
            **_size_and_quality(options.dataset),
        ),
        num_shards=options.num_shards,
        timeout=options.timeout,
        overwrite=options.overwrite,
        part=part_of("shards", options.shards),
    )
    if options.dry_run:
        return _describe(conversion)
    began = time.monotonic()
    runner = conversion_job.Runner(options.runner, options.workers, tuple(arguments[1:]))
    manifests = conversion_job.convert_splits(conversion, runner)
    for split, manifest in manifests.items():
        _summarize(manifest, split_index.manifest_path(options.output, split))
    print(f"Done after {time.monotonic() - began:.0f} s.")
    allowed = options.max_failures
    if allowed is None:
        allowed = catalog.USUAL_FAILURES.get(options.dataset, catalog.DEFAULT_USUAL_FAILURES)
    for split, manifest in manifests.items():
        _check_failures(split, manifest, allowed)
    return 0


def _size_and_quality(dataset: str) -> dict[str, Any]:
    options = flags.FLAGS
    settings = dict(catalog.USUAL_SETTINGS.get(dataset, catalog.DEFAULT_USUAL_SETTINGS))
    if options.short_side is not None:
        # A flag cannot be None: 0 stands for it.
        settings["short_side"] = options.short_side or None
    if options.quality is not None:
        settings["quality"] = options.quality
    return settings


def _describe(conversion: split_plans.Conversion) -> int:
    with split_plans.planned(conversion) as splits:
        print(dry_run.describe(splits, flags.FLAGS.workers))
        splits.check_leaks()
        splits.check_missing()
    return 0


def _summarize(manifest: Mapping, path: str) -> None:
    _print_failures(manifest["failures"], path)
    _print_notes(manifest["notes"], path)
    size = sum(shard["bytes"] for shard in manifest["shards"])
    print(
        f"{manifest['split']}: {manifest['num_videos']} videos of {manifest['num_classes']} "
        f"classes, {manifest['num_frames']} frames, {size / 1e9:.3f} GB in "
        f"{len(manifest['shards'])} shards; {manifest['num_failures']} failed."
    )


def _check_failures(split: str, manifest: Mapping, allowed: float) -> None:
    # Of the listed ones, those that are missing among them.
    share = manifest["num_failures"] / manifest["num_listed"]
    if share > allowed:
        raise ValueError(
            f"{manifest['num_failures']} of the {manifest['num_listed']} videos of {split!r} "
            f"({share:.1%}) could not be converted, more than --max_failures={allowed:g}. What was "
            "converted is kept. Mend the videos, or accept the loss with "
            f"--max_failures={math.ceil(share * 1000) / 1000:g}; the finished shards are not "
            "converted again."
        )


def _define_flags() -> None:
    command_help.section("What to convert")
    flags.DEFINE_enum("dataset", None, list(catalog.LAYOUTS), "Expect files in this layout.")
    flags.DEFINE_string(
        "videos", None, "Read videos from this folder, and nothing that lies outside it."
    )
    flags.DEFINE_string(
        "annotations", None, "Read the dataset's list, or the folder of its lists, as published."
    )
    flags.DEFINE_string(
        "split", "train", "Convert this split, or several that are separated by commas."
    )
    flags.DEFINE_integer(
        "split_number", 1, "Take the published split of this number, of ucf101 and hmdb51."
    )
    flags.DEFINE_float(
        "validation_share",
        0.2,
        "Leave about this share of each class to validation, of folder and image_folder. 0 takes "
        "every video.",
        lower_bound=0,
    )

    command_help.section("What to write")
    flags.DEFINE_string(
        "output", None, "Write to this folder, which may be gs:// or another scheme."
    )
    flags.DEFINE_bool(
        "overwrite",
        False,
        "Replace a finished split even if the settings are others than before, or if videos that "
        "it holds are not listed any more.",
    )
    flags.DEFINE_float("fps", 25, "Write this many frames a second, by the clock.")
    flags.DEFINE_integer(
        "short_side",
        None,
        "Scale the shorter side to this many pixels; 0 keeps the size. By default 256, and 0 for "
        "images.",
    )
    flags.DEFINE_bool("upscale", True, "Scale smaller videos up to --short_side.")
    flags.DEFINE_integer(
        "quality",
        None,
        "Compress JPEGs with this quantiser, a number from 1 (best) to 31 (smallest). By default "
        "4, and 1 for images. JPEG images that keep their size also keep every byte.",
    )
    flags.DEFINE_enum(
        "encoder",
        jpeg_encoders.LIBAV,
        jpeg_encoders.ENCODERS,
        "Compress frames of videos with libav's encoder or with libjpeg-turbo's, which takes less "
        "time and more bytes and needs pip install 'keras_rms[turbo]'.",
    )
    flags.DEFINE_integer(
        "num_shards",
        None,
        "Write this many shards (files). By default one for 128 videos or some thousand images, at "
        "least 16.",
        1,
    )

    command_help.section("How to convert")
    flags.DEFINE_bool(
        "dry_run",
        False,
        "Convert nothing: print counts per split and class, missing files, leaks between splits, "
        "and the size and time to expect.",
    )
    flags.DEFINE_integer(
        "workers",
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "Convert this many shards at the same time, by default one for each core. The result does "
        "not depend on it.",
        lower_bound=1,
    )
    flags.DEFINE_string(
        "shards",
        "1/1",
        "Convert part K of N, as in 2/3, while other machines convert the others into the same "
        "--output. Every machine must see the same videos. The part that ends last completes the "
        "split.",
    )
    flags.DEFINE_float(
        "max_failures",
        None,
        "End with status 1 if more than this share of the videos is missing or damaged. By default "
        "0.01, and 0.2 for Kinetics, where that is usual.",
        0,
        1,
    )
    flags.DEFINE_float(
        "timeout",
        isolated_reader.DEFAULT_TIMEOUT,
        "Give a video up after this many seconds.",
        lower_bound=0.001,
    )
    flags.DEFINE_string(
        "runner",
        conversion_job.LOCAL,
        "Convert on this machine (local), or by this runner of Apache Beam, whose own options "
        "follow after --.",
    )
    flags.mark_flags_as_required(["dataset", "videos"])


if __name__ == "__main__":
    _define_flags()
    command_line.run(main)
