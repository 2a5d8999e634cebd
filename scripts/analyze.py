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

import importlib
import sys

from absl import flags

from pipelines.system import command_line

ANALYSES = ("curves", "frequency", "alpha", "spectrum")


def main(argv: list[str]) -> None:
    if len(argv) != 2 or argv[1] not in ANALYSES:
        raise ValueError(
            f"Name one analysis: {', '.join(ANALYSES)}. Received: {' '.join(argv[1:]) or 'none'}"
        )
    sys.modules[f"analysis.{argv[1]}"].run()


if __name__ == "__main__":
    # Imported before the flags are read, since each analysis defines its own.
    for analysis in ANALYSES:
        if analysis in sys.argv[1:]:
            importlib.import_module("pipelines.system.quiet_tensorflow")
            __doc__ = importlib.import_module(f"analysis.{analysis}").__doc__
            for name in [name for name in sys.modules if name.startswith("analysis.")]:
                flags.adopt_module_key_flags(sys.modules[name])
            break
    command_line.run(main)
