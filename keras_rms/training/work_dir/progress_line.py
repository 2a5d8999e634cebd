"""The line on the screen while a run trains."""

import math
import sys
import time
from typing import TextIO

import keras


class ProgressLine(keras.callbacks.Callback):
    """One line with loss, top-1, clips/s, time left and the share of time spent waiting for data.

    Before the first of these it says that the first step compiles the network. On a terminal the
    line is rewritten in place; elsewhere one is printed every `interval` seconds.

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
        self._last = -math.inf
        self._compiles = True

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        if self._compiles:
            self._compiles = False
            self._print("The first step compiles the network and takes longer.", lasting=True)

    def on_train_batch_end(self, batch: int, logs: dict) -> None:
        now = time.monotonic()
        if now - self._last >= self._interval:
            self._last = now
            self._print(self._text(logs), lasting=not self._rewrites)

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
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
