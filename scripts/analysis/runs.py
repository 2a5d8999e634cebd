"""Opening the network of a run for a command that looks at it."""

import sys

from keras_rms.inference.trained_network import TrainedNetwork, open_run
from pipelines.system import command_line


def opened(work_dir: str) -> TrainedNetwork:
    """`open_run`; what is to be known, as that a training is unfinished, goes to standard error."""
    run = open_run(work_dir)
    for note in run.notes:
        print(command_line.paragraph(note), file=sys.stderr)
    return run
