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

from absl import flags

from pipelines.system import command_help, command_line, command_parts

PARTS = ("layer", "models", "depthwise", "input", "convert")

command_help.section("What to write")
_JSON = flags.DEFINE_string("json", None, "Also write the measurements to this file, as JSON.")


def main(argv: list[str]) -> None:
    command_parts.part_of(argv[1:], "benchmarks", PARTS).run(_JSON.value)


if __name__ == "__main__":
    for module in command_parts.import_part("benchmarks", PARTS):
        flags.adopt_module_key_flags(module)
    command_line.run(main)
