"""Shows what trained networks do, as a picture and a table.

    keras-rms analyze ANALYSIS --work_dir=runs/plain,runs/rms --output=analysis

ANALYSIS is one of
    curves     training and validation accuracy by epoch (the paper's Fig. 3)
    frequency  accuracy against the scale of low and of high frequencies (Fig. 1 and 4)
    alpha      what Random Mean Scaling drew, by layer
    spectrum   the energy of features by frequency

Each writes ANALYSIS.png and ANALYSIS.csv into --output.
An analysis's own words and flags are shown by `keras-rms analyze ANALYSIS --help`.
"""

from absl import flags

from analysis import outputs
from pipelines.system import command_line, command_parts

flags.adopt_module_key_flags(outputs)

ANALYSES = ("curves", "frequency", "alpha", "spectrum")


def main(argv: list[str]) -> None:
    command_parts.part_of(argv[1:], "analysis", ANALYSES).run()


if __name__ == "__main__":
    for module in command_parts.import_part("analysis", ANALYSES):
        flags.adopt_module_key_flags(module)
    command_line.run(main)
