"""DropBlock against the paper's algorithm 1, and what its masks look like."""

import itertools

import keras
import numpy as np
import pytest
from layer_checks import check_refused
from layer_reference import is_nothing_done, position_coded, value_and_gradient

import keras_rms

pytestmark = pytest.mark.any_backend


def dropped_of(layer, shape):
    """Where a training call drops, as booleans; all ones otherwise have one value."""
    y = keras.ops.convert_to_numpy(layer(np.ones(shape, "float32"), training=True))
    kept = y != 0
    if kept.any():
        # Algorithm 1, line 7: normalised by the count of all and of the kept.
        np.testing.assert_allclose(y[kept], kept.size / kept.sum(), rtol=1e-5)
    return ~kept


def covered_by_blocks(dropped, block):
    """What the whole blocks in a mask of one sample and channel cover, window by window."""
    covered = np.zeros_like(dropped)
    for corner in itertools.product(*(range(f - b + 1) for f, b in zip(dropped.shape, block))):
        window = tuple(slice(c, c + b) for c, b in zip(corner, block))
        if dropped[window].all():
            covered[window] = True
    return covered


@pytest.mark.parametrize(
    ("space", "block_size", "block", "data_format"),
    [
        ((23,), 4, (4,), "channels_last"),
        ((23,), 4, (4,), "channels_first"),
        ((11, 14), 3, (3, 3), "channels_last"),
        ((11, 14), (2, 5), (2, 5), "channels_first"),
        ((5, 9, 12), (2, 3, 4), (2, 3, 4), "channels_first"),
        # Larger than the feature along time: as large as the feature.
        ((3, 9, 12), 4, (3, 4, 4), "channels_last"),
    ],
)
def test_what_is_dropped_are_whole_blocks_of_each_channel(space, block_size, block, data_format):
    shape = (4, *space, 3) if data_format == "channels_last" else (4, 3, *space)
    layer = keras_rms.DropBlock(block_size, 0.7, data_format=data_format, seed=1)
    dropped = dropped_of(layer, shape)
    if data_format == "channels_last":
        dropped = np.moveaxis(dropped, -1, 1)
    masks = dropped.reshape(-1, *space)
    for mask in masks:
        np.testing.assert_array_equal(covered_by_blocks(mask, block), mask)
    assert masks.any() and not masks.all()
    assert len({mask.tobytes() for mask in masks}) > 1


def test_channels_of_a_sample_may_share_a_mask():
    dropped = dropped_of(keras_rms.DropBlock(3, 0.6, granularity="sample", seed=0), (5, 9, 8, 4))
    assert (dropped == dropped[..., :1]).all()
    assert len({mask.tobytes() for mask in dropped[..., 0]}) > 1


@pytest.mark.parametrize(
    ("space", "block"), [((30,), (5,)), ((9, 8), (3, 4)), ((4, 5, 4), (2, 2, 2))]
)
def test_the_rate_of_blocks_is_gamma_within_four_sigma(space, block):
    """In the corner only the block that begins there drops: its rate is gamma of eq. 1."""
    layer = keras_rms.DropBlock(block, 0.8, seed=3)
    dropped = dropped_of(layer, (1, *space, 40_000)).reshape(-1, 40_000)[0]
    gamma = 0.2
    for f, b in zip(space, block):
        gamma *= f / b / (f - b + 1)
    assert abs(dropped.mean() - gamma) < 4 * (gamma * (1 - gamma) / dropped.size) ** 0.5


def test_blocks_of_one_position_are_dropout():
    dropped = dropped_of(keras_rms.DropBlock(1, 0.75, seed=0), (10, 20, 20, 25))
    assert abs(dropped.mean() - 0.25) < 4 * (0.25 * 0.75 / dropped.size) ** 0.5


def test_the_gradient_goes_where_the_value_does():
    x, upstream = (position_coded((3, 8, 9, 2), seed).astype("float32") for seed in (0, 1))
    layer = keras_rms.DropBlock(3, 0.7, seed=5)
    y, gradient = value_and_gradient(lambda x: layer(x, training=True), x, upstream)
    factor = y / x
    assert (factor == 0).any() and np.ptp(factor[factor != 0]) < 1e-5
    np.testing.assert_allclose(gradient, factor * upstream, rtol=1e-5, atol=1e-6)


def test_what_is_dropped_may_be_infinite_and_all_may_be_dropped():
    x = np.full((2, 4, 4, 1), np.inf, "float32")
    y = keras.ops.convert_to_numpy(keras_rms.DropBlock(4, 0.0)(x, training=True))
    np.testing.assert_array_equal(y, 0)


def test_inference_and_keeping_all_are_nothing():
    x = position_coded((2, 8, 9, 2)).astype("float32")
    assert is_nothing_done(keras_rms.DropBlock(3, 0.5), x, training=False)
    assert is_nothing_done(keras_rms.DropBlock(3, 1), x, training=True)


def test_the_share_falls_along_a_line_and_goes_on_after_saving(tmp_path):
    def network():
        inputs = keras.Input((1, 4000))
        return keras.Model(inputs, keras_rms.DropBlock(1, 0.5, ramp_steps=4, seed=0)(inputs))

    def shares(model, calls):
        x = np.ones((1, 1, 4000), "float32")
        outputs = [keras.ops.convert_to_numpy(model(x, training=True)) for _ in range(calls)]
        return [(y == 0).mean() for y in outputs]

    whole = network()
    found = shares(whole, 6)
    np.testing.assert_allclose(found, [0, 0.125, 0.25, 0.375, 0.5, 0.5], atol=4 * 0.5 / 4000**0.5)
    first = network()
    shares(first, 2)
    first.save(tmp_path / "model.keras")
    assert shares(keras.saving.load_model(tmp_path / "model.keras"), 4) == found[2:]


def test_sizes_that_are_not_known_when_the_graph_is_built():
    """The same masks as with known sizes, compiled where the backend compiles."""
    x = np.ones((6, 9, 11, 4), "float32")

    def output(*space):
        inputs = keras.Input((*space, 4))
        model = keras.Model(inputs, keras_rms.DropBlock((10, 3), 0.6, seed=2)(inputs))
        if keras.backend.backend() != "tensorflow":
            return keras.ops.convert_to_numpy(model(x, training=True))
        import tensorflow as tf

        spec = tf.TensorSpec((None, *space, 4))
        return tf.function(lambda x: model(x, training=True), input_signature=[spec])(x).numpy()

    np.testing.assert_array_equal(output(None, None), output(9, 11))
    assert (output(None, None) == 0).any()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("block_size", 0),
        ("block_size", 2.5),
        ("block_size", ()),
        ("keep_prob", 1.5),
        ("keep_prob", None),
        ("ramp_steps", -1),
        ("granularity", "pixel"),
        ("data_format", "NHWC"),
        ("seed", -1),
    ],
)
def test_bad_arguments(name, value):
    check_refused(keras_rms.DropBlock, name, **{name: value})


def test_a_block_of_other_dimensions_than_the_input():
    with pytest.raises(ValueError, match=r"2 for an input of rank 4. Received: block_size="):
        keras_rms.DropBlock((3, 3, 3))(np.ones((2, 8, 8, 1), "float32"))
    with pytest.raises(ValueError, match=r"`inputs` must have a floating type"):
        keras_rms.DropBlock(3)(np.ones((2, 8, 8, 1), "int32"), training=True)
