"""Where RMS goes in a block, what the layers start from, and what follows from the seed."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_rms
import keras_rms.models
from benchmarks.common import without_values
from keras_rms.models.blocks import BlockBuilder, rms_positions

INPUT = "input"
# Between which layers of a block an RMS layer of that name is, by position.
BASIC = {
    "before_conv1": {"rms1": (INPUT, "conv1")},
    "before_bn1": {"rms1": ("conv1", "bn1")},
    "before_relu1": {"rms1": ("bn1", "relu1")},
    "before_conv2": {"rms2": ("relu1", "conv2")},
    "before_bn2": {"rms2": ("conv2", "bn2")},
    "before_relu2": {"rms2": ("bn2", "add")},
    "before_all_bns": {"rms1": ("conv1", "bn1"), "rms2": ("conv2", "bn2")},
    "default": {"rms1": ("conv1", "bn1"), "rms2": ("conv2", "bn2")},
}
BOTTLENECK = BASIC | {
    "before_relu2": {"rms2": ("bn2", "relu2")},
    "before_conv3": {"rms3": ("relu2", "conv3")},
    "before_bn3": {"rms3": ("conv3", "bn3")},
    "before_relu3": {"rms3": ("bn3", "add")},
    "before_all_bns": {f"rms{i}": (f"conv{i}", f"bn{i}") for i in (1, 2, 3)},
    "default": {"rms3": ("conv3", "bn3")},
}
# The pointwise convolution of ip-CSN stands before the second one and belongs to it.
CHANNEL_SEPARATED = BOTTLENECK | {
    "before_conv2": {"rms2": ("relu1", "pointwise_conv")},
    "before_all_bns": BOTTLENECK["before_all_bns"]
    | {"rms_pointwise": ("pointwise_conv", "pointwise_bn")},
}


def block_of(kind, position, stage="res4", seed=None):
    inputs = keras.Input((4, 6, 5, 16), name=INPUT)
    builder = BlockBuilder(
        convolutions_per_block=2 if kind == "basic" else 3,
        num_blocks=1,
        rms="gaussian",
        rms_position=position,
        seed=seed,
    )
    if kind == "basic":
        outputs = builder.basic_block(inputs, 16, [(3, 3, 3)] * 2, 1, stage, 0)
    elif kind == "bottleneck":
        kernels = [(3, 1, 1), (1, 3, 3), (1, 1, 1)]
        outputs = builder.bottleneck_block(inputs, 4, kernels, 1, stage, 0)
    else:
        outputs = builder.channel_separated_block(inputs, 4, 1, stage, 0, True)
    return keras.Model(inputs, outputs)


def neighbours(model):
    """Each RMS layer's name with the names of the layers before and behind it."""
    short = lambda name: name.removeprefix("res4_block0_")  # noqa: E731
    source = lambda tensor: tensor._keras_history.operation.name  # noqa: E731
    found = {}
    for layer in model.layers:
        for tensor in keras.tree.flatten(layer.input):
            before = model.get_layer(source(tensor))
            if isinstance(before, keras_rms.RandomMeanScaling):
                found[short(before.name)] = short(source(before.input)), short(layer.name)
    return found


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("basic", BASIC), ("bottleneck", BOTTLENECK), ("channel_separated", CHANNEL_SEPARATED)],
)
def test_every_position_of_table_1a(kind, expected):
    assert set(rms_positions(2 if kind == "basic" else 3)) == set(expected)
    for position, places in expected.items():
        assert neighbours(block_of(kind, position)) == places, position
        assert neighbours(block_of(kind, position, stage="res3")) == {}


@pytest.mark.parametrize("kind", ["bottleneck", "channel_separated"])
def test_before_the_last_convolution_rms_does_what_it_does_behind(kind):
    """A 1x1x1 convolution mixes the channels of a position, and RMS the positions of a channel."""
    x = np.random.default_rng(3).normal(size=(3, 4, 6, 5, 16)).astype("float32")
    results = []
    for position in ("before_bn3", "before_conv3"):
        block = block_of(kind, position, seed=1)
        # At 0, where it starts, nothing of the branch would be seen.
        block.get_layer("res4_block0_bn3").gamma.assign(np.linspace(1, 2, 16))
        results.append(ops.convert_to_numpy(block(x, training=True)))
    assert np.abs(results[0] - ops.convert_to_numpy(block(x))).max() > 0.1  # it does something
    np.testing.assert_allclose(*results, atol=2e-5)


SMALL = {"num_classes": 3, "input_shape": (4, 32, 24, 3), "width": 8}


def arrays(model):
    return {w.path: ops.convert_to_numpy(w) for w in model.weights}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["slow_only_18", "slow_fast_50_8x8"])
def test_a_seed_fixes_the_weights_with_rms_and_without(name):
    networks = [
        arrays(keras_rms.models.build(name, seed=seed, rms=rms, **SMALL))
        for seed, rms in [(0, "mean"), (0, "mean"), (0, None), (1, None), (None, None)]
    ]
    for other in networks[1:3]:
        assert other.keys() == networks[0].keys()
        for path, value in other.items():
            np.testing.assert_array_equal(value, networks[0][path], err_msg=path)
    kernels = [path for path in networks[0] if path.endswith("_conv2/kernel")] + [
        "head_dense/kernel"
    ]
    for other in networks[3:]:
        # Of so many numbers of 24 bits two may be the same by chance.
        assert all((other[path] != networks[0][path]).mean() > 0.99 for path in kernels)


@pytest.mark.parametrize("seed", [0, None])
def test_every_rms_layer_draws_its_own_numbers(seed):
    # The template has a seed as well: it is what counts where the network has none.
    template = keras_rms.RandomMeanScaling(spread=0.25, distribution="uniform", seed=9)
    runs = []
    for _ in range(2):
        network = keras_rms.models.SlowOnly(18, rms=template, seed=seed, **SMALL)
        layers = [x for x in network.layers if isinstance(x, keras_rms.RandomMeanScaling)]
        assert {(x.spread, x.distribution) for x in layers} == {(0.25, "uniform")}
        ones = np.ones((2, 2, 2), "float32")
        runs.append([ops.convert_to_numpy(x(ones, training=True))[:, 0, 0] for x in layers])
    np.testing.assert_array_equal(*runs)
    assert len(np.unique(runs[0])) == 2 * len(layers) == 16


def test_layers_start_as_the_reference_s_do():
    network = keras_rms.models.CSN(50, 400, (8, 32, 32, 3), width=32, seed=0)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            last = layer.name.endswith("bn3")
            np.testing.assert_array_equal(layer.gamma, 0 if last else 1)
            np.testing.assert_array_equal(layer.beta, 0)
            assert (layer.momentum, layer.epsilon) == (0.9, 1e-5)
        elif layer.name.endswith(("conv", "conv1", "conv2", "conv3")):
            # Kaiming's normal distribution over the fan out, as PyTorch counts it: for a depthwise
            # kernel too, all output channels.
            kernel = ops.convert_to_numpy(layer.kernel)
            expected = (2 / (np.prod(kernel.shape[:3]) * kernel.shape[-1])) ** 0.5
            sigma = expected / (2 * kernel.size) ** 0.5
            assert abs(kernel.std() - expected) < 5 * sigma, layer.name
            assert abs(kernel.mean()) < 5 * expected / kernel.size**0.5, layer.name
            assert not layer.use_bias if hasattr(layer, "use_bias") else True
    dense = network.get_layer("head_dense")
    kernel = ops.convert_to_numpy(dense.kernel)
    assert abs(kernel.std() - 0.01) < 5 * 0.01 / (2 * kernel.size) ** 0.5
    np.testing.assert_array_equal(dense.bias, 0)


def test_moving_statistics_take_a_tenth_of_each_batch():
    network = keras_rms.models.SlowOnly(18, rms=None, seed=0, **SMALL)
    clips = np.random.default_rng(0).normal(size=(2, 4, 32, 24, 3)).astype("float32")
    stem = keras.Model(network.input, network.get_layer("stem_conv").output)
    features = ops.convert_to_numpy(stem(clips))
    network(clips, training=True)
    norm = network.get_layer("stem_bn")
    axes = (0, 1, 2, 3)
    np.testing.assert_allclose(norm.moving_mean, 0.1 * features.mean(axes), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(norm.moving_variance, 0.9 + 0.1 * features.var(axes), rtol=1e-4)


# Outputs of the stages (time, height, width, channels) at 224, from the reference.
STAGES = {
    "slow_only_50": {
        "stem_pool": (8, 56, 56, 64),
        "res2_block2_relu": (8, 56, 56, 256),
        "res3_block3_relu": (8, 28, 28, 512),
        "res4_block5_relu": (8, 14, 14, 1024),
        "res5_block2_relu": (8, 7, 7, 2048),
    },
    "slow_fast_50_8x8": {
        "lateral_stem_concat": (8, 56, 56, 80),
        "lateral_res2_concat": (8, 56, 56, 320),
        "lateral_res3_concat": (8, 28, 28, 640),
        "lateral_res4_concat": (8, 14, 14, 1280),
        "slow_res5_block2_relu": (8, 7, 7, 2048),
        "fast_stem_pool": (32, 56, 56, 8),
        "fast_res2_block2_relu": (32, 56, 56, 32),
        "fast_res3_block3_relu": (32, 28, 28, 64),
        "fast_res4_block5_relu": (32, 14, 14, 128),
        "fast_res5_block2_relu": (32, 7, 7, 256),
    },
    "ip_csn_50": {
        "res2_block2_relu": (32, 56, 56, 256),
        "res3_block3_relu": (16, 28, 28, 512),
        "res4_block5_relu": (8, 14, 14, 1024),
        "res5_block2_relu": (4, 7, 7, 2048),
    },
}


@pytest.mark.parametrize("name", STAGES)
def test_shapes_of_the_stages(name):
    network = keras_rms.models.build(name, width=8)
    for layer, (*sizes, channels) in STAGES[name].items():
        assert network.get_layer(layer).output.shape == (None, *sizes, channels // 8), layer


@pytest.mark.parametrize("dropout", [0.0, 0.25])
@pytest.mark.parametrize("name", ["slow_only_18", "slow_fast_50_8x8"])
def test_dropout_is_that_of_the_head(name, dropout):
    network = keras_rms.models.build(name, dropout=dropout, **SMALL)
    layers = [layer for layer in network.layers if isinstance(layer, keras_rms.Dropout)]
    assert [layer.rate for layer in layers] == [dropout]
    assert network.get_layer("head_dense").input is layers[0].output


# In the blocks of the last two stages; in S3D before two BNs of two branches each.
IN_WHOLE_NETWORKS = {"slow_only_18": 8, "slow_only_50": 9, "slow_fast_50_8x8": 18}
IN_WHOLE_NETWORKS |= {"ip_csn_50": 9, "ir_csn_50": 9, "s3d": 28, "i3d_50_nl": 9, "resnet_50": 9}
IN_WHOLE_NETWORKS |= {"resnet_20": 12}


@pytest.mark.parametrize(("name", "count"), IN_WHOLE_NETWORKS.items())
def test_rms_is_in_every_block_of_the_last_stages(name, count):
    with without_values():
        layers = keras_rms.models.build(name, width=8).layers
    assert sum(isinstance(layer, keras_rms.RandomMeanScaling) for layer in layers) == count
