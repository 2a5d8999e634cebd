"""The network of a run as it is validated and kept."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial

import tensorflow as tf

from keras_rms.inference.view_scores import ViewScorer
from keras_rms.training.batch_norm.precise import PreciseBatchNorm
from keras_rms.training.devices import Devices
from keras_rms.training.learner import Learner
from keras_rms.training.loop.validation import validate
from keras_rms.training.workers import strategies
from keras_rms.training.workers.cluster_watch import answered_within


class Evaluation:
    """Averaged weights and precise batch normalisation, where the recipe wants them.

    Args:
        learner: What is trained.
        training: See `TrainingData`.
        devices: The run's own.
        precise_bn_steps: See `Recipe`.
        worker_timeout: Seconds in which other workers have to answer.
    """

    def __init__(
        self,
        learner: Learner,
        training: Callable[[int], tf.data.Dataset],
        devices: Devices,
        precise_bn_steps: int,
        worker_timeout: float,
    ) -> None:
        self._learner = learner
        self._training = training
        self._devices = devices
        self._precise_bn_steps = precise_bn_steps
        self._worker_timeout = worker_timeout
        self._scorer = ViewScorer(learner.model, devices.strategy)
        self._precise = PreciseBatchNorm(learner.model, devices.strategy)

    @contextmanager
    def weights(self, step: int) -> Iterator[None]:
        """While active, the model is as it is to be evaluated; then training goes on as before.

        Args:
            step: Steps taken; the batches that come next measure the statistics.
        """
        with ExitStack() as stack:
            if self._learner.average:
                stack.enter_context(self._learner.average.in_use())
            if self._precise_bn_steps:
                data = strategies.distribute(self._devices.strategy, self._training(step))
                count, exchange = self._precise_bn_steps, partial(self._exchange, step)
                stack.enter_context(self._precise.in_use(iter(data), count, exchange))
            yield

    def validate(self, views: Callable[[], tf.data.Dataset], step: int) -> dict[str, float]:
        """Loss and accuracies after `step` steps; see `TrainingData` and `validation.validate`."""
        with self.weights(step):
            strategy, exchange = self._devices.strategy, partial(self._exchange, step)
            return validate(self._scorer, views(), strategy, exchange)

    def _exchange(self, step: int) -> AbstractContextManager:
        return answered_within(self._worker_timeout, self._devices.workers, step)
