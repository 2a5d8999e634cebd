"""Adam with decoupled weight decay."""

from collections.abc import Callable, Sequence

import keras
from keras import ops

from keras_rms.arguments import validate_rate
from keras_rms.training.optimization.optimizer import Optimizer, Tensor


class AdamW(Optimizer):
    """The update of `keras.optimizers.AdamW`, with weight decay on kernels only.

        m <- beta_1 * m + (1 - beta_1) * g
        v <- beta_2 * v + (1 - beta_2) * g^2
        w <- w - rate * weight_decay * w - rate * c * m / (sqrt(v) + epsilon)

    Here c = sqrt(1 - beta_2^t) / (1 - beta_1^t) corrects what m and v lack because they begin at 0,
    and t counts the updates. Variables that are unfrozen later have a count of their own, as their
    m and v begin there.

    Example:

    >>> optimizer = AdamW(model.trainable_variables, WarmupCosine(0.001, 1000), weight_decay=0.05)
    >>> optimizer.apply(gradients, step=0)

    Args:
        variables, schedule: See `Optimizer`. Which of them begin later is decided here: those that
            are not `trainable` yet.
        beta_1: Share of m that remains, 0 <= beta_1 < 1.
        beta_2: Share of v that remains, 0 <= beta_2 < 1.
        epsilon: Keeps the division finite.
        weight_decay, clip_norm, factors: See `Optimizer`.

    Raises:
        ValueError: If an argument is out of range.

    Reference: [Loshchilov and Hutter, 2019](https://arxiv.org/abs/1711.05101), algorithm 2.
    """

    def __init__(
        self,
        variables: Sequence[keras.Variable],
        schedule: Callable[[Tensor], Tensor],
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        factors: Sequence[float] | None = None,
    ) -> None:
        validate_rate("beta_1", beta_1)
        validate_rate("beta_2", beta_2)
        super().__init__(variables, schedule, weight_decay, clip_norm, factors)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self._first, self._second = self._slots("first_moment"), self._slots("second_moment")
        self._begin_later = {id(v) for v in self.variables if not v.trainable}
        self._updates = {
            name: keras.Variable(0, dtype="int32", trainable=False, name=f"updates_{name}")
            for name in ("first", "later")[: 2 if self._begin_later else 1]
        }

    def changes(
        self, variables: Sequence[keras.Variable], gradients: Sequence[Tensor], rate: Tensor
    ) -> list[tuple[keras.Variable, Tensor]]:
        groups = {self._group(variable) for variable in variables}
        counts = {name: n + 1 for name, n in self._updates.items() if name in groups}
        corrections = {name: self._correction(count) for name, count in counts.items()}
        changed = [(self._updates[name], count) for name, count in counts.items()]
        for variable, gradient in zip(variables, gradients):
            slots = self._first[id(variable)], self._second[id(variable)]
            first, second = (ops.convert_to_tensor(slot) for slot in slots)
            first += (1 - self.beta_1) * (gradient - first)
            second += (1 - self.beta_2) * (ops.square(gradient) - second)
            value, own_rate = ops.convert_to_tensor(variable), self.rate_of(variable, rate)
            moved = own_rate * corrections[self._group(variable)] * first
            updated = value - moved / (ops.sqrt(second) + self.epsilon)
            if decay := self.decay_of(variable):
                updated -= own_rate * decay * value
            changed += [*zip(slots, (first, second)), (variable, updated)]
        return changed

    def state(self) -> dict[str, keras.Variable]:
        return {
            **self._named("first_moment", self._first),
            **self._named("second_moment", self._second),
            **{f"updates/{name}": count for name, count in self._updates.items()},
        }

    def _group(self, variable: keras.Variable) -> str:
        return "later" if id(variable) in self._begin_later else "first"

    def _correction(self, count: Tensor) -> Tensor:
        count = ops.cast(count, "float32")
        return ops.sqrt(1 - ops.power(self.beta_2, count)) / (1 - ops.power(self.beta_1, count))
