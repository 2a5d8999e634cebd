"""What moves the weights: the common part of all optimizers, and SGD with Nesterov momentum."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

Tensor = Any  # of the backend


class Optimizer:
    """Clips the gradient, decays kernels, follows a schedule; a subclass says how weights move.

    Keras's own are not used, because they clip each replica's gradient before these are added, so
    that a step depends on the number of replicas; and because a step whose gradient is not finite
    has to leave weights and state as they were.

    Args:
        variables: Keras variables; create the optimizer in the strategy's scope. Only those are
            moved that are `trainable` while a step is traced: others wait to be unfrozen.
        schedule: Step -> learning rate.
        weight_decay: Pull of kernels towards 0; biases and batch normalisation have none.
        clip_norm: Longest gradient, over all variables together and after the replicas' sum; None
            for no limit. Weight decay is added after it.
        factors: What the rate of each variable is multiplied with; None for 1 everywhere.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        variables: Sequence[keras.Variable],
        schedule: Callable[[Tensor], Tensor],
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        factors: Sequence[float] | None = None,
    ) -> None:
        if weight_decay < 0:
            raise ValueError(
                f"`weight_decay` must be 0 or more. Received: weight_decay={weight_decay}"
            )
        if clip_norm is not None and not clip_norm > 0:
            raise ValueError(f"`clip_norm` must be above 0. Received: clip_norm={clip_norm}")
        self.variables = list(variables)
        self.schedule = schedule
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        factors = [1.0] * len(self.variables) if factors is None else factors
        self._factors = {id(v): factor for v, factor in zip(self.variables, factors, strict=True)}

    @property
    def trained(self) -> list[keras.Variable]:
        """The variables that a step moves, in the order of its gradients."""
        return [variable for variable in self.variables if variable.trainable]

    def apply(
        self, gradients: Sequence[Tensor], step: Tensor, healthy: Tensor | bool = True
    ) -> None:
        """Takes one step; inside `strategy.run`, with gradients already added over the replicas.

        Args:
            gradients: One for each of `trained`.
            step: Steps taken before.
            healthy: Where False, nothing changes.
        """
        if self.clip_norm is not None:
            norm = ops.sqrt(sum(ops.sum(ops.square(gradient)) for gradient in gradients))
            share = self.clip_norm / ops.maximum(norm, self.clip_norm)
            gradients = [share * gradient for gradient in gradients]
        self._move(gradients, ops.cast(self.schedule(step), "float32"), healthy)

    def _move(self, gradients: Sequence[Tensor], rate: Tensor, healthy: Tensor | bool) -> None:
        for variable, value in self.changes(self.trained, gradients, rate):
            # Every replica holds the same numbers here, so each writes its own copy.
            variable.assign(ops.where(healthy, value, ops.convert_to_tensor(variable)))

    def changes(
        self, variables: Sequence[keras.Variable], gradients: Sequence[Tensor], rate: Tensor
    ) -> list[tuple[keras.Variable, Tensor]]:
        """What a step makes of the variables and of the optimizer's own.

        Args:
            variables: Some of the optimizer's.
            gradients: One for each, without weight decay.
            rate: The learning rate; see `rate_of`.
        """
        raise NotImplementedError

    def rate_of(self, variable: keras.Variable, rate: Tensor) -> Tensor:
        """The learning rate of a variable."""
        factor = self._factors[id(variable)]
        return rate if factor == 1 else factor * rate

    def decay_of(self, variable: keras.Variable) -> float:
        """The weight decay of a variable."""
        return self.weight_decay if is_kernel(variable) else 0.0

    def state(self) -> dict[str, keras.Variable]:
        """What a checkpoint has to hold, by name."""
        raise NotImplementedError

    def _slots(self, name: str) -> dict[int, keras.Variable]:
        """Zeros beside each variable, by its `id`."""
        return {
            id(variable): keras.Variable(
                "zeros", variable.shape, "float32", trainable=False, name=name
            )
            for variable in self.variables
        }

    def _named(self, name: str, slots: dict[int, keras.Variable]) -> dict[str, keras.Variable]:
        return {f"{name}/{variable.path}": slots[id(variable)] for variable in self.variables}


class MomentumSGD(Optimizer):
    """SGD with momentum whose weight decay is added to the gradient of kernels only.

    `keras.optimizers.SGD` differs in two more ways: its weight decay acts on the weight beside the
    momentum, so that 1e-4 is a tenth of what the published recipes mean by 1e-4; and its velocity
    contains the learning rate, so that a falling rate acts late. The update is

        v <- momentum * v + g + weight_decay * w
        w <- w - rate * (momentum * v + g + weight_decay * w)

    Example:

    >>> optimizer = MomentumSGD(model.trainable_variables, WarmupCosine(0.1, 1000))
    >>> optimizer.apply(gradients, step=0)

    Args:
        variables, schedule: See `Optimizer`.
        momentum: Share of the velocity that remains, 0 <= momentum < 1.
        weight_decay, clip_norm, factors: See `Optimizer`.

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
        factors: Sequence[float] | None = None,
    ) -> None:
        if not 0 <= momentum < 1:
            raise ValueError(f"`momentum` must be in [0, 1). Received: momentum={momentum}")
        super().__init__(variables, schedule, weight_decay, clip_norm, factors)
        self.momentum = momentum
        self._velocities = self._slots("velocity")

    def changes(
        self, variables: Sequence[keras.Variable], gradients: Sequence[Tensor], rate: Tensor
    ) -> list[tuple[keras.Variable, Tensor]]:
        changed = []
        for variable, gradient in zip(variables, self._decayed(variables, gradients)):
            value, velocity = ops.convert_to_tensor(variable), self._velocities[id(variable)]
            moved = self.momentum * ops.convert_to_tensor(velocity) + gradient
            updated = value - self.rate_of(variable, rate) * (self.momentum * moved + gradient)
            changed += [(velocity, moved), (variable, updated)]
        return changed

    def _move(self, gradients: Sequence[Tensor], rate: Tensor, healthy: Tensor | bool) -> None:
        if keras.backend.backend() != "tensorflow":
            super()._move(gradients, rate, healthy)
            return
        # What `changes` says, in one pass over the memory: written as operations it takes longer
        # than the gradients of a small batch.
        places = [
            (variable.value.handle, self._velocities[id(variable)].value.handle)
            for variable in self.trained
        ]
        rates = [self.rate_of(variable, rate) for variable in self.trained]

        def moved() -> tf.Tensor:
            decayed = self._decayed(self.trained, gradients)
            for (value, velocity), gradient, own_rate in zip(places, decayed, rates):
                tf.raw_ops.ResourceApplyMomentum(
                    var=value,
                    accum=velocity,
                    lr=own_rate,
                    grad=gradient,
                    momentum=self.momentum,
                    use_nesterov=True,
                )
            return tf.constant(True)

        tf.cond(healthy, moved, lambda: tf.constant(False))

    def _decayed(
        self, variables: Sequence[keras.Variable], gradients: Sequence[Tensor]
    ) -> list[Tensor]:
        decays = map(self.decay_of, variables)
        return [
            gradient + decay * ops.convert_to_tensor(variable) if decay else gradient
            for variable, gradient, decay in zip(variables, gradients, decays)
        ]

    def state(self) -> dict[str, keras.Variable]:
        return self._named("velocity", self._velocities)


def is_kernel(variable: keras.Variable) -> bool:
    """Whether weight decay acts on the variable."""
    return variable.name.endswith("kernel")
