"""An exponential moving average of a network, for validation and the finished network."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import keras
from keras import ops

from keras_rms.training.weight_names import AVERAGE


class WeightAverage:
    """Moves a copy of each variable towards it after every step.

    The decay starts low, min(decay, (1 + step) / (10 + step)), so that the first random weights are
    soon forgotten. Averaged weights need the statistics of batch normalisation averaged in the same
    way: those of the weights in training are of features that the averaged ones do not compute.

    Example:

    >>> average = WeightAverage([*model.trainable_variables, *statistics(model)], decay=0.999)
    >>> average.update(step=0)
    >>> with average.in_use():
    ...     validate(model)

    Args:
        variables: Keras variables: the weights, and see `batch_norm.layers_of.statistics`. Create
            the average in the strategy's scope.
        decay: Share of the average that remains after a step, in (0, 1).

    Raises:
        ValueError: If `decay` is out of range.
    """

    def __init__(self, variables: Sequence[keras.Variable], decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"`decay` must be in (0, 1). Received: decay={decay}")
        self.variables = list(variables)
        self.decay = decay
        self.averages = [
            keras.Variable(ops.copy(variable), trainable=False, name="average")
            for variable in self.variables
        ]

    def update(self, step: keras.KerasTensor) -> None:
        """Takes the variables in; inside `strategy.run`, after the optimizer's step `step`."""
        step = ops.cast(step, "float32")
        decay = ops.minimum(self.decay, (1 + step) / (10 + step))
        for average, variable in zip(self.averages, self.variables):
            # In this form what stands still is its own average, bit for bit.
            average.assign(average + (1 - decay) * (variable - average))

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """While active, the variables hold their averages."""
        own = [ops.convert_to_numpy(variable.value) for variable in self.variables]
        for variable, average in zip(self.variables, self.averages):
            variable.assign(ops.convert_to_numpy(average))
        try:
            yield
        finally:
            for variable, value in zip(self.variables, own):
                variable.assign(value)

    def state(self) -> dict[str, keras.Variable]:
        """What a checkpoint has to hold, by name."""
        names = (variable.path for variable in self.variables)
        return {f"{AVERAGE}{name}": average for name, average in zip(names, self.averages)}
