"""Max pooling by 2D operations equals Keras's 3D one."""

import keras
import numpy as np
import pytest

from keras_rms.models.layers.framewise_pooling import FramewiseMaxPooling3D

pytestmark = pytest.mark.any_backend


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(
    ("pool_size", "strides"),
    [((1, 3, 3), (1, 2, 2)), ((3, 3, 3), 2), ((2, 1, 1), None), (2, 2), ((3, 3, 3), 1)],
)
def test_equals_max_pooling_3d(padding, pool_size, strides):
    x = np.random.default_rng(1).normal(size=(2, 5, 8, 7, 3)).astype("float32")
    arguments = {"strides": strides, "padding": padding, "data_format": "channels_last"}
    expected = keras.layers.MaxPooling3D(pool_size, **arguments)(x)
    got = FramewiseMaxPooling3D(pool_size, **arguments)(x)
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(got), keras.ops.convert_to_numpy(expected)
    )


def test_sizes_unknown_while_building():
    inputs = keras.Input((None, None, None, 3))
    layer = FramewiseMaxPooling3D((2, 3, 3), (2, 2, 2), "same", "channels_last")
    model = keras.Model(inputs, layer(inputs))
    assert model.output_shape == (None, None, None, None, 3)
    x = np.random.default_rng(1).normal(size=(2, 5, 8, 7, 3)).astype("float32")
    expected = keras.layers.MaxPooling3D((2, 3, 3), 2, "same", "channels_last")(x)
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(model(x)), keras.ops.convert_to_numpy(expected)
    )
