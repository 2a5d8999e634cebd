"""ResNet2D: the published parameter counts, the shapes, RMS in its places, shortcuts by hand."""

import keras
import numpy as np
import pytest

from benchmarks.common import without_values
from keras_rms import RandomMeanScaling
from keras_rms.models import ResNet2D


def trainable(model):
    return sum(int(np.prod(w.shape)) for w in model.trainable_weights)


def rms_names(model):
    return [layer.name for layer in model.layers if isinstance(layer, RandomMeanScaling)]


@pytest.mark.parametrize(
    ("depth", "num_classes", "parameters"),
    [
        # torchvision's counts.
        (18, 1000, 11_689_512),
        (34, 1000, 21_797_672),
        (50, 1000, 25_557_032),
        (101, 1000, 44_549_160),
        # He et al., table 6: 0.27M, 0.85M, 1.7M; 1.73M with CIFAR-100's classifier.
        (20, 10, 269_722),
        (56, 10, 853_018),
        (110, 10, 1_727_962),
        (110, 100, 1_733_812),
    ],
)
def test_published_parameter_counts(depth, num_classes, parameters):
    with without_values():
        assert trainable(ResNet2D(depth, num_classes, rms=None)) == parameters


def test_defaults_and_shapes():
    with without_values():
        network = ResNet2D(50, width=8)
    assert network.input_shape == (None, 224, 224, 3) and network.output_shape == (None, 1000)
    for stage, size, channels in (("res2", 56, 32), ("res3", 28, 64), ("res5", 7, 256)):
        last = network.get_layer(f"{stage}_block2_relu").output.shape
        assert last == (None, size, size, channels)
    with without_values():
        network = ResNet2D(110)
    assert network.input_shape == (None, 32, 32, 3) and network.output_shape == (None, 100)
    assert network.get_layer("res4_block17_relu").output.shape == (None, 8, 8, 64)


def test_rms_goes_into_the_last_two_stages():
    names = rms_names(ResNet2D(50, width=8, rms="gaussian"))
    blocks = [("res4", i) for i in range(6)] + [("res5", i) for i in range(3)]
    assert names == [f"{stage}_block{i}_rms3" for stage, i in blocks]
    names = rms_names(ResNet2D(20, rms="mean"))
    expected = {f"{s}_block{i}_rms{k}" for s in ("res3", "res4") for i in range(3) for k in (1, 2)}
    assert set(names) == expected
    assert rms_names(ResNet2D(20, rms=None)) == []
    assert {n[:4] for n in rms_names(ResNet2D(20, rms_stages=("res2",)))} == {"res2"}


def test_rms_acts_in_training_only():
    network = ResNet2D(20, 5, (16, 24, 3), width=8, dropout=0.0, seed=0)
    plain = ResNet2D(20, 5, (16, 24, 3), width=8, dropout=0.0, rms=None, seed=0)
    # The seed gives both the same weights; a residual branch starts at zero, so open its end.
    for model in (network, plain):
        for weight in model.weights:
            if weight.name == "gamma":
                weight.assign(np.ones(weight.shape))
    x = np.random.default_rng(0).normal(size=(2, 16, 24, 3)).astype("float32")
    outputs = [
        [keras.ops.convert_to_numpy(model(x, training=training)) for model in (network, plain)]
        for training in (False, True)
    ]
    np.testing.assert_array_equal(*outputs[0])
    assert np.abs(outputs[1][0] - outputs[1][1]).max() > 1e-3


@pytest.mark.parametrize("size", [(16, 24), (15, 21)])
def test_shortcut_subsamples_and_adds_zero_channels(size):
    network = ResNet2D(20, rms=None, input_shape=(*size, 3))
    before = network.get_layer("res2_block2_relu").output
    # A new network's branches are zero, so the block passes its shortcut alone.
    after = network.get_layer("res3_block0_relu").output
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype("float32")
    given, got = map(
        keras.ops.convert_to_numpy, keras.Model(network.inputs, [before, after])(x, training=False)
    )
    expected = np.zeros(got.shape, "float32")
    expected[..., 8:24] = given[:, ::2, ::2]
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 19}, "depth=19"),
        ({"num_classes": 0}, "num_classes=0"),
        ({"width": 0}, "width=0"),
        ({"input_shape": (8, 32, 32, 3)}, r"input_shape=\(8, 32, 32, 3\)"),
        ({"rms_position": "before_bn3", "depth": 20}, "rms_position='before_bn3'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=f"Received: {message}"):
        ResNet2D(**arguments)
