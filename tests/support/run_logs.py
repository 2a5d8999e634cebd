"""What the three logs of a run hold."""

import csv
import functools

import pytest
import tensorflow as tf
from small_dataset import read_lines


def table(folder):
    with open(folder / "log.csv", newline="") as file:
        return [
            (int(row["epoch"]), int(row["step"]), float(row["loss"]))
            for row in csv.DictReader(file)
        ]


def lines(folder, kind):
    return [
        (line["epoch"], line["step"], line["loss"])
        for line in read_lines(folder / "log.jsonl")
        if line["kind"] == kind
    ]


def check_agreement(folder, steps, epochs):
    """All three hold exactly these (step, loss), each once and in order."""
    assert [(step, loss) for _, step, loss in lines(folder, "train")] == steps
    assert table(folder) == lines(folder, "epoch") == epochs
    # TensorBoard has float32, the others seven digits.
    same = functools.partial(pytest.approx, rel=1e-6)
    assert board(folder, "train/loss") == [(step, same(loss)) for step, loss in steps]
    assert board(folder, "epoch/loss") == [(step, same(loss)) for _, step, loss in epochs]
    assert len(board(folder, "epoch/validation_top1")) == len(epochs)


def board(folder, tag):
    """The (step, value) of a tag over all files of events, oldest file first."""
    found = []
    for path in sorted((folder / "tensorboard").glob("*tfevents*"), key=_age):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            found += [
                (event.step, float(tf.make_ndarray(value.tensor)))
                for value in event.summary.value
                if value.tag == tag
            ]
    return found


def _age(path):
    """The second, and the number in its process, of `...tfevents.SECOND.HOST.PROCESS.NUMBER.v2`."""
    parts = path.name.split(".")
    return int(parts[3]), int(parts[-2])
