"""Convolutions by 2D operations equal Keras's 3D ones."""

import keras
import numpy as np
import pytest

from keras_rms.models.layers.framewise_conv_3d import FramewiseConv3D

pytestmark = pytest.mark.any_backend

# Time, height and width unlike each other, odd and even, so that no two of them can be mixed up.
X = np.random.default_rng(1).normal(size=(2, 7, 9, 6, 4)).astype("float32")
SETTINGS = [
    *((1, 2, "valid"), ((1, 3, 2), (1, 2, 1), "same"), ((1, 3, 3), (2, 1, 1), "valid")),
    *(((4, 1, 1), 1, "same"), ((5, 1, 1), (2, 1, 1), "valid"), ((4, 3, 1), (1, 2, 2), "same")),
    ((3, 2, 3), (2, 1, 2), "valid"),
]


def in_numpy(layer, x):
    """The outputs of the layer; on TensorFlow those under XLA, which 2D operations are for."""
    if keras.backend.backend() != "tensorflow":
        return keras.ops.convert_to_numpy(layer(x))
    import tensorflow as tf

    return tf.function(layer, jit_compile=True, autograph=False)(x).numpy()


@pytest.mark.parametrize(("kernel_size", "strides", "padding"), SETTINGS, ids=str)
def test_equals_conv_3d(kernel_size, strides, padding):
    arguments = {"strides": strides, "padding": padding, "data_format": "channels_last"}
    ours, theirs = (
        layer(5, kernel_size, activation="relu", **arguments)
        for layer in (FramewiseConv3D, keras.layers.Conv3D)
    )
    for layer in (ours, theirs):
        layer.build(X.shape)
    rng = np.random.default_rng(2)
    weights = [rng.normal(size=weight.shape) for weight in theirs.get_weights()]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    expected = keras.ops.convert_to_numpy(theirs(X))
    got = in_numpy(ours, X)
    assert got.shape == expected.shape == ours.compute_output_shape(X.shape)
    np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())


def test_what_has_no_such_form_is_left_to_keras():
    for arguments in (
        {"groups": 2},
        {"dilation_rate": 2},
        {"strides": 2, "padding": "same"},
    ):
        ours, theirs = (
            layer(4, 3, data_format="channels_last", **arguments)
            for layer in (FramewiseConv3D, keras.layers.Conv3D)
        )
        for layer in (ours, theirs):
            layer.build(X.shape)
        ours.set_weights(theirs.get_weights())
        np.testing.assert_array_equal(*(keras.ops.convert_to_numpy(x(X)) for x in (ours, theirs)))


@pytest.mark.parametrize("kernel_size", [(1, 3, 3), (3, 1, 1), 3], ids=str)
def test_half_precision_and_sizes_that_are_open(kernel_size):
    inputs = keras.Input((None, None, None, 4))
    layer = FramewiseConv3D(
        5, kernel_size, padding="same", data_format="channels_last", dtype="mixed_bfloat16"
    )
    model = keras.Model(inputs, layer(inputs))
    assert model.output_shape == (None, None, None, None, 5)
    for x in (X, X[:1, :5, :4]):
        y = keras.ops.cast(model(x), "float32")
        exact = keras.ops.convert_to_numpy(
            keras.ops.conv(x, layer.kernel.value, padding="same", data_format="channels_last")
        )
        np.testing.assert_allclose(keras.ops.convert_to_numpy(y), exact, atol=0.05)


def test_times_are_seen_in_their_order():
    """A kernel that takes the frame before, on frames that hold their own number."""
    x = np.arange(6.0).reshape(1, 6, 1, 1, 1) * np.ones((1, 1, 3, 4, 1))
    for size, row, column in (((3, 1, 1), 0, 0), ((3, 3, 3), 1, 1)):
        layer = FramewiseConv3D(
            1, size, padding="same", data_format="channels_last", use_bias=False
        )
        layer.build(x.shape)
        kernel = np.zeros((*size, 1, 1))
        kernel[0, row, column] = 1
        layer.set_weights([kernel])
        got = in_numpy(layer, x.astype("float32"))
        assert got[0, :, 1, 2, 0].tolist() == [0, 0, 1, 2, 3, 4]
