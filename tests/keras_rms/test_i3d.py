"""I3D: the published parameter count, five attention blocks in their places, files."""

import keras
import numpy as np
import pytest
from few_blocks import few_blocks

from benchmarks.common import without_values
from keras_rms.models import I3D, CompactGeneralizedNonLocal, CompactGlobalDescriptor, NonLocal

NARROW = {"num_classes": 5, "input_shape": (4, 32, 48, 3), "width": 8}
KINDS = {"nl": NonLocal, "cgnl": CompactGeneralizedNonLocal, "cgd": CompactGlobalDescriptor}
# Channels behind res3 and res4.
PLACES = {"res3_block1": 512, "res3_block3": 512}
PLACES |= {f"res4_block{i}": 1024 for i in (1, 3, 5)}


def trainable(model):
    return sum(int(np.prod(w.shape)) for w in model.trainable_weights)


def block_parameters(kind, channels):
    inner = channels // 2
    return {
        None: 0,
        "nl": 3 * (channels * inner + inner) + inner * channels + channels + 2 * channels,
        "cgnl": 3 * channels * inner + inner * channels // 8 + 2 * channels,
        "cgd": 6 * channels,
    }[kind]


@pytest.mark.parametrize("attention", [None, *KINDS])
def test_parameter_counts(attention):
    # PyTorchVideo's table of models gives 28.04M for I3D ResNet-50.
    blocks = sum(block_parameters(attention, channels) for channels in PLACES.values())
    with without_values():
        assert trainable(I3D(attention, rms=None)) == 28_043_472 + blocks


@pytest.mark.slow
@pytest.mark.parametrize("attention", KINDS)
def test_attention_follows_five_blocks(tmp_path, attention):
    network = I3D(attention, **NARROW)
    found = [layer for layer in network.layers if isinstance(layer, KINDS[attention])]
    assert [layer.name for layer in found] == [f"{place}_{attention}" for place in PLACES]
    for layer, place in zip(found, PLACES):
        assert layer.input is network.get_layer(f"{place}_relu").output
    rng = np.random.default_rng(0)
    for weight in network.weights:
        if weight.name == "gamma":
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    x = rng.normal(size=(1, 4, 32, 48, 3)).astype("float32")
    expected = keras.ops.convert_to_numpy(network(x, training=False))
    network.save(tmp_path / "x.keras")
    for again in (
        keras.saving.load_model(tmp_path / "x.keras"),
        I3D(attention, rms=None, weights=tmp_path / "x.keras", **NARROW),
    ):
        got = keras.ops.convert_to_numpy(again(x, training=False))
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_temporal_kernels_and_shapes():
    network = I3D(None, rms=None, width=8)
    lengths = [
        network.get_layer(f"res{stage}_block{i}_conv1").kernel.shape[0]
        for stage, blocks in ((2, 3), (3, 4), (4, 6), (5, 3))
        for i in range(blocks)
    ]
    assert lengths == [3, 3, 3, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 1, 3, 1]
    assert network.get_layer("stem_conv").kernel.shape[:3] == (5, 7, 7)
    assert network.get_layer("res5_block2_relu").output.shape == (None, 4, 7, 7, 256)


@pytest.mark.slow
@pytest.mark.parametrize("attention", KINDS)
def test_open_sizes_seed_and_training_step(attention):
    arguments = NARROW | {"input_shape": (None, None, None, 3), "seed": 0}
    with few_blocks():
        first, second = I3D(attention, **arguments), I3D(attention, **arguments)
    for a, b in zip(first.weights, second.weights):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    first.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x = np.random.default_rng(0).normal(size=(2, 4, 35, 49, 3)).astype("float32")
    loss = first.train_on_batch(x, np.array([0, 1]))
    assert np.isfinite(loss)
    kernel = first.get_layer(f"res4_block1_{attention}").trainable_weights[-1]
    before = second.get_layer(f"res4_block1_{attention}").trainable_weights[-1]
    assert np.abs(kernel.numpy() - before.numpy()).max() > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"attention": "se"}, "attention='se'"),
        ({"num_classes": 0}, "num_classes=0"),
        ({"width": 0}, "width=0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=f"Received: {message}"):
        I3D(**arguments)
