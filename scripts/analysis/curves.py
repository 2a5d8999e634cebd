"""Training and validation accuracy by epoch, of several runs (the paper's Fig. 3).

Reads the log.csv of each folder of --work_dir; no network is needed, and a run may still be going
on. The gap in the legend is that of the last epoch: training accuracy, with augmentation and noise
on as in the paper, minus validation accuracy.
"""

from analysis import outputs, training_curves


def run() -> None:
    names = outputs.run_names()
    rows = [
        row
        for name, folder in zip(names, outputs.folders())
        for row in training_curves.read(name, folder)
    ]
    outputs.write("curves", training_curves.COLUMNS, rows, training_curves.picture(rows))
