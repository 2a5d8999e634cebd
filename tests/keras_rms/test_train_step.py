"""One step of training: the same gradient whatever the parts and replicas it is added up from."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from replicas import mirrored_strategy
from small_training import small_batches, small_model

import keras_rms
from keras_rms.training.batch_norm.layers_of import statistics
from keras_rms.training.loop.train_step import TrainStep, make_several_steps
from keras_rms.training.optimization.loss_scaling import LossScale
from keras_rms.training.optimization.mixing import CutMix
from keras_rms.training.optimization.optimizer import MomentumSGD
from keras_rms.training.optimization.weight_average import WeightAverage
from keras_rms.training.workers import strategies


def model_without_bn():
    inputs = keras.Input((4, 5, 6, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Conv3D(4, 3, name="conv", kernel_initializer=_init(), activation="relu")(x)
    x = keras.layers.GlobalAveragePooling3D()(x)
    return keras.Model(inputs, keras.layers.Dense(3, name="logits", kernel_initializer=_init())(x))


def _init():
    return keras.initializers.GlorotUniform(1)


def train(steps=3, replicas=1, make_model=model_without_bn, loss_scale=None, **options):
    strategy = mirrored_strategy() if replicas > 1 else tf.distribute.get_strategy()
    with strategy.scope():
        model = make_model()
        optimizer = MomentumSGD(model.trainable_variables, lambda step: 0.1, weight_decay=0.01)
        scale = LossScale(loss_scale) if loss_scale else None
    step = TrainStep(model, optimizer, 8, loss_scale=scale, **options)
    several = make_several_steps(strategy, step)
    iterator = iter(strategies.distribute(strategy, small_batches(0)))
    result = several(iterator, *(tf.constant(n, tf.int64) for n in (0, steps)), tf.zeros(2))
    return model, {name: value.numpy() for name, value in result.items()}


def weights(model):
    return np.concatenate([w.numpy().ravel() for w in model.trainable_variables])


def test_the_loss_and_accuracy_are_those_of_the_batch():
    model = model_without_bn()
    clips, labels = (part.numpy() for part in next(iter(small_batches(0))))
    logits = model(clips).numpy()
    log_probabilities = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    targets = 0.9 * np.eye(3)[labels] + 0.1 / 3
    _, result = train(steps=1, label_smoothing=0.1)
    expected = [-(targets * log_probabilities).sum(), (logits.argmax(1) == labels).sum(), 8]
    np.testing.assert_allclose(result["sums"], expected, rtol=1e-5)
    assert result["steps"] == 1 and result["finite"]


@pytest.mark.parametrize(
    "options",
    [
        {"replicas": 2},
        {"accumulation": 4},
        {"loss_scale": 256.0},
        {"replicas": 2, "accumulation": 2, "loss_scale": 256.0},
    ],
)
def test_parts_replicas_and_scaling_do_not_change_the_weights(options):
    whole, whole_result = train()
    parts, parts_result = train(**options)
    np.testing.assert_allclose(parts_result["sums"], whole_result["sums"], rtol=1e-5)
    np.testing.assert_allclose(weights(parts), weights(whole), atol=1e-6)


def test_xla_gives_the_same_weights():
    np.testing.assert_allclose(weights(train(jit_compile=True)[0]), weights(train()[0]), atol=1e-5)


def test_replicas_draw_different_numbers():
    seen = []

    def tell(features):
        tf.py_function(lambda alphas: seen.extend(alphas.numpy()), [features[:, 0, 0, 0, 0]], [])
        return features

    def model_that_tells():
        inputs = keras.Input((4, 5, 6, 3), dtype="uint8")
        x = keras.layers.Rescaling(0.0, 1.0)(inputs)
        x = keras_rms.RandomMeanScaling(component="input", seed=3)(x)
        x = keras.layers.GlobalAveragePooling3D()(keras.layers.Lambda(tell)(x))
        return keras.Model(inputs, keras.layers.Dense(3)(x))

    train(steps=2, replicas=2, make_model=model_that_tells)
    assert len(seen) == len(set(seen)) == 16  # one alpha for each clip of each step


def test_replicas_share_statistics():
    model, _ = train(replicas=2, make_model=small_model)
    for name in ("moving_mean", "moving_variance"):
        variable = getattr(model.get_layer("bn"), name).value
        first, second = (v.numpy() for v in variable.values)
        np.testing.assert_array_equal(first, second)


@pytest.mark.slow
def test_mixing_differs_between_replicas_and_repeats_with_the_seed():
    shares = []

    class Spy(CutMix):
        def mix(self, clips, partners, share, seed):
            tf.py_function(lambda value: shares.append(float(value)), [share], [])
            return super().mix(clips, partners, share, seed)

    train(steps=2, replicas=2, mixing=Spy(), seed=5)
    first = sorted(shares)
    assert len(set(first)) == 4
    shares.clear()
    train(steps=2, replicas=2, mixing=Spy(), seed=5)
    assert sorted(shares) == first


def test_a_batch_that_is_not_finite_stops_the_call_and_changes_nothing():
    def exploding():
        model = model_without_bn()
        model.get_layer("logits").bias.assign([np.inf, 0.0, 0.0])
        return model

    model, result = train(steps=5, make_model=exploding)
    assert not result["finite"] and result["steps"] == 1
    np.testing.assert_array_equal(
        model.get_layer("conv").kernel.numpy(), model_without_bn().get_layer("conv").kernel.numpy()
    )


def test_an_overflow_under_loss_scaling_skips_the_step_and_goes_on():
    model = model_without_bn()
    scale = LossScale()
    step = TrainStep(
        model, MomentumSGD(model.trainable_variables, lambda step: 0.1), 8, loss_scale=scale
    )
    clips, labels = next(iter(small_batches(0)))
    # The gradient of the first layer is some hundreds; 3e38 takes it out of float32's range.
    logits = model.get_layer("logits").kernel
    logits.assign(1000 * logits)
    scale.value.assign(3e38)
    before = weights(model)
    sums, goes_on = step(clips, labels, tf.constant(0, tf.int64))
    assert goes_on and np.isfinite(sums).all()
    np.testing.assert_array_equal(weights(model), before)
    assert float(scale.value) < 3e38
    scale.value.assign(1.0)
    step(clips, labels, tf.constant(1, tf.int64))
    assert (weights(model) != before).any()


@pytest.mark.parametrize("replicas", [1, 2])
def test_the_average_follows_weights_and_statistics_and_can_be_used(replicas):
    strategy = mirrored_strategy() if replicas > 1 else tf.distribute.get_strategy()
    with strategy.scope():
        model = small_model(random_layers=False)
        variables = [*model.trainable_variables, *statistics(model)]
        optimizer = MomentumSGD(model.trainable_variables, lambda step: 0.5)
        average = WeightAverage(variables, 0.9)
    names = {variable.path for variable in variables}
    assert {"bn/moving_mean", "bn/moving_variance", "conv/kernel", "bn/gamma"} <= names
    several = make_several_steps(strategy, TrainStep(model, optimizer, 8, average=average))
    batches = iter(strategies.distribute(strategy, small_batches(0)))
    expected = [v.numpy() for v in variables]
    for i in range(4):
        several(batches, *(tf.constant(n, tf.int64) for n in (i, 1)), tf.zeros(2))
        decay = min(0.9, (1 + i) / (10 + i))
        own = [v.numpy() for v in variables]
        expected = [decay * e + (1 - decay) * w for e, w in zip(expected, own)]
    same = [v.path for v, o, e in zip(variables, own, expected) if np.abs(o - e).max() < 1e-3]
    assert same == ["conv/bias"]  # which batch normalisation takes out
    with average.in_use():
        for variable, value in zip(variables, expected):
            np.testing.assert_allclose(variable.numpy(), value, rtol=1e-5, atol=1e-6)
    for variable, value in zip(variables, own):
        np.testing.assert_array_equal(variable.numpy(), value)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"label_smoothing": 1.0}, "label_smoothing=1.0"), ({"accumulation": 0}, "accumulation=0")],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        TrainStep(model_without_bn(), None, 8, **options)


@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_a_bad_decay(decay):
    with pytest.raises(ValueError, match=f"decay={decay}"):
        WeightAverage([], decay)


def test_the_loss_scale_halves_grows_and_gives_up():
    scale = LossScale(4.0, growth_steps=2)
    assert scale.update(tf.constant(False)) and float(scale.value) == 2
    assert scale.update(tf.constant(True)) and float(scale.value) == 2
    assert scale.update(tf.constant(True)) and float(scale.value) == 4
    assert int(scale.finite_steps) == 0
    assert scale.update(tf.constant(True)) and float(scale.value) == 4
    for _ in range(12):
        assert scale.update(tf.constant(False))
    assert not scale.update(tf.constant(False))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"initial": 0.5}, "initial=0.5"), ({"growth_steps": 0}, "growth_steps=0")],
)
def test_a_bad_loss_scale(options, message):
    with pytest.raises(ValueError, match=message):
        LossScale(**options)
