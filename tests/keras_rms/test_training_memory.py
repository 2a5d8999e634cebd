"""The memory of a training step: by hand, and beside measured peaks."""

import re

import keras
import pytest
import tensorflow as tf
import warm_processes

import keras_rms
from keras_rms import models
from keras_rms.models.training_memory import TrainingMemory, training_memory
from keras_rms.training.loop.train_step import TrainStep
from keras_rms.training.networks import build_network
from keras_rms.training.optimization.optimizer import MomentumSGD

SHAPE = (3, 8, 6, 2)  # time, height, width, channels
PIXELS = 3 * 8 * 6


def memory_of(*layers, dtype="float32", shape=SHAPE, frozen=()):
    inputs = x = keras.Input(shape, dtype=dtype)
    for layer in layers:
        x = layer(x)
    return training_memory(keras.Model(inputs, x), frozen=frozen)


@pytest.mark.parametrize(
    ("layers", "kept", "widest"),
    [
        ([keras.layers.Conv3D(5, 3, padding="same")], PIXELS * 2 * 4, PIXELS * 5 * 4),
        ([models.DepthwiseConv3D(3)], PIXELS * 2 * 4, PIXELS * 2 * 4),
        # What a batch normalisation takes and what an activation gives.
        (
            [keras.layers.BatchNormalization(), keras_rms.RandomMeanScaling(), keras.layers.ReLU()],
            PIXELS * 2 * 4 * 2,
            PIXELS * 2 * 4,
        ),
        # One tensor that two layers need is counted once.
        (
            [keras.layers.Activation("relu"), keras.layers.Conv3D(4, 1)],
            PIXELS * 2 * 4,
            PIXELS * 4 * 4,
        ),
        # The padded copy is what the convolution takes.
        (
            [keras.layers.ZeroPadding3D((1, 1, 2)), keras.layers.Conv3D(1, 3)],
            5 * 10 * 10 * 2 * 4,
            5 * 10 * 10 * 2 * 4,
        ),
        # In and out, of which the second is an eighth.
        ([keras.layers.MaxPooling3D((1, 2, 2))], PIXELS * 2 * 4 * 1.25, PIXELS * 2 * 4),
        ([keras.layers.GlobalAveragePooling3D(), keras.layers.Dense(9)], 2 * 4, PIXELS * 2 * 4),
        # A layer that is not known: what enters and what leaves.
        ([keras.layers.Permute((2, 1, 3, 4))], PIXELS * 2 * 4 * 2, PIXELS * 2 * 4),
    ],
)
def test_activations_by_hand(layers, kept, widest):
    assert memory_of(*layers).per_sample == kept + 2 * widest


def test_weights_have_a_gradient_and_a_momentum():
    assert memory_of(keras.layers.Conv3D(5, 3)).fixed == 3 * 4 * (27 * 2 * 5 + 5)


def test_frozen_stages_keep_nothing_where_no_gradient_goes():
    layers = [
        keras.layers.Conv3D(5, 1, name="stem_conv"),
        keras.layers.BatchNormalization(name="stem_bn"),
        keras.layers.ReLU(name="stem_relu"),
        keras.layers.Conv3D(3, 1, name="res2_conv"),
        keras.layers.BatchNormalization(name="res3_bn"),  # a gradient passes it
    ]
    memory = memory_of(*layers, frozen=("stem", "res3"))
    assert memory.per_sample == 4 * PIXELS * (5 + 3 + 2 * 5)
    assert memory.fixed == 4 * (2 * 5 + 5 + 4 * 5 + 3 * (5 * 3 + 3) + 4 * 3)


def test_in_half_precision_batch_normalisation_keeps_float32():
    half = {"dtype": "mixed_bfloat16"}
    layers = [
        keras.layers.Rescaling(1 / 255, **half),
        keras.layers.Conv3D(3, 1, **half),
        keras.layers.BatchNormalization(**half),
        keras.layers.Activation("relu", **half),
    ]
    values = PIXELS * (2 * 2 + 3 * 4 + 3 * 2) + 2 * PIXELS * 3 * 2
    assert memory_of(*layers, dtype="uint8").per_sample == values


def test_a_batch_and_its_inverse():
    memory = TrainingMemory(fixed=1000, per_sample=30)
    assert memory.of(7) == 1210
    assert [memory.largest_batch(n) for n in (1209, 1210, 1e4, 900)] == [6, 7, 300, 0]


def test_open_sizes_must_be_given():
    network = models.build("slow_only_18", width=4, input_shape=(2, None, None, 3))
    with pytest.raises(ValueError, match="`input_shape` must be given"):
        training_memory(network)
    fixed = models.build("slow_only_18", width=4, input_shape=(2, 32, 48, 3))
    assert training_memory(network, (2, 32, 48, 3)) == training_memory(fixed)


def _high_water_mark():
    with open("/proc/self/status") as file:
        return 1024 * int(re.search(r"VmHWM:\s+(\d+)", file.read())[1])


def _measure(batches, connection):
    """Sends the calculated memory, and the process's peak after a step of each batch."""
    model = build_network("slow_only_18", 5, 4, rms="mean", width=16)
    connection.send(training_memory(model, (4, 80, 112, 3)))
    optimizer = MomentumSGD(model.trainable_variables, lambda step: 0.1)
    step = TrainStep(model, optimizer, batches[0])
    strategy = tf.distribute.get_strategy()

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, 4, 80, 112, 3), tf.uint8),
            tf.TensorSpec((None,), tf.int32),
        ]
    )
    def run(clips, labels):
        return strategy.run(step, (clips, labels, tf.constant(0, tf.int64)))

    for batch in batches:
        run(tf.zeros((batch, 4, 80, 112, 3), tf.uint8), tf.zeros(batch, tf.int32))
        connection.send(_high_water_mark())


@pytest.mark.slow
def test_the_calculated_memory_is_within_a_quarter_of_measured_peaks():
    ours, theirs = warm_processes.context.Pipe()
    batches = [16, 64, 112]
    process = warm_processes.start(_measure, (batches, theirs))
    theirs.close()
    memory, *peaks = [ours.recv() for _ in range(1 + len(batches))]
    process.join()
    # Differences, because the first peak holds all that TensorFlow takes for itself.
    for index in (1, 2):
        calculated = memory.of(batches[index]) - memory.of(batches[index - 1])
        measured = peaks[index] - peaks[index - 1]
        assert 0.75 < measured / calculated < 1.25, (memory, peaks)
