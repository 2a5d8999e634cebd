"""Multiply-accumulates: against sums by hand, for every kind of layer that has some."""

import keras
import pytest

import keras_rms.models
from keras_rms.models.macs import multiply_accumulates


def model_of(*layers, shape):
    inputs = x = keras.Input(shape)
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, x)


@pytest.mark.any_backend
@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (keras.layers.Dense(7), (5,), 5 * 7),
        (keras.layers.Conv2D(6, (3, 5), strides=2, padding="same"), (7, 9, 4), 4 * 5 * 15 * 4 * 6),
        (keras.layers.Conv3D(6, (2, 3, 3), padding="valid"), (4, 7, 9, 4), 105 * 18 * 4 * 6),
        (keras.layers.Conv3D(6, 1, groups=2), (4, 7, 9, 4), 252 * 2 * 6),
        (keras_rms.models.DepthwiseConv3D(3, (2, 1, 1)), (5, 7, 9, 4), 3 * 63 * 27 * 4),
        (keras.layers.DepthwiseConv2D(3, 2, "same"), (7, 9, 4), 4 * 5 * 9 * 4),
        (keras.layers.DepthwiseConv2D(3, depth_multiplier=2), (7, 9, 4), 5 * 7 * 9 * 4 * 2),
        (keras.layers.SeparableConv2D(6, 3, 2, "same"), (7, 9, 4), 4 * 5 * (9 * 4 + 4 * 6)),
        (keras.layers.BatchNormalization(), (5, 7, 9, 4), 0),
        (keras.layers.MaxPooling3D(2), (4, 8, 8, 4), 0),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_layer_by_hand(layer, shape, expected):
    assert multiply_accumulates(model_of(layer, shape=shape)) == expected


@pytest.mark.any_backend
def test_of_open_sizes_at_a_given_one():
    layers = [keras.layers.Conv3D(6, 3, 2, "same", use_bias=False), keras.layers.Conv3D(2, 1)]
    network = model_of(*layers, shape=(None, None, None, 4))
    assert multiply_accumulates(network, (4, 7, 9, 4)) == 40 * (27 * 4 * 6 + 6 * 2)
    with pytest.raises(ValueError, match=r"`input_shape` must be given.*Received: input_shape="):
        multiply_accumulates(network)
    with pytest.raises(ValueError, match="Received: input_shape="):
        multiply_accumulates(network, (4, None, 9, 4))


def test_random_mean_scaling_is_not_counted():
    shape = (8, 32, 48, 3)
    with_and_without = [
        multiply_accumulates(keras_rms.models.SlowOnly(50, 5, shape, rms=rms, width=8))
        for rms in ("gaussian", None)
    ]
    assert with_and_without[0] == with_and_without[1] > 0
