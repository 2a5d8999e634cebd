"""Networks as training builds them: of clips and of images, fed with what the pipelines give."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_rms import Dropout, RandomDrop, RandomMeanScaling
from keras_rms.inference.inputs import as_inputs
from keras_rms.inference.view_scores import ViewScorer
from keras_rms.training.batch_norm.precise import PreciseBatchNorm
from keras_rms.training.loop.train_step import TrainStep
from keras_rms.training.networks import build_network, dtype_policy, network_of
from keras_rms.training.optimization.optimizer import MomentumSGD
from keras_rms.training.optimization.schedules import WarmupCosine
from keras_rms.training.recipe import Recipe


def image_network():
    return build_network("resnet_20", 5, 1, rms=None, width=4, seed=0)


def random_images(count=6):
    images = np.random.default_rng(0).integers(0, 256, (count, 24, 20, 3), np.uint8)
    return tf.constant(images), tf.range(count) % 5


def test_a_network_of_images_takes_images():
    model = image_network()
    assert model.input_shape == (None, None, None, 3) and model.inputs[0].dtype == "uint8"
    images, _ = random_images()
    np.testing.assert_array_equal(as_inputs(model, images[:, None]), images)
    np.testing.assert_array_equal(as_inputs(model, images), images)


def test_a_network_of_clips_takes_clips():
    model = build_network("slow_only_18", 5, 2, rms=None, width=4)
    clips = tf.zeros((1, 2, 8, 8, 3), tf.uint8)
    assert as_inputs(model, clips) is clips


def test_several_frames_are_no_image():
    with pytest.raises(ValueError, match="num_frames=8"):
        build_network("resnet_20", 5, 8)


def test_options_that_a_network_lacks_are_named():
    # None is an option that was not given.
    with pytest.raises(ValueError, match="s3d has no option depth, window; leave it out"):
        build_network("s3d", 5, 8, dropout=0.5, depth=18, window=3, width=None, seed=0)


def test_an_unknown_network_is_named():
    with pytest.raises(ValueError, match="name='slow_only_19'"):
        build_network("slow_only_19", 5, 8)


def test_a_recipe_decides_what_rms_and_the_branches_are():
    recipe = Recipe(
        model="slow_only_18",
        width=4,
        num_frames=2,
        rms="gaussian",
        rms_stddev=0.7,
        rms_distribution="uniform",
        rms_mean=0.9,
        rms_spread=0.2,
        rms_component="residual",
        rms_stages=("res3",),
        residual_drop="random_drop",
        last_survival=0.75,
        dropout=0.3,
    )
    layers = network_of(recipe, num_classes=5).layers
    inserted = [layer for layer in layers if isinstance(layer, RandomMeanScaling)]
    assert {layer.name.split("_")[0] for layer in inserted} == {"res3"}
    for name, value in {
        "smoothing": "gaussian",
        "smoothing_stddev": 0.7,
        "distribution": "uniform",
        "mean": 0.9,
        "spread": 0.2,
        "component": "residual",
    }.items():
        assert {getattr(layer, name) for layer in inserted} == {value}
    drops = [layer.survival for layer in layers if isinstance(layer, RandomDrop)]
    assert drops[-1] == 0.75 and drops == sorted(drops, reverse=True)
    (dropout,) = [layer for layer in layers if isinstance(layer, Dropout)]
    assert dropout.rate == 0.3


def test_a_recipe_without_rms_has_none():
    layers = network_of(Recipe(model="slow_only_18", width=4, rms="none"), num_classes=5).layers
    assert not [each for each in layers if isinstance(each, (RandomMeanScaling, RandomDrop))]


def test_a_dtype_policy_is_put_back():
    before = keras.config.dtype_policy()
    with pytest.raises(RuntimeError), dtype_policy("mixed_bfloat16"):
        assert keras.layers.Dense(1).compute_dtype == "bfloat16"
        raise RuntimeError
    assert keras.config.dtype_policy() is before


@pytest.mark.parametrize("policy", ["float64", "mixed_float16"])
@pytest.mark.parametrize("name", ["i3d_50_nl", "s3d"])
def test_networks_that_pool_over_time_compute_in_every_precision(name, policy):
    # TensorFlow's own 3D max pooling knows neither float64 nor, on a CPU, float16.
    with dtype_policy(policy):
        network = build_network(name, 5, 4, rms=None, width=4)
    logits = network(np.zeros((1, 4, 32, 40, 3), np.uint8), training=False)
    assert logits.dtype == ("float64" if policy == "float64" else "float32")
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("several_views", [False, True])
def test_scores_of_clips_of_one_frame_are_those_of_images(several_views):
    model = image_network()
    images, labels = random_images()
    views = tf.stack([images, images[:, ::-1]], 1) if several_views else images[:, None]
    batch = {
        "views": views[:, :, None],
        "label": labels,
        "index": tf.range(6),
        "mask": tf.ones(6, tf.bool),
    }
    scores = ViewScorer(model).scores(tf.data.Dataset.from_tensors(batch)).scores
    expected = np.mean(
        [tf.nn.softmax(model(views[:, i])).numpy() for i in range(views.shape[1])], axis=0
    )
    np.testing.assert_allclose(scores, expected, atol=1e-6)


@pytest.mark.slow
def test_a_step_and_precise_statistics_on_clips_of_one_frame_are_those_on_images():
    results = []
    for with_time in (False, True):
        model = image_network()
        images, labels = random_images()
        clips = images[:, None] if with_time else images
        optimizer = MomentumSGD(model.trainable_variables, WarmupCosine(0.1, 10))
        step = TrainStep(model, optimizer, 6)
        strategy = tf.distribute.get_strategy()
        sums, finite = strategy.run(step, args=(clips, labels, tf.constant(0, tf.int64)))
        assert bool(finite)
        batches = tf.data.Dataset.from_tensors((clips, labels)).repeat(2)
        with PreciseBatchNorm(model, strategy).in_use(iter(batches), 2):
            results.append((sums.numpy(), [np.array(weight) for weight in model.weights]))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-6)
    for image, clip in zip(results[0][1], results[1][1]):
        np.testing.assert_allclose(image, clip, atol=1e-6)
