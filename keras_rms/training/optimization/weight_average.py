"""An exponential moving average of the weights, for validation and the finished network."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import keras
from keras import ops


class WeightAverage:
    """Moves a copy of each weight towards it after every step.

    The decay starts low, min(decay, (1 + step) / (10 + step)), so that the first random weights are
    soon forgotten.

    Example:

    >>> average = WeightAverage(model.trainable_variables, decay=0.999)
    >>> average.update(step=0)
    >>> with average.in_use():
    ...     validate(model)

    Args:
        variables: Keras variables; create the average in the strategy's scope.
        decay: Share of the average that remains after a step, in (0, 1).

    Raises:
        ValueError: If `decay` is out of range.
    """

    def __init__(self, variables: Sequence[keras.Variable], decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"`decay` must be in (0, 1). Received: decay={decay}")
        self.trained = list(variables)
        self.decay = decay
        self.averages = [
            keras.Variable(ops.copy(variable), trainable=False, name="average")
            for variable in self.trained
        ]

    def update(self, step: keras.KerasTensor) -> None:
        """Takes the weights in; inside `strategy.run`, after the optimizer's step `step`."""
        step = ops.cast(step, "float32")
        decay = ops.minimum(self.decay, (1 + step) / (10 + step))
        for average, variable in zip(self.averages, self.trained):
            average.assign(decay * average + (1 - decay) * variable)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """While active, the model's weights are the averages."""
        own = [ops.convert_to_numpy(variable.value) for variable in self.trained]
        for variable, average in zip(self.trained, self.averages):
            variable.assign(ops.convert_to_numpy(average))
        try:
            yield
        finally:
            for variable, value in zip(self.trained, own):
                variable.assign(value)

    def state(self) -> dict[str, keras.Variable]:
        """What a checkpoint has to hold, by name."""
        names = (variable.path for variable in self.trained)
        return {f"average/{name}": average for name, average in zip(names, self.averages)}
