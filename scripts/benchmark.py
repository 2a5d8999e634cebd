"""Measures the speed of a part of the package, its floor and its rivals.

    keras-rms benchmark PART [--json=FILE]

PART is one of
    layer      Random Mean Scaling beside the plain way of writing it and beside scaling alone
    models     the networks' forward pass and training step
    depthwise  depthwise 3D convolution in its formulations
    input      reading, decoding and cropping training clips
    convert    converting videos to records

All ways are measured in turns, so that a change of the machine's load touches all of them alike.
The result is a Markdown table with the machine, its processor's instruction sets, whether oneDNN is
on, and the versions; --json also writes it to a file.
A part's own flags are listed by `keras-rms benchmark PART --help`.
"""

import importlib
import sys

from absl import flags

from pipelines.system import command_help, command_line

PARTS = ("layer", "models", "depthwise", "input", "convert")

command_help.section("What to write")
_JSON = flags.DEFINE_string("json", None, "Also write the measurements to this file, as JSON.")


def main(argv: list[str]) -> None:
    if len(argv) != 2:
        raise ValueError(
            f"Name one part: {', '.join(PARTS)}. Received: {' '.join(argv[1:]) or 'none'}"
        )
    sys.modules[f"benchmarks.{argv[1]}"].run(_JSON.value)


if __name__ == "__main__":
    # Imported before the flags are read, since each part defines its own.
    for part in PARTS:
        if part in sys.argv[1:]:
            importlib.import_module("pipelines.system.quiet_tensorflow")
            flags.adopt_module_key_flags(importlib.import_module(f"benchmarks.{part}"))
            break
    command_line.run(main)
