"""Networks written as 2D operations over frames give what they gave."""

import keras
import numpy as np
import pytest
from few_blocks import few_blocks

import keras_rms
from keras_rms.inference.framewise_network import framewise_network
from keras_rms.models import DepthwiseConv3D
from keras_rms.models.layers.frame_subsampling import FrameSubsampling

# Time, height and width unlike each other, odd and even, so that no two of them can be mixed up.
CLIP = (7, 9, 6, 4)
LAYERS = {
    "pointwise": lambda: keras.layers.Conv3D(5, 1),
    "pointwise, strided": lambda: keras.layers.Conv3D(5, 1, strides=2, use_bias=False),
    "time": lambda: keras.layers.Conv3D(5, (3, 1, 1), padding="same"),
    "time, strided": lambda: keras.layers.Conv3D(5, (4, 1, 1), (2, 1, 1), "same"),
    "frames": lambda: keras.layers.Conv3D(5, (1, 3, 2), (1, 2, 2), "same"),
    "all": lambda: keras.layers.Conv3D(5, 3, padding="same", activation="relu"),
    "all, strided, same": lambda: keras.layers.Conv3D(5, (2, 3, 3), (2, 1, 2), "same"),
    "all, strided, valid": lambda: keras.layers.Conv3D(5, (3, 2, 3), (2, 2, 1)),
    "depthwise": lambda: DepthwiseConv3D(3),
    "depthwise, strided": lambda: DepthwiseConv3D((3, 3, 5), strides=2),
    "depthwise in time": lambda: DepthwiseConv3D((3, 1, 1), strides=(2, 1, 1)),
    "padding": lambda: keras.layers.ZeroPadding3D(((1, 2), (0, 3), (2, 0))),
    "max pool": lambda: keras.layers.MaxPooling3D((2, 3, 2), (2, 1, 2), "same"),
    "average pool": lambda: keras.layers.AveragePooling3D((3, 3, 2), 2, "same"),
    "slow frames": lambda: FrameSubsampling(7),
    "rescaling": lambda: keras.layers.Rescaling(2.0, 1.0),
}


def randomised(model, seed=1):
    """Every vector at random: those that start at zero or one would hide mistakes."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if len(weight.shape) == 1 and "seed" not in weight.path:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return model


def assert_same(model):
    x = np.random.default_rng(2).normal(size=(2, *model.input_shape[1:])).astype("float32")
    expected = keras.ops.convert_to_numpy(model(x, training=False))
    network = framewise_network(model)
    got = keras.ops.convert_to_numpy(network(x, training=False))
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() < 1e-5 * np.abs(expected).max()
    inside = [x for layer in network.layers[1:] for x in keras.tree.flatten(layer.output)]
    assert {len(each.shape) for each in inside if each is not network.outputs[0]} <= {2, 4}
    return network


@pytest.mark.parametrize("name", LAYERS)
def test_each_layer(name):
    inputs = keras.Input(CLIP)
    assert_same(randomised(keras.Model(inputs, LAYERS[name]()(inputs))))


@pytest.mark.parametrize("layer", ["all", "time", "depthwise, strided"])
def test_normalisation_goes_into_the_convolution(layer):
    inputs = keras.Input(CLIP)
    x = LAYERS[layer]()(inputs)
    x = keras.layers.BatchNormalization()(keras_rms.RandomMeanScaling()(x))
    network = assert_same(randomised(keras.Model(inputs, x)))
    is_left = any(isinstance(each, keras.layers.BatchNormalization) for each in network.layers)
    # A ReLU is between the two in the first of them.
    assert is_left == (layer == "all")


def test_normalisation_stays_where_others_read_the_convolution():
    inputs = keras.Input(CLIP)
    x = LAYERS["frames"]()(inputs)
    y = keras.layers.BatchNormalization(center=False)(x)
    y = LAYERS["time"]()(y)
    y = keras.layers.BatchNormalization(scale=False)(y)
    # One has the form of frames here, the other that of times.
    assert_same(randomised(keras.Model(inputs, keras.layers.Add()([x, y]))))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("ip_csn_50", {"residual_drop": "shake_drop"}),
        ("slow_fast_50_8x8", {"residual_drop": "drop_block"}),
    ],
)
def test_families(name, arguments):
    with few_blocks():
        model = keras_rms.models.build(
            name, num_classes=5, input_shape=(8, 33, 46, 3), width=8, seed=0, **arguments
        )
    assert_same(randomised(model))


def test_network_of_images_is_what_it_was():
    inputs = keras.Input((9, 6, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs))
    assert framewise_network(model) is model


@pytest.mark.parametrize(
    "layer",
    [
        lambda: keras_rms.models.NonLocal(name="bad"),
        lambda: keras.layers.Conv3D(4, 3, dilation_rate=2, name="bad"),
        lambda: keras.layers.Conv3D(4, 3, groups=2, name="bad"),
        lambda: keras.layers.GlobalAveragePooling3D(keepdims=True, name="bad"),
    ],
)
def test_layers_without_such_a_form(layer):
    inputs = keras.Input(CLIP)
    with pytest.raises(ValueError, match=r"layer 'bad' \(.*without as_2d"):
        framewise_network(keras.Model(inputs, layer()(inputs)))
