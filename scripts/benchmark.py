"""Measures the speed of a part of the package, its floor and its rivals.

    keras-rms benchmark PART [--json=FILE]
    keras-rms benchmark layer --backend=jax
    keras-rms benchmark models --backend=jax --networks=slow_only_50 --batch_size=32 \\
        --crop_size=224 --rms=none --rms=mean --dtype=mixed_bfloat16

PART is one of
    layer      Random Mean Scaling beside the plain way of writing it and beside scaling alone
    models     the networks' forward pass and training step
    depthwise  depthwise 3D convolution in its formulations
    input      reading, decoding and cropping training clips
    convert    converting videos to records

All ways are measured in turns, so that a change of the machine's load touches all of them alike.
The result is a Markdown table with the machine, its processor's instruction sets, whether oneDNN is
on, and the versions; --json also writes it to a file. layer, models and depthwise take --backend:
on JAX and PyTorch they run where TensorFlow is not installed.
A part's own flags are listed by `keras-rms benchmark PART --help`.
"""

import contextlib
import os
import sys
from collections.abc import Sequence

from absl import flags

from pipelines.system import command_help, command_line, command_parts, output_paths

BACKENDS = ("tensorflow", "jax", "torch")
PARTS = ("layer", "models", "depthwise", "input", "convert")

command_help.section("Where to measure")
flags.DEFINE_enum(
    "backend", None, BACKENDS, "Measure on this backend of Keras. By default on KERAS_BACKEND's."
)

command_help.section("What to write")
_JSON = flags.DEFINE_string("json", None, "Also write the measurements to this file, as JSON.")
output_paths.names_file(_JSON)


def main(argv: list[str]) -> None:
    command_parts.part_of(argv[1:], "benchmarks", PARTS).run(_JSON.value)


def choose_backend(words: Sequence[str]) -> None:
    """Sets what Keras reads while it is imported, which is before flags are."""
    values = flags.FlagValues()
    flags.DEFINE_enum("backend", None, BACKENDS, "", flag_values=values)
    values.set_gnu_getopt()
    with contextlib.suppress(flags.Error):  # the command itself will say what is wrong
        values(list(words), known_only=True)
        if values.backend:
            os.environ["KERAS_BACKEND"] = values.backend


if __name__ == "__main__":
    choose_backend(sys.argv)
    for module in command_parts.import_part("benchmarks", PARTS):
        flags.adopt_module_key_flags(module)
    command_line.run(main)
