"""How far a long piece of work is: a bar on a terminal, now and then a line in a log."""

import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, TextIO, TypeVar

import tqdm

Item = TypeVar("Item")


class Progress:
    """Counts what is done and shows it, on stderr.

    On a terminal that is tqdm's bar, rewritten in place. Elsewhere tqdm would fill a log with
    carriage returns: there a line like the bar's text is printed every `interval` seconds and at
    the end.

    Example:

    >>> with Progress(len(videos), "video", "train") as progress:
    ...     for video in videos:
    ...         convert(video)
    ...         progress.update()

    Args:
        total: How many there are; None where that is not known.
        unit: What is counted.
        title: Printed before the numbers.
        done: How many of the total are done already.
        interval: Seconds between two lines.
        file: Where to print.

    Attributes:
        count: How many are done.
        total: As given.
    """

    def __init__(
        self,
        total: int | None,
        unit: str,
        title: str = "",
        *,
        done: int = 0,
        interval: float = 10.0,
        file: TextIO | None = None,
    ) -> None:
        self.total = total
        self.count = done
        self._file = file or sys.stderr
        self._interval = interval
        self._started = self._last = time.monotonic()
        # The last count that was shown: the end repeats it only where it has changed.
        self._printed: int | None = None
        texts: dict[str, Any] = {"unit": unit, "initial": done}
        if total is None:  # tqdm's own text has no space there: 3window
            texts["bar_format"] = (
                "{desc}: " if title else ""
            ) + "{n_fmt} {unit} [{elapsed}, {rate_fmt}]"
        self._line = {**texts, "prefix": title, "ncols": 0}
        self._bar = None
        if self._file.isatty():
            self._bar = tqdm.tqdm(total=total, desc=title or None, file=self._file, **texts)

    def update(self, count: int = 1) -> None:
        """Adds `count` to what is done."""
        self.count += count
        if self._bar is not None:
            self._bar.update(count)
        elif time.monotonic() - self._last >= self._interval:
            self._print()

    def complete(self) -> None:
        """Adds what is left of the total."""
        if self.total is not None:
            self.update(self.total - self.count)

    def close(self) -> None:
        """Shows the last state; nothing may follow."""
        if self._bar is not None:
            self._bar.close()
        elif self._printed != self.count:
            self._print()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _print(self) -> None:
        self._last, self._printed = time.monotonic(), self.count
        seconds = self._last - self._started
        text = tqdm.tqdm.format_meter(self.count, self.total, seconds, **self._line)
        print(text, file=self._file, flush=True)


def over(items: Sequence[Item], unit: str, title: str = "") -> Iterator[Item]:
    """The items one after the other, while their progress is shown."""
    with Progress(len(items), unit, title) as progress:
        for item in items:
            yield item
            progress.update()


def write(text: str) -> None:
    """Prints to stdout without tearing a bar that is on the terminal."""
    tqdm.tqdm.write(text)
