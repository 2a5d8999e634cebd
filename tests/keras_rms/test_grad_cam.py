"""Grad-CAM where the deciding place is known, and on every family of networks."""

import keras
import numpy as np
import pytest

from keras_rms.inference.grad_cam import GradCam, enlarged
from keras_rms.training.networks import build_network

FAMILIES = {
    "slow_only_18": (8, [""], (8, 1, 2)),
    "slow_fast_50_8x8": (32, ["slow", "fast"], (8, 1, 2)),
    "resnet_20": (1, [""], (1, 8, 12)),
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


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_every_pathway_has_a_map(name):
    frames, pathways, shape = FAMILIES[name]
    network = build_network(name, 3, frames, width=8, seed=0)
    clips = np.random.default_rng(0).integers(0, 256, (1, frames, 32, 48, 3), np.uint8)
    maps = GradCam(network).maps(clips)
    assert sorted(maps) == sorted(pathways)
    assert maps[pathways[0]].shape[1:] == shape
    if "fast" in maps:
        assert maps["fast"].shape[1] == 32
    assert all(np.isfinite(heat).all() for heat in maps.values())


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
