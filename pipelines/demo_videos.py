"""Makes the demonstration dataset: procedural action videos as real H.264 files.

    python pipelines/demo_videos.py --output=DIR --form=quick

writes DIR/train/<class>/<class>_0000.mp4 ... and the same under DIR/validation. Every video depends
only on its class, split and number, the seed, the size and the length, so any one can be made again
by itself (`demo_rendering.render_video`). Run again, the command makes what is missing. `quick` is
the dataset of the first command in the README; `comparison` has more classes and more validation
videos, to tell regularisers apart.
"""

import dataclasses
import re
from collections.abc import Sequence

from absl import flags

from pipelines.demo.demo_dataset import FORMS, make_dataset
from pipelines.system import command_line


def _define_flags() -> None:
    # Not at import: a module that is imported must not claim flag names.
    flags.DEFINE_string(
        "output", None, "Folder to write train/ and validation/ into.", required=True
    )
    flags.DEFINE_enum("form", "quick", list(FORMS), "Which form of the dataset to make.")
    flags.DEFINE_integer("seed", 0, "Seed of the whole dataset; another gives other videos.")
    flags.DEFINE_integer("train_per_class", None, "Training videos of each class, not the form's.")
    flags.DEFINE_integer(
        "validation_per_class", None, "Validation videos of each class, not the form's."
    )
    flags.DEFINE_string("size", "96x72", "Width x height of the videos in pixels, both even.")
    flags.DEFINE_float("seconds", 3.0, "Length of each video, at 25 frames a second.")
    flags.DEFINE_integer("workers", None, "Processes that make videos; all cores by default.")


def main(arguments: Sequence[str]) -> None:
    values = flags.FLAGS
    if len(arguments) > 1:
        raise ValueError(f"Only flags are understood. Received: {' '.join(arguments[1:])}")
    size = re.fullmatch(r"(\d+)x(\d+)", values.size)
    if not size:
        raise ValueError(f"--size must be WIDTHxHEIGHT, as 96x72. Received: size={values.size}")
    changes = {
        name: getattr(values, name)
        for name in ("train_per_class", "validation_per_class")
        if getattr(values, name) is not None
    }
    form = dataclasses.replace(FORMS[values.form], **changes)
    made = make_dataset(
        values.output,
        form,
        seed=values.seed,
        width=int(size[1]),
        height=int(size[2]),
        seconds=values.seconds,
        workers=values.workers,
    )
    print(
        f"{values.output}: {len(form.classes)} classes, each with {form.train_per_class} training "
        f"and {form.validation_per_class} validation videos ({made} new)."
    )


if __name__ == "__main__":
    _define_flags()
    command_line.run(main)
