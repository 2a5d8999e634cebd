"""What the options of the builders do, alike for every family."""

import functools

import keras
import numpy as np
import pytest
from few_blocks import few_blocks
from keras import ops

import keras_rms
import keras_rms.models

# name: (options, features, clip or image of odd sizes)
FAMILIES = {
    "slow_only_18": ({"width": 8}, 64, (1, 5, 37, 53, 3)),
    "slow_only_50": ({"width": 8}, 256, (1, 5, 37, 53, 3)),
    "slow_fast_50_8x8": ({"width": 16}, 576, (1, 12, 37, 53, 3)),
    "ip_csn_50": ({"width": 8}, 256, (1, 9, 37, 53, 3)),
    "ir_csn_50": ({"width": 8}, 256, (1, 9, 37, 53, 3)),
    "s3d": ({"width": 8, "gating": True}, 104, (1, 9, 37, 53, 3)),
    "i3d_50_nl": ({"width": 8}, 256, (1, 5, 37, 53, 3)),
    "resnet_50": ({"width": 8}, 256, (1, 37, 53, 3)),
    "resnet_110": ({"width": 8, "depth": 20}, 32, (1, 17, 21, 3)),
}
# Of RMS, in the networks of few blocks that are used here.
PLACES = {"slow_only_18": 8, "slow_only_50": 3, "slow_fast_50_8x8": 6, "ip_csn_50": 3}
PLACES |= {"ir_csn_50": 3, "s3d": 8, "i3d_50_nl": 3, "resnet_50": 3, "resnet_110": 6}


@pytest.fixture(scope="module", autouse=True)
def _few_blocks():
    with few_blocks():
        yield


def build(name, **kwargs):
    options, _, clip = FAMILIES[name]
    sizes = {"num_classes": 3, "input_shape": clip[1:], "seed": 1}
    return keras_rms.models.build(name, **{**sizes, **options, **kwargs})


@functools.cache
def usual(name):
    """The network without an option, and its logits of `random_clip`. Nobody may change it."""
    network = build(name)
    randomize(network)
    return network, output(network, random_clip(name))


def random_clip(name):
    return np.random.default_rng(0).normal(size=FAMILIES[name][2]).astype("float32")


def randomize(network):
    """So that no branch is switched off by the zeros that its last gamma starts from."""
    rng = np.random.default_rng(3)
    for weight in network.weights:
        if weight.name == "gamma":
            weight.assign(rng.uniform(0.5, 1, weight.shape))


def with_the_usual_weights(name, **kwargs):
    network = build(name, **{"seed": 5, **kwargs})
    # By name: options may change the order.
    weights = {weight.path: weight for weight in usual(name)[0].weights}
    for weight in network.weights:
        weight.assign(weights[weight.path])
    return network


def output(network, clip):
    return ops.convert_to_numpy(network(clip, training=False))


@pytest.mark.parametrize("name", FAMILIES)
def test_features_are_what_the_classifier_gets(name):
    network, logits = usual(name)
    features = with_the_usual_weights(name, include_top=False)
    vector = output(features, random_clip(name))
    assert features.output_shape == (None, FAMILIES[name][1]) == (None, vector.shape[-1])
    kernel, bias = network.get_layer("head_dense").get_weights()
    np.testing.assert_allclose(vector @ kernel + bias, logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_open_sizes_compute_the_same(name):
    clip = random_clip(name)
    open_sizes = (*[None] * (clip.ndim - 2), 3)
    opened = with_the_usual_weights(name, input_shape=open_sizes)
    assert opened.input_shape == (None, *open_sizes)
    np.testing.assert_allclose(output(opened, clip), usual(name)[1], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_one_file_serves_the_twins_with_rms_and_without(tmp_path, name):
    network, expected = usual(name)
    clip = random_clip(name)
    for ending, write in ((".keras", network.save), (".weights.h5", network.save_weights)):
        path = str(tmp_path / f"network{ending}")
        write(path)
        for rms, places in (("gaussian", PLACES[name]), (None, 0)):
            loaded = build(name, rms=rms, weights=path, seed=5)
            layers = [x for x in loaded.layers if isinstance(x, keras_rms.RandomMeanScaling)]
            assert len(layers) == places
            np.testing.assert_allclose(output(loaded, clip), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_rms_acts_in_training(name):
    """In every place, and differently each time."""
    network = with_the_usual_weights(name, dropout=0.0)
    layers = [x for x in network.layers if isinstance(x, keras_rms.RandomMeanScaling)]
    assert len(layers) == PLACES[name] and {x.smoothing for x in layers} == {"mean"}
    trained = [ops.convert_to_numpy(network(random_clip(name), training=True)) for _ in range(2)]
    assert np.abs(trained[0] - trained[1]).max() > 0


@pytest.mark.parametrize("name", FAMILIES)
def test_weights_that_do_not_fit(tmp_path, name):
    path = str(tmp_path / "network.weights.h5")
    usual(name)[0].save_weights(path)
    with pytest.raises(ValueError, match=r"head_dense .* have shapes .*num_classes"):
        build(name, num_classes=4, weights=path)
    with pytest.raises(ValueError, match=r"Layers that the network lacks: head_dense"):
        build(name, include_top=False, weights=path)


@pytest.mark.parametrize("name", FAMILIES)
def test_settings_of_rms_reach_every_place(name):
    template = keras_rms.RandomMeanScaling(spread=0.25, granularity="channel", seed=7)
    network = build(name, rms=template, rms_stages=("res3",), rms_position="before_bn1", seed=None)
    layers = [x for x in network.layers if isinstance(x, keras_rms.RandomMeanScaling)]
    assert layers and all("res3" in x.name or "mixed_3" in x.name for x in layers)
    assert {(x.spread, x.granularity) for x in layers} == {(0.25, "channel")}
    assert len({x.seed for x in layers}) == len(layers)


@pytest.mark.parametrize("kind", ["random_drop", "shake_drop", "drop_block"])
@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "s3d"])
def test_residual_drop_ends_every_branch(name, kind):
    network = build(name, residual_drop=kind)
    layer, share, last = {
        "random_drop": (keras_rms.RandomDrop, "survival", 0.5),
        "shake_drop": (keras_rms.ShakeDrop, "survival", 0.5),
        "drop_block": (keras_rms.DropBlock, "keep_prob", 0.9),
    }[kind]
    drops = [drop for drop in network.layers if isinstance(drop, layer)]
    adds = {add.name: add for add in network.layers if isinstance(add, keras.layers.Add)}
    assert len(drops) == len(adds)
    for drop in drops:
        add = adds[drop.name.removesuffix("_drop") + "_add"]
        assert drop.output is add.input[0]
    pathways = 2 if name.startswith("slow_fast") else 1
    blocks = len(drops) // pathways
    shares = sorted(getattr(drop, share) for drop in drops)
    expected = np.repeat(1 - (1 - last) * np.arange(blocks, 0, -1) / blocks, pathways)
    np.testing.assert_allclose(shares, expected)


def test_residual_drop_copies_a_layer():
    template = keras_rms.ShakeDrop(0.8, alpha=(-1, 1), granularity="channel", seed=3)
    network = build("slow_only_18", residual_drop=template, seed=None)
    drops = [layer for layer in network.layers if isinstance(layer, keras_rms.ShakeDrop)]
    expected = 1 - 0.2 * np.arange(1, 9) / 8
    np.testing.assert_allclose([drop.survival for drop in drops], expected)
    settings = {(drop.alpha, drop.granularity, drop.data_format) for drop in drops}
    assert settings == {((-1.0, 1.0), "channel", "channels_last")}
    assert len({drop.seed for drop in drops}) == len(drops)


@pytest.mark.parametrize("name", FAMILIES)
def test_preprocessing_normalizes_bytes(name):
    rng = np.random.default_rng(2)
    clip = rng.integers(0, 256, FAMILIES[name][2]).astype("uint8")
    of_bytes = with_the_usual_weights(name, include_preprocessing=True)
    expected = output(usual(name)[0], ((clip / 255 - 0.45) / 0.225).astype("float32"))
    np.testing.assert_allclose(output(of_bytes, clip), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(
    "arguments",
    [
        {"num_classes": 0},
        {"width": 0},
        {"rms": "median"},
        {"rms_position": "before_bn4"},
        {"rms_stages": ("res6",)},
        {"rms_stages": 4},
        {"residual_drop": "dropout"},
        {"weights": "absent.keras"},
        {"input_shape": (32, 3)},
        {"input_shape": 224},
        {"dropout": 1.0},
    ],
    ids=lambda arguments: next(iter(arguments)),
)
def test_bad_arguments(name, arguments):
    (argument,) = arguments
    with pytest.raises(ValueError, match=f"`{argument}` .*Received: {argument}="):
        build(name, **arguments)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("slow_fast_50_8x8", {"width": 12}),
        ("slow_fast_50_8x8", {"alpha": 0}),
        ("slow_fast_50_8x8", {"lateral_kernel": 4}),
        ("slow_fast_50_8x8", {"temporal_blocks": (4, 4, 6, 3)}),
        ("slow_fast_50_8x8", {"slow_frames": "random"}),
        ("slow_fast_50_8x8", {"head_order": "slow"}),
        ("slow_fast_50_8x8", {"temporal_blocks": 3}),
        ("slow_fast_50_8x8", {"rms_pathways": ("both",)}),
        ("slow_fast_50_8x8", {"rms_pathways": "slow"}),
        ("slow_fast_50_8x8", {"rms_pathways": None}),
        ("slow_fast_50_8x8", {"depth": 18}),
        ("slow_only_18", {"depth": 20}),
        ("ip_csn_50", {"depth": 18}),
        ("ip_csn_50", {"interaction": "none"}),
        ("ip_csn_50", {"epsilon": 0}),
        ("slow_only_18", {"input_shape": (8, 32, 32)}),
        ("resnet_50", {"input_shape": (8, 32, 32, 3)}),
    ],
    ids=str,
)
def test_bad_arguments_of_one_family(name, arguments):
    (argument,) = arguments
    with pytest.raises(ValueError, match=f"`{argument}` .*Received: {argument}="):
        build(name, **arguments)


def saved(network, tmp_path):
    network.save(path := str(tmp_path / "network.keras"))
    return path


def test_a_file_with_another_epsilon(tmp_path):
    path = saved(build("ir_csn_50", epsilon=1e-3), tmp_path)
    with pytest.raises(ValueError, match=r"its epsilon of stem_bn is 0\.001, .* 1e-05"):
        build("ir_csn_50", weights=path)
    build("ir_csn_50", epsilon=1e-3, weights=path)


@pytest.mark.slow
def test_a_file_with_other_frames_or_another_order_of_the_features(tmp_path):
    rule, order = {"slow_frames": "stride"}, {"head_order": "fast_slow"}
    path = saved(build("slow_fast_50_8x8", **rule, **order), tmp_path)
    with pytest.raises(ValueError, match=r"its rule of slow_frames is stride, .* linspace"):
        build("slow_fast_50_8x8", weights=path, **order)
    with pytest.raises(ValueError, match=r"its order of head_pool is \['fast_head_pool', 'slow_"):
        build("slow_fast_50_8x8", weights=path, **rule)
    build("slow_fast_50_8x8", weights=path, **rule, **order)


def test_an_unknown_name():
    with pytest.raises(ValueError, match="Received: name='slow_only_51'"):
        keras_rms.models.build("slow_only_51")


@pytest.mark.parametrize("pathway", ["slow", "fast"])
def test_rms_in_one_pathway(pathway):
    network = build("slow_fast_50_8x8", rms_pathways=(pathway,))
    names = [x.name for x in network.layers if isinstance(x, keras_rms.RandomMeanScaling)]
    assert len(names) == 3 and all(name.startswith(f"{pathway}_") for name in names)


def test_slow_frame_rules_and_head_order():
    name = "slow_fast_50_8x8"
    clip = random_clip(name)
    strided = with_the_usual_weights(name, slow_frames="stride")
    assert np.abs(output(strided, clip) - usual(name)[1]).max() > 1e-6
    turned = with_the_usual_weights(name, head_order="fast_slow", include_top=False)
    straight = with_the_usual_weights(name, include_top=False)
    slow_first = output(straight, clip)
    np.testing.assert_allclose(
        output(turned, clip), np.roll(slow_first, 64, axis=-1), rtol=1e-4, atol=1e-5
    )
