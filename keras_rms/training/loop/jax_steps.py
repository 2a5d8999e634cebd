"""The steps of a training on the JAX backend, with nothing of `tf.distribute`.

Keras variables cannot change inside a function that JAX compiles, so their values go in and come
out. The data comes from `tf.data`, which here works on the host alone. It is cut for the devices of
the `keras.distribution` in whose scope the steps are made and run, if there is one. What they
compute is the same on any number of devices, but for the order in which numbers are added.
"""

import functools
import time
from collections.abc import Callable, Iterator

import jax
import keras
import numpy as np
import tensorflow as tf

from keras_rms.training.loop.train_step import TrainStep
from keras_rms.training.work_dir.checkpoints import model_state

Gradients = list[jax.Array]


def make_several_steps(train_step: TrainStep, measure_wait: bool) -> Callable[..., dict]:
    """See `train_step.make_several_steps`."""
    variables = [*model_state(train_step.model).values(), *train_step.state().values()]
    prepare = tf.function(train_step.prepare, autograph=False)

    several_devices = keras.distribution.distribution() is not None
    # The variables stay where they are: left alone XLA might cut one in parts.
    kept = [variable.value.sharding for variable in variables] if several_devices else None

    # What goes in is not needed afterwards: JAX may write what comes out into its place.
    @functools.partial(jax.jit, donate_argnums=0, out_shardings=(kept, None, None))
    def one_step(values, clips, targets, step):  # noqa: ANN001
        with keras.StatelessScope(zip(variables, values)) as scope:
            gradients, sums = _accumulate(train_step, clips, targets)
            finite = train_step.update(gradients, sums, step)
        return [scope.get_current_value(variable) for variable in variables], sums, finite

    def several_steps(iterator: Iterator, first_step: int, count: int, request: tf.Tensor) -> dict:
        values = [variable.value for variable in variables]
        sums, wait, taken, finite = np.zeros(3), 0.0, 0, True
        while taken < count and finite:
            step = first_step + taken
            asked = time.monotonic()
            clips, labels = next(iterator)
            wait += time.monotonic() - asked
            prepared = prepare(clips, labels, step)
            clips, targets = (_in_parts(part.numpy(), train_step.accumulation) for part in prepared)
            values, of_step, finite = one_step(values, clips, targets, np.int32(step))
            # Waits for the step, so that the clock above measures the data alone.
            sums += np.asarray(of_step)
            taken += 1
        for variable, value in zip(variables, values):
            variable.assign(value)
        wait = wait if measure_wait else 0.0
        return {"sums": sums, "wait": wait, "steps": taken, "finite": finite, "agreed": request}

    return several_steps


def _in_parts(batch: np.ndarray, parts: int) -> np.ndarray | jax.Array:
    """(clips, ...) -> (parts, clips / parts, ...); each device has its share of every part."""
    batch = batch.reshape(parts, -1, *batch.shape[1:])
    distribution = keras.distribution.distribution()
    if distribution is None:
        return batch
    axes = (None, distribution.batch_dim_name)
    layout = keras.distribution.TensorLayout(axes, distribution.device_mesh)
    return keras.distribution.distribute_tensor(batch, layout)


def _accumulate(
    train_step: TrainStep, clips: jax.Array, targets: jax.Array
) -> tuple[Gradients, jax.Array]:
    results = [_gradients_of_part(train_step, *part) for part in zip(clips, targets)]
    return jax.tree.map(lambda *same: sum(same), *results)


def _gradients_of_part(
    train_step: TrainStep, clips: jax.Array, targets: jax.Array
) -> tuple[Gradients, jax.Array]:
    model = train_step.model
    others = model.non_trainable_variables
    values = [variable.value for variable in others]

    def loss(weights: Gradients) -> tuple:
        logits, moved = model.stateless_call(weights, values, clips, training=True)
        loss, sums = train_step.loss(logits, targets)
        return loss, (sums, moved)

    weights = [variable.value for variable in train_step.optimizer.trained]
    gradients, (sums, moved) = jax.grad(loss, has_aux=True)(weights)
    for variable, value in zip(others, moved):
        variable.assign(value)
    return gradients, sums
