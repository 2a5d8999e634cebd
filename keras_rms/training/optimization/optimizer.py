"""Stochastic gradient descent with Nesterov momentum, as the paper's models are trained."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

Tensor = Any  # of the backend


class MomentumSGD:
    """SGD with momentum whose weight decay is added to the gradient of kernels only.

    `keras.optimizers.SGD` is not used for three reasons: its weight decay acts on the weight beside
    the momentum, so that 1e-4 is a tenth of what the published recipes mean by 1e-4; its velocity
    contains the learning rate, so that a falling rate acts late; and it clips each replica's
    gradient before they are added, so that a step depends on the number of replicas. The update is

        v <- momentum * v + g + weight_decay * w
        w <- w - rate * (momentum * v + g + weight_decay * w)

    Example:

    >>> optimizer = MomentumSGD(model.trainable_variables, WarmupCosine(0.1, 1000))
    >>> optimizer.apply(gradients, step=0)

    Args:
        variables: Keras variables; create the optimizer in the strategy's scope.
        schedule: Step -> learning rate.
        momentum: Share of the velocity that remains, 0 <= momentum < 1.
        weight_decay: Pull of kernels towards 0; biases and batch normalisation have none.
        clip_norm: Longest gradient, over all variables together and after the replicas' sum; None
            for no limit. Weight decay is added after it.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        variables: Sequence[keras.Variable],
        schedule: Callable[[Tensor], Tensor],
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
    ) -> None:
        if not 0 <= momentum < 1:
            raise ValueError(f"`momentum` must be in [0, 1). Received: momentum={momentum}")
        if weight_decay < 0:
            raise ValueError(
                f"`weight_decay` must be 0 or more. Received: weight_decay={weight_decay}"
            )
        if clip_norm is not None and not clip_norm > 0:
            raise ValueError(f"`clip_norm` must be above 0. Received: clip_norm={clip_norm}")
        self.trained = list(variables)
        self.schedule = schedule
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.velocities = [
            keras.Variable("zeros", variable.shape, "float32", trainable=False, name="velocity")
            for variable in self.trained
        ]

    def apply(
        self, gradients: Sequence[Tensor], step: Tensor, healthy: Tensor | bool = True
    ) -> None:
        """Takes one step; inside `strategy.run`, with gradients already added over the replicas.

        Args:
            gradients: One for each variable.
            step: Steps taken before.
            healthy: Where False, nothing changes.
        """
        if self.clip_norm is not None:
            norm = ops.sqrt(sum(ops.sum(ops.square(gradient)) for gradient in gradients))
            share = self.clip_norm / ops.maximum(norm, self.clip_norm)
            gradients = [share * gradient for gradient in gradients]
        rate = ops.cast(self.schedule(step), "float32")
        for variable, velocity, gradient in zip(self.trained, self.velocities, gradients):
            value, speed = ops.convert_to_tensor(variable), ops.convert_to_tensor(velocity)
            if self.weight_decay and is_kernel(variable):
                gradient += self.weight_decay * value
            moved = self.momentum * speed + gradient
            updated = value - rate * (self.momentum * moved + gradient)
            # Every replica holds the same numbers here, so each writes its own copy.
            velocity.assign(ops.where(healthy, moved, speed))
            variable.assign(ops.where(healthy, updated, value))

    def state(self) -> dict[str, keras.Variable]:
        """What a checkpoint has to hold, by name."""
        names = (variable.path for variable in self.trained)
        return {f"velocity/{name}": slot for name, slot in zip(names, self.velocities)}


def is_kernel(variable: keras.Variable) -> bool:
    """Whether weight decay acts on the variable."""
    return variable.name.endswith("kernel")
