"""Dynamic loss scaling, without which small gradients vanish in float16."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

Tensor = Any  # of the backend

# Below this the gradient itself is at fault, not float16's range.
_SMALLEST = 2.0**-10


class LossScale:
    """Doubles while gradients stay finite, halves when one does not, and then skips the step.

    Example:

    >>> scale = LossScale()
    >>> loss = scale.scale(loss)
    >>> gradients = scale.unscale(gradients)
    >>> scale.update(finite)

    Args:
        initial: The first scale.
        growth_steps: Finite steps in a row after which the scale doubles.

    Raises:
        ValueError: If an argument is out of range.

    Reference: [Micikevicius et al., 2018](https://arxiv.org/abs/1710.03740), section 3.2.
    """

    def __init__(self, initial: float = 2.0**15, growth_steps: int = 2000) -> None:
        if not initial >= 1:
            raise ValueError(f"`initial` must be at least 1. Received: initial={initial}")
        if growth_steps < 1:
            raise ValueError(f"`growth_steps` must be at least 1. Received: {growth_steps=}")
        self.growth_steps = growth_steps
        self.value = keras.Variable(initial, dtype="float32", trainable=False)
        self.finite_steps = keras.Variable(0, dtype="int32", trainable=False)

    def scale(self, loss: Tensor) -> Tensor:
        """The loss to differentiate."""
        return loss * self.value

    def unscale(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """Gradients of the loss itself."""
        return [gradient / self.value for gradient in gradients]

    def update(self, finite: Tensor) -> Tensor:
        """Moves the scale after a step; returns False once it is too small to go on."""
        steps = ops.where(finite, self.finite_steps + 1, 0)
        grows = steps >= self.growth_steps
        factor = ops.where(finite, ops.where(grows, 2.0, 1.0), 0.5)
        value = ops.minimum(self.value * factor, 2.0**100)
        self.finite_steps.assign(ops.where(grows, 0, steps))
        self.value.assign(value)
        return value >= _SMALLEST

    def state(self) -> dict[str, keras.Variable]:
        """What a checkpoint has to hold, by name."""
        return {"loss_scale/value": self.value, "loss_scale/finite_steps": self.finite_steps}
