"""Makes the demonstration's videos, of procedural actions, as H.264 files.

    keras-rms demo-videos --output=DIR --form=quick

writes DIR/train/<class>/<class>_0000.mp4 ... and the same under DIR/validation. Every video depends
only on its class, split and number, the seed, the size and the length, so any one can be made again
by itself (`demo_rendering.render_video`). Run again, the command makes what is missing. `quick` is
the dataset of the first command in README.md; `comparison` has more classes and more validation
videos, to tell regularisers apart.
"""

import dataclasses
import re
from collections.abc import Sequence

from absl import flags

from pipelines.demo.demo_dataset import FORMS, make_dataset
from pipelines.system import command_help, command_line, output_paths


def _define_flags() -> None:
    # Not at import: a module that is imported must not claim flag names.
    command_help.section("What to make")
    output = flags.DEFINE_string(
        "output", None, "Write the folders train and validation into this folder.", required=True
    )
    output_paths.names_folder(output)
    flags.DEFINE_enum("form", "quick", list(FORMS), "Make this form of the dataset.")
    flags.DEFINE_integer(
        "seed", 0, "Derive the whole dataset from this number; another one gives other videos."
    )
    flags.DEFINE_integer(
        "train_per_class", None, "Make this many training videos of each class, not the form's."
    )
    flags.DEFINE_integer(
        "validation_per_class",
        None,
        "Make this many validation videos of each class, not the form's.",
    )
    flags.DEFINE_string(
        "size", "96x72", "Make videos of this width x height, in pixels, both even."
    )
    flags.DEFINE_float("seconds", 3.0, "Make videos of this many seconds, at 25 frames a second.")

    command_help.section("How to make it")
    flags.DEFINE_integer(
        "workers", None, "Make videos in this many processes. By default one for each core."
    )


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
