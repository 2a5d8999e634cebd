"""The loop: when it validates and saves, what is the best, and how it ends early."""

import copy
import os
import signal
import time
from contextlib import contextmanager, nullcontext

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_training import small_batches, small_model

from keras_rms.training import errors
from keras_rms.training.loop import training_loop
from keras_rms.training.loop.position import Position
from keras_rms.training.loop.train_step import TrainStep
from keras_rms.training.loop.training_loop import TrainingLoop
from keras_rms.training.optimization.optimizer import MomentumSGD


class Run:
    """A loop over small batches that records what it saves and tells."""

    def __init__(
        self,
        epochs=3,
        steps_per_epoch=4,
        model=None,
        accuracies=None,
        on_call=None,
        step=None,
        **options,
    ):
        self.model = model or small_model(random_layers=False)
        self.saved, self.epochs = [], []
        optimizer = MomentumSGD(self.model.trainable_variables, lambda step: 0.1)
        callback = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: self.epochs.append((epoch, dict(logs))),
            on_train_batch_end=on_call,
        )
        if accuracies is not None:
            given = iter(accuracies)
            options["validate"] = lambda step: {"validation_top1": next(given)}
        self.loop = TrainingLoop(
            tf.distribute.get_strategy(),
            step or TrainStep(self.model, optimizer, 8),
            small_batches,
            model=self.model,
            callbacks=[callback],
            epochs=epochs,
            steps_per_epoch=steps_per_epoch,
            schedule=lambda step: 0.1,
            save=lambda position, best: self.saved.append((copy.deepcopy(position), best)),
            **options,
        )


def test_checkpoints_lie_at_the_distance_asked_for_and_at_epochs():
    run = Run(checkpoint_every=3, steps_per_call=2)
    run.loop.run(Position())
    places = [(p.step, p.finished_epochs) for p, _ in run.saved]
    assert places == [(3, 0), (4, 0), (4, 1), (6, 1), (8, 1), (8, 2), (9, 2), (12, 2), (12, 3)]


def test_the_best_is_the_first_with_the_highest_accuracy():
    run = Run(epochs=5, accuracies=[0.3, 0.5, 0.5, 0.4, 0.6])
    position = Position()
    run.loop.run(position)
    assert [p.finished_epochs for p, best in run.saved if best] == [1, 2, 5]
    assert position.best == 0.6


def test_the_best_so_far_outlives_a_restart():
    run = Run(epochs=2, accuracies=[0.5])
    run.loop.run(Position(step=4, finished_epochs=1, best=0.5))
    assert not any(best for _, best in run.saved)


def test_validation_comes_every_so_often_and_at_the_end():
    run = Run(epochs=5, validate_every=2, accuracies=[0.1, 0.2, 0.3])
    run.loop.run(Position())
    assert [epoch for epoch, logs in run.epochs if "validation_top1" in logs] == [1, 3, 4]


@pytest.mark.parametrize(
    ("accuracies", "options", "position", "ends"),
    [
        ([0.3, 0.5, 0.5, 0.4], {}, {}, 4),  # as good as the best is no better
        ([0.3, 0.2, 0.4, 0.3, 0.5, 0.1], {}, {}, 6),  # to the end
        ([0.3, 0.2, 0.1, 0.2], {"stop_from": 2}, {}, 4),
        ([0.3, 0.2], {"validate_every": 2}, {}, 6),
        # Continued after one validation that was no better, and after the last one.
        ([0.5], {}, {"finished_epochs": 3, "best": 0.5, "since_best": 1}, 4),
        ([], {}, {"finished_epochs": 4, "best": 0.5, "since_best": 2}, 4),
    ],
)
def test_it_stops_early_where_validations_are_no_better(accuracies, options, position, ends):
    position = Position(step=position.get("finished_epochs", 0), **position)
    run = Run(epochs=6, steps_per_epoch=1, stop_after=2, accuracies=[*accuracies, 0.1], **options)
    run.loop.run(position)
    assert (position.finished_epochs, position.step) == (ends, ends)


def test_the_step_is_traced_again_where_an_epoch_changes_it():
    told, traces = [], []

    class Traced(TrainStep):
        def __call__(self, *args):
            traces.append(len(told))
            return super().__call__(*args)

    def enter_epoch(finished_epochs):
        told.append(finished_epochs)
        return finished_epochs == 2

    model = small_model(random_layers=False)
    step = Traced(model, MomentumSGD(model.trainable_variables, lambda step: 0.1), 8)
    run = Run(epochs=4, steps_per_epoch=1, model=model, step=step, enter_epoch=enter_epoch)
    run.loop.run(Position())
    assert told == [0, 1, 2, 3]
    # In the epochs in which it was told once and three times.
    assert sorted(set(traces)) == [1, 3]


def test_an_epoch_tells_the_mean_over_its_own_clips():
    run = Run(epochs=2)
    before = [w.numpy() for w in run.model.weights]
    run.loop.run(Position())
    again = Run(epochs=2, steps_per_call=1)
    again.model.set_weights(before)
    again.loop.run(Position())
    for (_, logs), (_, other) in zip(run.epochs, again.epochs):
        assert logs["loss"] == pytest.approx(other["loss"], rel=1e-5)
        assert logs["top1"] == other["top1"] and (logs["top1"] * 32).is_integer()


def test_a_loss_that_is_not_finite_names_its_step_and_keeps_the_weights():
    class Poison(keras.layers.Layer):
        """NaN in the batches that hold a clip with the pixel sum of step 6's first clip."""

        def call(self, x):
            bad = tf.reduce_any(tf.reduce_sum(x, (1, 2, 3, 4)) == self.mark)
            return x * tf.where(bad, np.nan, 1.0)

    clips = next(iter(small_batches(6)))[0]
    poison = Poison()
    poison.mark = float(tf.reduce_sum(tf.cast(clips[0], tf.float32)))
    inputs = keras.Input((4, 5, 6, 3), dtype="uint8")
    x = poison(keras.layers.Rescaling(1.0)(inputs))
    x = keras.layers.GlobalAveragePooling3D()(x)
    model = keras.Model(inputs, keras.layers.Dense(3, kernel_initializer="zeros")(x))
    run = Run(model=model, steps_per_call=3)
    with pytest.raises(errors.NotFinite, match=r"not finite in step 6 \(learning rate 0\.1\)") as e:
        run.loop.run(Position())
    assert e.value.step == 6 and e.value.exit_code == 77
    assert np.isfinite(model.get_weights()[0]).all()
    assert max(p.step for p, _ in run.saved) <= 6


def out_of_memory_on_tensorflow():
    raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating (64,8)\nand much more")


def out_of_memory_on_jax():
    # Its class says nothing; see jax.errors.JaxRuntimeError.
    raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nand much more")


@pytest.mark.parametrize("fail", [out_of_memory_on_tensorflow, out_of_memory_on_jax])
def test_too_little_memory_has_a_remedy(fail):
    run = Run(validate=lambda step: fail())
    with pytest.raises(
        errors.OutOfMemory, match=r"O.* allocating .*\)\. Take the batch in parts"
    ) as stop:
        run.loop.run(Position())
    assert "\n" not in str(stop.value) and stop.value.exit_code == 1


def test_a_bug_stays_one():
    with pytest.raises(ZeroDivisionError):
        Run(validate=lambda step: 1 / 0).loop.run(Position())


def test_a_request_to_stop_is_heard_in_a_validation():
    """Which can take much longer than a machine waits before it kills."""

    def validate(step):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    run = Run(validate=validate)
    started = time.monotonic()
    with pytest.raises(errors.Preempted, match="after step 4, which is saved") as stop:
        run.loop.run(Position())
    assert stop.value.exit_code == 75 and time.monotonic() - started < 50
    # It continues with the validation that it did not finish.
    assert [(p.step, p.finished_epochs) for p, _ in run.saved] == [(4, 0)]
    again = Run(epochs=1, accuracies=[0.5], model=run.model)
    again.loop.run(run.saved[-1][0])
    assert [(p.step, p.finished_epochs) for p, _ in again.saved] == [(4, 1)]


def stop_at_step_4(step, logs):
    """Which is the last of an epoch."""
    if step == 4:
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_request_in_the_last_call_of_an_epoch_does_not_wait_for_the_validation():
    validated = []
    run = Run(validate=validated.append, on_call=stop_at_step_4)
    with pytest.raises(errors.Preempted, match="after step 4, which is saved"):
        run.loop.run(Position())
    assert not validated and [(p.step, p.finished_epochs) for p, _ in run.saved] == [(4, 0)]


class Slow(keras.layers.Layer):
    """Takes a second to trace, and no time to run."""

    def call(self, x):
        time.sleep(1.0)
        return x


def of_two_workers(monkeypatch, **options):
    """A `Run` that believes in another worker, and what `answered_within` is told."""
    monkeypatch.setattr(training_loop, "worker_addresses", lambda strategy: ["a:1", "b:2"])
    monkeypatch.setattr(training_loop, "PeerWatch", lambda addresses, index: nullcontext())
    allowed = []

    @contextmanager
    def answered_within(seconds, workers, step):
        begun = time.monotonic()
        yield
        allowed.append((seconds, time.monotonic() - begun))

    monkeypatch.setattr(training_loop, "answered_within", answered_within)
    return Run(**options), allowed


def test_a_request_is_agreed_on_by_all_workers_before_a_validation(monkeypatch):
    validated = []
    run, _ = of_two_workers(monkeypatch, validate=validated.append, on_call=stop_at_step_4)
    with pytest.raises(errors.Preempted, match="after step 4, which is saved"):
        run.loop.run(Position())
    assert not validated


def test_tracing_is_no_silence_of_other_workers(monkeypatch):
    inputs = keras.Input((4, 5, 6, 3), dtype="uint8")
    x = keras.layers.GlobalAveragePooling3D()(Slow()(keras.layers.Rescaling(1.0)(inputs)))
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    run, allowed = of_two_workers(
        monkeypatch, model=model, epochs=1, worker_timeout=5.0, steps_per_call=1
    )
    run.loop.run(Position())
    assert all(took < 1.0 for _, took in allowed), allowed
    # The others may be as much slower in it as this one took.
    assert allowed[0][0] > 6.0 and {seconds for seconds, _ in allowed[1:]} == {5.0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs=0"),
        ({"steps_per_epoch": 0}, "steps_per_epoch=0"),
        ({"validate_every": 0}, "validate_every=0"),
        ({"checkpoint_every": 0}, "checkpoint_every=0"),
        ({"steps_per_call": -1}, "steps_per_call=-1"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        Run(**options)
