"""Where a training stands, and how fast it moves."""

import dataclasses
import math

from keras_rms.training.loop.train_step import SUMS


@dataclasses.dataclass
class Position:
    """All that the loop has to remember beside the variables; plain data, saved as JSON.

    Attributes:
        step: Steps taken.
        finished_epochs: Epochs that are validated and logged. The last step of an epoch belongs to
            it until then.
        sums: Of the current epoch; see `train_step.SUMS`.
        wait: Seconds of the current epoch in which this process waited for data.
        seconds: Length of the current epoch so far.
        best: Highest validation accuracy so far.
        since_best: Validations since then, as early stopping counts them.
    """

    step: int = 0
    finished_epochs: int = 0
    sums: list[float] = dataclasses.field(default_factory=lambda: [0.0] * len(SUMS))
    wait: float = 0.0
    seconds: float = 0.0
    best: float = -1.0
    since_best: int = 0

    def advance(self, steps: int, sums: list[float], wait: float, seconds: float) -> None:
        """Adds a call's result."""
        self.step += steps
        self.sums = [total + own for total, own in zip(self.sums, sums)]
        self.wait += wait
        self.seconds += seconds

    def validated(self, accuracy: float, counts: bool = True) -> bool:
        """Takes in a validation; returns whether it is the best so far.

        Args:
            accuracy: Of the validation.
            counts: Whether one that is not counts towards early stopping.
        """
        is_best = accuracy > self.best
        self.best = max(self.best, accuracy)
        self.since_best = 0 if is_best or not counts else self.since_best + 1
        return is_best

    def finish_epoch(self) -> None:
        """Goes on to the next epoch."""
        self.finished_epochs += 1
        self.sums = [0.0] * len(SUMS)
        self.wait = self.seconds = 0.0


class Speed:
    """Clips a second over the last half minute or so; the first call, which compiles, is left out.

    Attributes:
        clips_per_second: 0 before the first call.
        data_wait: Share of the time in which training waited for data.
    """

    _MEMORY_SECONDS = 30.0

    def __init__(self) -> None:
        self.clips_per_second = 0.0
        self.data_wait = 0.0
        self._calls = 0
        self._clips = self._seconds = self._wait = 0.0

    def update(self, clips: float, seconds: float, wait: float) -> None:
        """Adds a call."""
        self._calls += 1
        # The second call replaces the first.
        kept = 0.0 if self._calls <= 2 else math.exp(-seconds / self._MEMORY_SECONDS)
        self._clips = kept * self._clips + clips
        self._seconds = kept * self._seconds + seconds
        self._wait = kept * self._wait + wait
        self.clips_per_second = self._clips / self._seconds
        self.data_wait = self._wait / self._seconds
