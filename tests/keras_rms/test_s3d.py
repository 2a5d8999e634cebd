"""S3D: the published parameter count, shapes, gates by hand, RMS in its places."""

import keras
import numpy as np
import pytest

from benchmarks.common import without_values
from keras_rms import RandomMeanScaling
from keras_rms.models import S3D
from keras_rms.models.s3d import BLOCKS

NARROW = {"num_classes": 5, "input_shape": (8, 32, 48, 3), "width": 8}


def trainable(model):
    return sum(int(np.prod(w.shape)) for w in model.trainable_weights)


def test_parameter_counts():
    with without_values():
        plain, gated = trainable(S3D(rms=None)), trainable(S3D(gating=True, rms=None))
    # torchvision's s3d has 8,320,048 (its documentation of S3D_Weights); the paper says 8.77M.
    assert plain == 8_320_048
    # A gate has a square matrix and a bias for each temporal convolution: 64, 192 and two a block.
    channels = [64, 192, *(c for _, b1, b2, _ in BLOCKS.values() for c in (b1[1], b2[1]))]
    assert gated == 8_320_048 + sum(c * c + c for c in channels)


def test_shapes_at_the_paper_s_input():
    network = S3D(rms=None, width=8)
    shapes = {
        "stem_relu2": (32, 112, 112, 8),
        "pool3": (32, 28, 28, 24),
        "mixed_3c_concat": (32, 28, 28, 60),
        "mixed_4f_concat": (16, 14, 14, 104),
        "mixed_5c_concat": (8, 7, 7, 128),
    }
    for name, shape in shapes.items():
        assert network.get_layer(name).output.shape == (None, *shape)


def test_separable_convolution_and_gate_by_hand():
    network = S3D(gating=True, rms=None, **NARROW)
    for i, weight in enumerate(network.weights):
        if "gate" in weight.path:
            weight.assign(np.random.default_rng(i).normal(size=weight.shape))
    outputs = [network.get_layer(n).output for n in ("res2_relu2", "res2_gate")]
    x = np.random.default_rng(0).normal(size=(2, 8, 32, 48, 3)).astype("float32")
    given, got = map(keras.ops.convert_to_numpy, keras.Model(network.inputs, outputs)(x))
    dense = network.get_layer("res2_gate_dense")
    logits = given.mean((1, 2, 3)) @ dense.kernel.numpy() + dense.bias.numpy()
    gate = 1 / (1 + np.exp(-logits))
    assert gate.std() > 0.05
    np.testing.assert_allclose(got, given * gate[:, None, None, None], rtol=1e-4, atol=1e-5)
    kernels = {c: network.get_layer(f"mixed_4b_branch1_conv{c}").kernel.shape[:3] for c in (1, 2)}
    assert kernels == {1: (1, 3, 3), 2: (3, 1, 1)}
    assert network.get_layer("mixed_4b_branch1_bn1").epsilon == 1e-3


def test_rms_goes_before_both_bns_of_the_last_blocks():
    network = S3D(**NARROW)
    names = {layer.name for layer in network.layers if isinstance(layer, RandomMeanScaling)}
    blocks = [block for block in BLOCKS if block[6] in "45"]
    assert names == {f"{b}_branch{i}_rms{k}" for b in blocks for i in (1, 2) for k in (1, 2)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "num_classes=0"),
        ({"width": 0}, "width=0"),
        ({"residual_drop": "random_drop"}, "residual_drop='random_drop'"),
        ({"rms_position": "before_bn3"}, "rms_position='before_bn3'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=f"Received: {message}"):
        S3D(**arguments)
