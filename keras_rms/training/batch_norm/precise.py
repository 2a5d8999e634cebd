"""Batch normalisation's statistics measured anew over many batches before an evaluation."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_rms.inference.inputs import as_inputs
from keras_rms.training.batch_norm.layers_of import moving_batch_norms
from keras_rms.training.work_dir.checkpoints import leaves


class PreciseBatchNorm:
    """Replaces running averages, which lag behind the weights, by the mean over whole batches.

    The variance is that of all clips together, E[x^2] - E[x]^2 with both taken over all batches.
    Frozen layers keep their statistics.

    Example:

    >>> precise = PreciseBatchNorm(model, strategy)
    >>> with precise.in_use(iter(batches), count=200):
    ...     validate(model)

    Args:
        model: Any with `keras.layers.BatchNormalization` layers.
        strategy: The training's own.

    Reference: [Wu and Johnson, 2021](https://arxiv.org/abs/2105.07576), section 3.
    """

    def __init__(self, model: keras.Model, strategy: tf.distribute.Strategy) -> None:
        self._model = model
        self._strategy = strategy
        self._layers: list[keras.layers.BatchNormalization] = []
        self._moments_of_next: Any = None
        self._random_states = [
            variable
            for layer in leaves(model)
            for variable in layer.variables
            if not any(variable is weight for weight in layer.weights)
        ]

    def _traced(self) -> Any:
        """Takes the next batch of an iterator and returns its moments."""
        model, strategy = self._model, self._strategy

        def moments(clips: tf.Tensor) -> list[tf.Tensor]:
            model(as_inputs(model, clips), training=True)
            of_batch = []
            for layer in self._layers:
                mean, variance = layer.moving_mean.value, layer.moving_variance.value
                of_batch += [tf.identity(mean), variance + mean**2]
            replica = tf.distribute.get_replica_context()
            return replica.all_reduce(tf.distribute.ReduceOp.MEAN, of_batch)

        @tf.function(autograph=False)
        def moments_of_next(iterator):  # noqa: ANN001
            clips, _ = iterator.get_next()
            results = strategy.run(moments, args=(clips,))
            return [strategy.experimental_local_results(result)[0] for result in results]

        return moments_of_next

    @contextmanager
    def in_use(
        self,
        iterator: Iterator,
        count: int,
        exchange: Callable[[], AbstractContextManager] = nullcontext,
    ) -> Iterator[None]:
        """While active, the model has the statistics of the next `count` batches.

        Args:
            iterator: Gives (clips, labels), distributed by the strategy.
            count: Batches to take from it.
            exchange: Entered around each of them, which waits for the other workers.
        """
        layers = moving_batch_norms(self._model)
        if not layers:
            yield
            return
        if layers != self._layers or self._moments_of_next is None:
            # Of a network whose stages were frozen or unfrozen since.
            self._layers, self._moments_of_next = layers, self._traced()
        before = [(v, keras.ops.convert_to_numpy(v.value)) for v in self._statistics()]
        # Evaluations must not move the training's random numbers.
        states = [(v, keras.ops.convert_to_numpy(v.value)) for v in self._random_states]
        try:
            self._assign(self._measure(iterator, count, exchange))
            yield
        finally:
            for variable, value in before + states:
                variable.assign(value)

    def _statistics(self) -> list[keras.Variable]:
        return [
            statistic
            for layer in self._layers
            for statistic in (layer.moving_mean, layer.moving_variance)
        ]

    def _measure(
        self, iterator: Iterator, count: int, exchange: Callable[[], AbstractContextManager]
    ) -> list[np.ndarray]:
        momenta = [layer.momentum for layer in self._layers]
        # With momentum 0 the running averages are those of the batch; the function is traced now.
        for layer in self._layers:
            layer.momentum = 0.0
        try:
            # Not inside `exchange`, for other workers do not answer before they have traced it.
            self._moments_of_next.get_concrete_function(iterator)
            sums = [np.zeros(statistic.shape) for statistic in self._statistics()]
            for _ in range(count):
                with exchange():
                    moments = [moment.numpy() for moment in self._moments_of_next(iterator)]
                for total, moment in zip(sums, moments):
                    total += moment
        finally:
            for layer, momentum in zip(self._layers, momenta):
                layer.momentum = momentum
        return [total / count for total in sums]

    def _assign(self, moments: list[np.ndarray]) -> None:
        for layer, mean, square in zip(self._layers, moments[::2], moments[1::2]):
            layer.moving_mean.assign(mean)
            layer.moving_variance.assign(np.maximum(square - mean**2, 0.0))
