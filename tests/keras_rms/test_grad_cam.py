"""Grad-CAM where the deciding place is known, and on every family of networks."""

import keras
import numpy as np
import pytest
from few_blocks import few_blocks

from keras_rms.inference.grad_cam import GradCam, enlarged
from keras_rms.training.networks import build_network

FAMILIES = {  # name -> frames, pathways, the length of each one's map
    "slow_only_18": (8, [""], [8]),
    "slow_fast_50_8x8": (32, ["slow", "fast"], [8, 32]),
    "ip_csn_50": (16, [""], [2]),
    "ir_csn_50": (16, [""], [2]),
    "s3d": (16, [""], [2]),
    "i3d_50_nl": (8, [""], [4]),
    "i3d_50_cgd": (8, [""], [4]),
    "resnet_20": (1, [""], [1]),
}


def colour_network():
    """Class c is for the colour c; features are means over 2x4x4 positions."""
    clip = keras.Input((4, 16, 24, 3))
    x = keras.layers.AveragePooling3D((2, 4, 4), name="features")(clip)
    x = keras.layers.GlobalAveragePooling3D(name="head_pool")(x)
    classifier = keras.layers.Dense(3, use_bias=False)
    logits = classifier(x)
    classifier.set_weights([np.eye(3, dtype=np.float32) - 0.2])
    return keras.Model(clip, logits)


def test_the_map_is_where_the_class_is():
    clips = np.zeros((2, 4, 16, 24, 3), np.float32)
    clips[0, 2:, 4:8, 16:20, 0] = 5  # red, in the second half of time, row 1, column 4
    clips[0, :2, 12:, :4, 2] = 1  # some blue, elsewhere
    clips[1, :2, :4, 8:12, 1] = 2
    cam = GradCam(colour_network())
    maps = cam.maps(clips)[""]
    assert maps.shape == (2, 2, 4, 6)
    assert np.unravel_index(maps[0].argmax(), maps[0].shape) == (1, 1, 4)
    assert np.unravel_index(maps[1].argmax(), maps[1].shape) == (0, 0, 2)
    assert maps.max() == 1 and (maps[0] > 0).sum() == 1
    blue = cam.maps(clips, classes=[2, 2])[""]
    assert np.unravel_index(blue[0].argmax(), blue[0].shape) == (0, 3, 0)
    assert not blue[1].any()  # nothing speaks for it


def test_weights_are_the_mean_gradients():
    """With pooling and one matrix the gradient is the matrix: the maps are those of CAM."""
    network = build_network("slow_only_18", 4, 2, width=4, seed=0)
    clips = np.random.default_rng(0).integers(0, 256, (2, 2, 96, 64, 3), np.uint8)
    pool = network.get_layer("head_pool")
    features = keras.Model(network.input, pool.input)(clips, training=False).numpy()
    weights = network.get_layer("head_dense").get_weights()[0]
    expected = np.maximum(features @ weights[:, 3], 0)
    largest = expected.max(axis=(1, 2, 3), keepdims=True)
    assert (largest > 0).any()
    expected /= np.where(largest > 0, largest, 1)
    received = GradCam(network).maps(clips, classes=[3, 3])[""]
    np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-6)


ROWS, COLUMNS, CELL = 5, 7, 32  # of the clips; all networks of clips have these cells at their end
TAUGHT = [(1, 1, 0), (3, 5, 1), (1, 4, 1), (3, 2, 0)]  # row, column, half of time


def clip_with_square(frames, place=None):
    """uint8 (frames, height, width, 3): grey, and red in one cell during one half of time."""
    clip = np.full((frames, ROWS * CELL, COLUMNS * CELL, 3), 110, np.uint8)
    if place is not None:
        half = (slice(0, -(-frames // 2)), slice(frames // 2, frames))[place[2]]
        row, column = place[0] * CELL, place[1] * CELL
        clip[half, row : row + CELL, column : column + CELL] = (230, 40, 40)
    return clip if frames > 1 else clip[0]


def marked(shape, place):
    """float (time, height, width) of a map: 1 where the square is."""
    mark = np.zeros((min(2, shape[0]), ROWS, COLUMNS))
    if place is not None:
        mark[place[2] % len(mark), place[0], place[1]] = 1
    for axis, size in enumerate(shape):
        mark = np.repeat(mark, -(-size // mark.shape[axis]), axis)
    return mark


def teach_the_square(network, features, clips):
    """Gives the head the weights by which class 0 is the square: least squares, no training."""
    weights = []
    for feature in keras.tree.flatten(features(clips, training=False)):
        values = feature.numpy().reshape(len(clips), -1, *feature.shape[-3:])
        wanted = [marked(values.shape[1:4], place) for place in (None, *TAUGHT)]
        rows = values.reshape(-1, values.shape[-1])
        products = rows.T @ rows
        ridge = 1e-3 * np.trace(products) / len(products) * np.eye(len(products))
        weights.append(np.linalg.solve(products + ridge, rows.T @ np.stack(wanted).ravel()))
    kernel = np.concatenate(weights).astype("float32")
    network.get_layer("head_dense").set_weights([np.stack([kernel, -kernel], 1), np.zeros(2)])


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_every_pathway_looks_where_and_when_the_class_is(name):
    frames, pathways, times = FAMILIES[name]
    with few_blocks():
        network = build_network(name, 2, frames, width=8, seed=0)
    for layer in network._flatten_layers():
        # Zero at first in the last BN of a branch, which then does nothing.
        if isinstance(layer, keras.layers.BatchNormalization) and layer.scale:
            layer.gamma.assign(np.ones(layer.gamma.shape))
    cam = GradCam(network)
    assert cam.pathways == pathways
    taught = [clip_with_square(frames, place) for place in (None, *TAUGHT)]
    teach_the_square(network, cam._features, np.stack(taught))
    for place in ((2, 5, 0), (3, 1, 1)):  # not those that were taught
        maps = cam.maps(clip_with_square(frames, place)[None], classes=[0])
        assert [heat.shape[1] for heat in maps.values()] == times
        for heat in maps.values():
            large = enlarged(heat[0], (frames, ROWS * CELL, COLUMNS * CELL))
            cells = large.reshape(frames, ROWS, CELL, COLUMNS, CELL).mean(axis=(2, 4))
            where = np.unravel_index(cells.mean(0).argmax(), (ROWS, COLUMNS))
            assert where == place[:2]
            if frames > 1:
                first, second = np.split(cells.mean(axis=(1, 2)), 2)
                assert (second.mean() > first.mean()) == place[2]


def test_enlarged_is_linear_between_centres():
    heat = np.arange(24.0).reshape(2, 3, 4)
    large = enlarged(heat, (4, 9, 8))
    assert large.shape == (4, 9, 8)
    # Every third row's centre is the centre of an old one; times and columns lie a quarter beside.
    expected = 12 * 0.25 + np.arange(3) * 4 + (1 * 0.25 + 1)
    np.testing.assert_allclose(large[1, 1::3, 3], expected)
    np.testing.assert_array_equal(enlarged(heat, heat.shape), heat)


def test_a_model_without_pooling_is_refused():
    clip = keras.Input((2, 4, 4, 3))
    model = keras.Model(clip, keras.layers.Dense(2)(keras.layers.Flatten()(clip)))
    with pytest.raises(ValueError, match="must have a global average pooling"):
        GradCam(model)
