"""Learning rates as functions of the step: linear warm-up, then half a cosine or steps."""

import math
from collections.abc import Sequence

import keras
from keras import ops


class WarmupSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up that ends on a curve; a subclass says which in `curve`.

    The warm-up goes from `warmup_start * base_rate` at step 0 to the curve's value at
    `warmup_steps`, so that there is no jump.

    Args:
        base_rate: The highest rate of the curve, above 0.
        warmup_steps: Length of the warm-up; 0 for none.
        warmup_start: Where the warm-up starts, as a share of `base_rate`.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(self, base_rate: float, warmup_steps: int = 0, warmup_start: float = 0.1) -> None:
        super().__init__()
        if not base_rate > 0:
            raise ValueError(f"`base_rate` must be above 0. Received: base_rate={base_rate}")
        if warmup_steps < 0:
            raise ValueError(
                f"`warmup_steps` must be 0 or more. Received: warmup_steps={warmup_steps}"
            )
        if not 0 <= warmup_start <= 1:
            raise ValueError(
                f"`warmup_start` must be between 0 and 1. Received: warmup_start={warmup_start}"
            )
        self.base_rate = base_rate
        self.warmup_steps = warmup_steps
        self.warmup_start = warmup_start

    def curve(self, step: keras.KerasTensor) -> keras.KerasTensor:
        """The rate at float `step` without the warm-up."""
        raise NotImplementedError

    def __call__(self, step: keras.KerasTensor) -> keras.KerasTensor:
        step = ops.cast(step, "float32")
        if self.warmup_steps == 0:
            return self.curve(step)
        start = self.warmup_start * self.base_rate
        end = self.curve(ops.cast(self.warmup_steps, "float32"))
        rising = start + (end - start) * step / self.warmup_steps
        return ops.where(step < self.warmup_steps, rising, self.curve(step))

    def get_config(self) -> dict:
        return {
            "base_rate": self.base_rate,
            "warmup_steps": self.warmup_steps,
            "warmup_start": self.warmup_start,
        }


@keras.saving.register_keras_serializable(package="keras_rms")
class WarmupCosine(WarmupSchedule):
    """Half a cosine from `base_rate` at step 0 to 0 at `total_steps`, after a linear warm-up.

    Example:

    >>> schedule = WarmupCosine(0.1, total_steps=1000, warmup_steps=100)
    >>> float(schedule(1000))
    0.0

    Args:
        base_rate: The rate that the cosine starts from.
        total_steps: Where it reaches 0.
        warmup_steps, warmup_start: See `WarmupSchedule`.

    Raises:
        ValueError: If an argument is out of range.

    Reference: [Loshchilov and Hutter, 2017](https://arxiv.org/abs/1608.03983), without restarts.
    """

    def __init__(
        self, base_rate: float, total_steps: int, warmup_steps: int = 0, warmup_start: float = 0.1
    ) -> None:
        super().__init__(base_rate, warmup_steps, warmup_start)
        if total_steps < 1 or warmup_steps > total_steps:
            raise ValueError(
                "`total_steps` must be at least 1 and at least warmup_steps. "
                f"Received: total_steps={total_steps}, warmup_steps={warmup_steps}"
            )
        self.total_steps = total_steps
        end = 0.5 * base_rate * (1 + math.cos(math.pi * warmup_steps / total_steps))
        if warmup_steps and end < warmup_start * base_rate:
            raise ValueError(
                "`warmup_steps` must end while the cosine is above the warm-up's first rate, "
                f"{warmup_start:g} of the highest: the rate would fall in it. Received: "
                f"warmup_steps={warmup_steps} of total_steps={total_steps}"
            )

    def curve(self, step: keras.KerasTensor) -> keras.KerasTensor:
        done = ops.minimum(step / self.total_steps, 1.0)
        return 0.5 * self.base_rate * (1.0 + ops.cos(math.pi * done))

    def get_config(self) -> dict:
        return {**super().get_config(), "total_steps": self.total_steps}


@keras.saving.register_keras_serializable(package="keras_rms")
class WarmupSteps(WarmupSchedule):
    """A constant rate multiplied by `factor` at each of `boundaries`, after a linear warm-up.

    Example:

    >>> schedule = WarmupSteps(0.01, boundaries=[100, 200])
    >>> [round(float(schedule(step)), 6) for step in (99, 100, 200)]
    [0.01, 0.001, 0.0001]

    Args:
        base_rate: The rate before the first boundary.
        boundaries: Steps in ascending order; the rate of a boundary's own step is already lower.
        factor: What each boundary multiplies the rate with, between 0 and 1.
        warmup_steps, warmup_start: See `WarmupSchedule`.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        base_rate: float,
        boundaries: Sequence[int],
        factor: float = 0.1,
        warmup_steps: int = 0,
        warmup_start: float = 0.1,
    ) -> None:
        super().__init__(base_rate, warmup_steps, warmup_start)
        boundaries = [int(boundary) for boundary in boundaries]
        if not boundaries or sorted(set(boundaries)) != boundaries or boundaries[0] < 1:
            raise ValueError(
                f"`boundaries` must be steps in ascending order. Received: boundaries={boundaries}"
            )
        if not 0 < factor < 1:
            raise ValueError(f"`factor` must be between 0 and 1. Received: factor={factor}")
        self.boundaries = boundaries
        self.factor = factor

    def curve(self, step: keras.KerasTensor) -> keras.KerasTensor:
        passed = sum(ops.cast(step >= boundary, "float32") for boundary in self.boundaries)
        return self.base_rate * ops.power(ops.cast(self.factor, "float32"), passed)

    def get_config(self) -> dict:
        return {**super().get_config(), "boundaries": self.boundaries, "factor": self.factor}
