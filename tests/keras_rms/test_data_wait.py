"""The share of the time in which a training waits for data, on the smallest machine."""

import json
import textwrap

import command_runner
import pytest

# One processor and one thread, where whatever measures the time waits for its turn too.
PROGRAM = textwrap.dedent("""
    import os, time, json
    import tensorflow as tf
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    import keras
    from keras_rms.training.loop.train_step import TrainStep, make_several_steps
    from keras_rms.training.optimization.optimizer import MomentumSGD

    STEPS = 4
    clips, labels = tf.zeros((4, 4, 32, 32, 3)), tf.constant([0, 1, 2, 0])

    def batches(seconds):
        def wait(number):
            time.sleep(seconds)
            return number
        made = tf.data.Dataset.counter()
        if seconds:
            made = made.map(lambda i: tf.ensure_shape(tf.numpy_function(wait, [i], tf.int64), ()))
        return made.map(lambda i: (clips + tf.cast(i, tf.float32), labels)).prefetch(2)

    inputs = keras.Input(clips.shape[1:])
    x = keras.layers.Conv3D(32, 3, padding="same", activation="relu")(inputs)
    x = keras.layers.Conv3D(32, 3, padding="same", activation="relu")(x)
    x = keras.layers.GlobalAveragePooling3D()(keras.layers.Conv3D(32, 3, padding="same")(x))
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    step = TrainStep(model, MomentumSGD(model.trainable_variables, lambda step: 1e-6), 4)
    several_steps = make_several_steps(tf.distribute.get_strategy(), step)

    def seconds_and_wait(iterator, count):
        begun = time.monotonic()
        numbers = (tf.constant(n, tf.int64) for n in (0, count))
        wait = float(several_steps(iterator, *numbers, tf.zeros(2))["wait"])
        return (time.monotonic() - begun) / count, wait / count

    found = []
    for seconds in (0.0, 0.3):
        iterator = iter(batches(seconds))
        seconds_and_wait(iterator, 3)  # compiles, and takes what was made meanwhile
        found.append(seconds_and_wait(iterator, STEPS))
    print(json.dumps(found))
""")


@pytest.mark.slow
def test_the_wait_is_for_data_and_not_for_the_step():
    (step, none), (whole, waited) = json.loads(command_runner.run("-c", PROGRAM).stdout)
    # Where the clock stood behind the step in the queue, it was 0.94 of it.
    assert none < 0.5 * step, (step, none)
    assert whole >= 0.29 and waited > 0.8 * (whole - step) > 0, (step, whole, waited)
    assert waited < whole - 0.5 * step, (step, whole, waited)
