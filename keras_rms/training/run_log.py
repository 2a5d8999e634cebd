"""What a run writes while it trains: CSV, JSON lines, TensorBoard, and the line on the screen."""

import csv
import io
import json
import sys
import time
from pathlib import Path
from typing import TextIO

import keras
import tensorflow as tf

from keras_rms.training.checkpointing import write_whole

COLUMNS = (
    "epoch",
    "step",
    "learning_rate",
    "loss",
    "top1",
    "validation_loss",
    "validation_top1",
    "validation_top5",
    "clips_per_second",
    "data_wait",
    "seconds",
)


class RunLog(keras.callbacks.Callback):
    """Writes log.csv (a row an epoch), log.jsonl (also a line a call) and tensorboard/.

    A run that continues from an earlier step than the last one logged (it was killed after its last
    checkpoint) first removes the rows that it is going to write again.

    Args:
        work_dir: Where the files go.
        step: Steps taken before.
    """

    def __init__(self, work_dir: str | Path, step: int = 0) -> None:
        super().__init__()
        folder = Path(work_dir)
        self._table = folder / "log.csv"
        self._lines = folder / "log.jsonl"
        _keep(self._table, self._rows_until(step))
        _keep(self._lines, self._lines_until(step))
        self._board = tf.summary.create_file_writer(str(folder / "tensorboard"))

    def _rows_until(self, step: int) -> str:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        if self._table.exists():
            with open(self._table, newline="") as file:
                for row in csv.DictReader(file):
                    # A row cut off by a kill has no last column.
                    if row["seconds"] is not None and int(row["step"]) <= step:
                        writer.writerow(row)
        return text.getvalue()

    def _lines_until(self, step: int) -> str:
        kept = []
        if self._lines.exists():
            for line in self._lines.read_text().splitlines(keepends=True):
                if line.endswith("\n") and json.loads(line)["step"] <= step:
                    kept.append(line)
        return "".join(kept)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self._append_line("train", logs)
        self._show("train", logs)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        with open(self._table, "a", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n", extrasaction="ignore")
            writer.writerow(_plain(logs))
        self._append_line("epoch", logs)
        self._show("epoch", logs)
        self._board.flush()

    def on_train_end(self, logs: dict | None = None) -> None:
        self._board.close()

    def _append_line(self, kind: str, logs: dict) -> None:
        values = _plain(logs)
        with open(self._lines, "a") as file:
            file.write(json.dumps({"kind": kind, **values}) + "\n")

    def _show(self, kind: str, logs: dict) -> None:
        with self._board.as_default(step=int(logs["step"])):
            for name, value in logs.items():
                if name not in ("step", "epoch", "seconds"):
                    tf.summary.scalar(f"{kind}/{name}", value)


def _keep(path: Path, text: str) -> None:
    write_whole(path, lambda file: file.write(text.encode()))


def _plain(logs: dict) -> dict:
    """`logs` for people: Keras has made all of them floats with digits beyond float32."""
    counts = ("epoch", "step")
    return {
        name: int(value) if name in counts else float(f"{value:.7g}")
        for name, value in logs.items()
    }


class ProgressLine(keras.callbacks.Callback):
    """One line with loss, top-1, clips/s, time left and the share of time spent waiting for data.

    On a terminal the line is rewritten in place; elsewhere one is printed every `interval` seconds.

    Args:
        epochs, steps_per_epoch: Length of the training.
        interval: Seconds between two lines.
        file: Where to print.
    """

    def __init__(
        self,
        epochs: int,
        steps_per_epoch: int,
        interval: float = 10.0,
        file: TextIO | None = None,
    ) -> None:
        super().__init__()
        self._epochs = epochs
        self._steps_per_epoch = steps_per_epoch
        self._file = file or sys.stdout
        self._rewrites = self._file.isatty()
        self._interval = 0.2 if self._rewrites else interval
        self._last = 0.0

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        now = time.monotonic()
        if now - self._last >= self._interval:
            self._last = now
            self._print(self._text(logs), lasting=not self._rewrites)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        text = (
            f"epoch {epoch + 1}/{self._epochs} done: loss {logs['loss']:.4f}, "
            f"top-1 {logs['top1']:.1%}"
        )
        if "validation_top1" in logs:
            text += (
                f"; validation loss {logs['validation_loss']:.4f}, "
                f"top-1 {logs['validation_top1']:.1%}, top-5 {logs['validation_top5']:.1%}"
            )
        self._print(f"{text}; {logs['seconds']:.1f} s", lasting=True)

    def _text(self, logs: dict) -> str:
        epoch, step = int(logs["epoch"]), int(logs["step"])
        wait = f"data wait {logs['data_wait']:.0%}  " if "data_wait" in logs else ""
        done = step - (epoch - 1) * self._steps_per_epoch
        return (
            f"epoch {epoch}/{self._epochs}  step {done}/{self._steps_per_epoch}  "
            f"loss {logs['loss']:.4f}  top-1 {logs['top1']:.1%}  "
            f"{logs['clips_per_second']:.1f} clips/s  {wait}"
            f"{duration(logs['seconds_left'])} left"
        )

    def _print(self, text: str, lasting: bool) -> None:
        if self._rewrites:
            text = "\r\x1b[K" + text
        print(text, end="\n" if lasting else "", file=self._file, flush=True)


def duration(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
