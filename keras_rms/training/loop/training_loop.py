"""The training loop: the same on one device, on several, and on several machines.

Words:
    step      one batch forward and backward, and one update of the weights
    call      several steps in one compiled function, about a second's worth; between calls Python
              logs, saves, and hears a request to stop
    epoch     `steps_per_epoch` steps
    position  how far the run is: steps, finished epochs, sums of the epoch, the best accuracy; it
              is saved with every checkpoint
    worker    one process of several that train together, usually one a machine

The data of step i is a function of the seed and i, so that a position says all that is needed to go
on. Workers must take the same decisions, or they wait for each other forever: each call therefore
also returns the mean of what the workers ask for, and all of them act on that number.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_rms.training import errors
from keras_rms.training.loop import train_step
from keras_rms.training.loop.position import Position, Speed
from keras_rms.training.loop.stop_signals import StopSignals
from keras_rms.training.workers.cluster_watch import PeerWatch, answered_within
from keras_rms.training.workers.strategies import distribute, worker_addresses, worker_index

# How long a call should take: long enough that Python costs nothing, short enough for a progress
# line and for SIGTERM, which is heard between calls.
_SECONDS_PER_CALL = 1.0
_MOST_STEPS_PER_CALL = 50


class TrainingLoop:
    """Drives callbacks, calls of several steps, validation and checkpoints.

    Keras's own `fit` does not run under `MultiWorkerMirroredStrategy`; this does, with public
    functions only.

    Args:
        strategy: From `make_strategy`.
        step_function: See `TrainStep`.
        training_data: First step -> infinite dataset of this worker's batches from then on.
        model: What the callbacks are told to be in training.
        callbacks: Keras callbacks. A "batch" is one call; see `run_log.COLUMNS` for `logs`.
        epochs, steps_per_epoch: Length of the training.
        schedule: Step -> learning rate, for the logs.
        validate: Steps taken -> "validation_loss", "validation_top1" and "validation_top5"; every
            worker calls it. It may take any time: what waits for other workers has to have a
            deadline of its own, see `answered_within`.
        validate_every: Epochs from one validation to the next. The last epoch always has one.
        stop_after: Validations in a row without a higher accuracy after which training ends; None
            trains to the last epoch.
        stop_from: Epochs that these validations have to come after.
        enter_epoch: Told the number of finished epochs before each epoch; returns whether the step
            is another one from here on, and has to be traced again.
        save: Takes (position, whether it is the best so far).
        checkpoint_every: Steps from one checkpoint to the next, beside those at an epoch's end.
        steps_per_call: 0 chooses as many as take about a second.
        measure_wait: Whether to log the share of time spent waiting for data; see
            `make_several_steps`.
        worker_timeout: Seconds for a call, with several workers, after which the process ends
            because one of the others must be frozen. Tracing, before the first call, does not
            count, and the first may take as much longer.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        step_function: train_step.TrainStep,
        training_data: Callable[[int], tf.data.Dataset],
        *,
        model: keras.Model,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        epochs: int,
        steps_per_epoch: int,
        schedule: Callable,
        validate: Callable[[int], dict[str, float]] | None = None,
        validate_every: int = 1,
        stop_after: int | None = None,
        stop_from: int = 0,
        enter_epoch: Callable[[int], bool] = lambda finished_epochs: False,
        save: Callable[[Position, bool], object] = lambda position, best: None,
        checkpoint_every: int = 500,
        steps_per_call: int = 0,
        measure_wait: bool = True,
        worker_timeout: float = 600.0,
    ) -> None:
        at_least_one = {
            "epochs": epochs,
            "steps_per_epoch": steps_per_epoch,
            "validate_every": validate_every,
            "checkpoint_every": checkpoint_every,
            "stop_after": 1 if stop_after is None else stop_after,
        }
        for name, value in at_least_one.items():
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1. Received: {name}={value}")
        if steps_per_call < 0:
            raise ValueError(
                f"`steps_per_call` must be 0 (automatic) or more. Received: {steps_per_call=}"
            )
        self._strategy = strategy
        self._training_data = training_data
        self._step_function = step_function
        self._several_steps: Any = None
        self._callbacks = keras.callbacks.CallbackList(
            list(callbacks), model=model, epochs=epochs, steps=steps_per_epoch, verbose=0
        )
        self._epochs = epochs
        self._steps_per_epoch = steps_per_epoch
        self._schedule = schedule
        self._validate = validate
        self._validate_every = validate_every
        self._stop_after = stop_after
        self._stop_from = stop_from
        self._enter_epoch = enter_epoch
        self._save = save
        self._checkpoint_every = checkpoint_every
        self._steps_per_call = steps_per_call
        self._measure_wait = measure_wait
        self._worker_timeout = worker_timeout
        self._workers = worker_addresses(strategy)
        self._several_workers = len(self._workers) > 1
        self._stop_requested = False
        # Of this worker; while others may not have finished it.
        self._tracing_seconds = 0.0
        self._speed = Speed()
        self._validation_seconds = 0.0
        self._saved: Position | None = None

    def run(self, position: Position) -> None:
        """Trains from `position`, which it moves, to the end.

        Raises:
            TrainingStopped: If the run ended early; the kind of error says why.
        """
        with StopSignals(self._request_stop):
            self._callbacks.on_train_begin()
            if not self._is_over(position):
                try:
                    self._run_epochs(position)
                except errors.LOST_WORKER as error:
                    if not self._several_workers:
                        raise
                    raise errors.WorkerLost.because_of(
                        error, f" after step {position.step}"
                    ) from error
                except Exception as error:
                    if stop := errors.OutOfMemory.because_of(error):
                        raise stop from error
                    raise
            self._callbacks.on_train_end()

    def _run_epochs(self, position: Position) -> None:
        iterator = iter(distribute(self._strategy, self._training_data(position.step)))
        saved_step = position.step
        while not self._is_over(position):
            if self._enter_epoch(position.finished_epochs) or not self._several_steps:
                self._trace(iterator, position)
            end = (position.finished_epochs + 1) * self._steps_per_epoch
            self._callbacks.on_epoch_begin(position.finished_epochs)
            self._train_until(end, position, iterator)
            # Validation can take long; what came before it must not be lost with it.
            if position.step != saved_step:
                self._save(position, False)
            if self._stop_is_agreed(position, iterator):
                self._preempted(position)
            self._end_epoch(position)
            saved_step = position.step

    def _is_over(self, position: Position) -> bool:
        stops_early = self._stop_after is not None and position.since_best >= self._stop_after
        return stops_early or position.finished_epochs >= self._epochs

    def _request_stop(self) -> None:
        self._stop_requested = True
        if self._saved:
            self._preempted(self._saved)

    def _trace(self, iterator: Iterator, position: Position) -> None:
        """Traces the steps, which can take minutes and for which no other worker has to answer.

        The others are at it too, and may need as much longer again.
        """
        self._several_steps = train_step.make_several_steps(
            self._strategy, self._step_function, self._measure_wait
        )
        if self._several_workers:
            started = time.monotonic()
            with self._watch():
                self._several_steps.get_concrete_function(iterator, *self._numbers(position, 1))
            self._tracing_seconds = time.monotonic() - started

    def _stop_is_agreed(self, position: Position, iterator: Iterator) -> bool:
        """Whether a request came in the last call of an epoch, before a validation that is long."""
        if not self._several_workers:
            return self._stop_requested
        return self._take_steps(position, iterator, 0)["agreed"][0] > 0

    def _take_steps(
        self, position: Position, iterator: Iterator, count: int, seconds_per_step: float = 0.0
    ) -> dict[str, np.ndarray]:
        """The result of `make_several_steps`, for which the other workers have to answer."""
        allowed = self._worker_timeout + self._tracing_seconds
        with answered_within(allowed, len(self._workers), position.step):
            numbers = self._numbers(position, count, seconds_per_step)
            result = self._several_steps(iterator, *numbers)
            result = {name: np.asarray(value) for name, value in result.items()}
        self._tracing_seconds = 0.0
        return result

    def _numbers(
        self, position: Position, count: int, seconds_per_step: float = 0.0
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """What `make_several_steps` takes after the iterator."""
        return (
            tf.constant(position.step, tf.int64),
            tf.constant(count, tf.int64),
            tf.constant([float(self._stop_requested), seconds_per_step]),
        )

    def _train_until(self, end: int, position: Position, iterator: Iterator) -> None:
        """Trains to step `end`, saving on the way."""
        # The first call is of one step: nothing is known of the speed, and it compiles.
        count, seconds_per_step = 1, 0.0
        while position.step < end:
            every = self._checkpoint_every
            # No call goes over a checkpoint or an epoch's end, where Python has something to do.
            boundary = min(end, (position.step // every + 1) * every)
            count = min(count, boundary - position.step)
            started = time.monotonic()
            stop, agreed = self._call(position, iterator, count, seconds_per_step)
            seconds_per_step = (time.monotonic() - started) / count
            if stop:
                self._save(position, False)
                self._preempted(position)
            if position.step % every == 0 and position.step < end:
                self._save(position, False)
            count = self._next_count(agreed)

    def _call(
        self, position: Position, iterator: Iterator, count: int, seconds_per_step: float
    ) -> tuple[bool, float]:
        """Takes `count` steps; returns what the workers agreed on: (stop, seconds a step)."""
        self._callbacks.on_train_batch_begin(position.step)
        started = time.monotonic()
        result = self._take_steps(position, iterator, count, seconds_per_step)
        seconds = time.monotonic() - started
        self._check_finite(result, position)
        sums, wait = result["sums"].tolist(), float(result["wait"])
        position.advance(count, sums, wait, seconds)
        self._speed.update(sums[2], seconds, wait)
        self._callbacks.on_train_batch_end(
            position.step,
            {
                **self._logs(position, sums),
                "seconds": position.seconds,
                "seconds_left": self._seconds_left(position, sums[2] / count),
            },
        )
        stop, agreed = result["agreed"]
        return stop > 0, float(agreed)

    def _next_count(self, seconds_per_step: float) -> int:
        """Every worker finds the same number, because each has the mean of all their times."""
        if self._steps_per_call:
            return self._steps_per_call
        if not seconds_per_step:
            return 1
        return int(np.clip(_SECONDS_PER_CALL / seconds_per_step, 1, _MOST_STEPS_PER_CALL))

    def _check_finite(self, result: dict, position: Position) -> None:
        if not result["finite"]:
            step = position.step + int(result["steps"]) - 1
            raise errors.NotFinite(
                f"The loss or its gradient is not finite in step {step} (learning rate "
                f"{float(self._schedule(step)):.4g}).",
                step,
            )

    def _logs(self, position: Position, sums: list[float]) -> dict[str, float]:
        loss, correct, clips = sums
        logs = {
            "epoch": position.finished_epochs + 1,
            "step": position.step,
            "learning_rate": float(self._schedule(position.step - 1)),
            "loss": loss / clips,
            "top1": correct / clips,
            "clips_per_second": self._speed.clips_per_second,
        }
        if self._measure_wait:
            logs["data_wait"] = self._speed.data_wait
        return logs

    def _seconds_left(self, position: Position, batch_size: float) -> float:
        steps = self._epochs * self._steps_per_epoch - position.step
        validations = (self._epochs - position.finished_epochs) / self._validate_every
        return (
            steps * batch_size / self._speed.clips_per_second
            + validations * self._validation_seconds
        )

    def _end_epoch(self, position: Position) -> None:
        epoch = position.finished_epochs
        last = epoch + 1 == self._epochs
        logs = self._logs(position, position.sums)
        if self._measure_wait:
            logs["data_wait"] = position.wait / position.seconds
        best = False
        if self._validate and (last or (epoch + 1) % self._validate_every == 0):
            started = time.monotonic()
            # All is saved and a validation can take long; several workers must go on together.
            self._saved = None if self._several_workers else position
            with self._watch():
                logs.update(self._validate(position.step))
            self._saved = None
            self._validation_seconds = time.monotonic() - started
            position.seconds += self._validation_seconds
            best = position.validated(logs["validation_top1"], epoch >= self._stop_from)
        self._callbacks.on_epoch_end(epoch, {**logs, "seconds": position.seconds})
        position.finish_epoch()
        self._save(position, best)

    def _watch(self) -> AbstractContextManager:
        if not self._several_workers:
            return nullcontext()
        return PeerWatch(self._workers, worker_index(self._strategy))

    def _preempted(self, position: Position) -> None:
        raise errors.Preempted(
            f"Stopped on request after step {position.step}, which is saved. The same command "
            "continues from there."
        )
