"""Statistics measured anew, against NumPy over all clips of the batches."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from replicas import mirrored_strategy
from small_training import small_batches, small_model

import keras_rms
from keras_rms.training.batch_norm.precise import PreciseBatchNorm
from keras_rms.training.batch_norm.synchronized import synchronize_batch_norm
from keras_rms.training.work_dir.checkpoints import model_state
from keras_rms.training.workers import strategies


def state(model):
    return {n: keras.ops.convert_to_numpy(v.value) for n, v in model_state(model).items()}


@pytest.mark.parametrize("replicas", [1, 2])
def test_the_statistics_are_those_of_all_clips_together(replicas):
    strategy = mirrored_strategy() if replicas > 1 else tf.distribute.get_strategy()
    with strategy.scope():
        model = small_model(random_layers=False)
    batches = iter(strategies.distribute(strategy, small_batches(3)))
    clips = np.concatenate([clips for clips, _ in small_batches(3).take(4)])
    features = keras.Model(model.input, model.get_layer("conv").output)(clips).numpy()
    with PreciseBatchNorm(model, strategy).in_use(batches, 4):
        measured = state(model)
    np.testing.assert_allclose(
        measured["weight/bn/moving_mean"], features.mean((0, 1, 2, 3)), rtol=1e-4
    )
    np.testing.assert_allclose(
        measured["weight/bn/moving_variance"], features.var((0, 1, 2, 3)), rtol=1e-3
    )


def model_with_a_layer_of_layers():
    model = small_model(random_layers=False)
    features = keras_rms.models.NonLocal(name="nl", seed=1)(model.get_layer("bn").output)
    x = keras.layers.GlobalAveragePooling3D()(features)
    return keras.Model(model.input, keras.layers.Dense(3)(x))


def test_statistics_inside_other_layers_are_measured_too():
    model = model_with_a_layer_of_layers()
    before = state(model)
    with PreciseBatchNorm(model, tf.distribute.get_strategy()).in_use(iter(small_batches(3)), 4):
        measured = state(model)
    inner = {name for name in before if "nl/bn/moving" in name}
    assert len(inner) == 2
    clips = np.concatenate([clips for clips, _ in small_batches(3).take(4)])
    non_local = model.get_layer("nl")
    # Of batches, as their batch normalisation is what comes before.
    parts = []
    for part in np.split(clips, 4):
        x = keras.Model(model.input, model.get_layer("conv").output)(part)
        parts.append(non_local_projection(non_local, model.get_layer("bn")(x, training=True)))
    features = np.concatenate(parts)
    np.testing.assert_allclose(
        measured["weight/nl/bn/moving_mean"], features.mean((0, 1, 2, 3)), rtol=1e-3, atol=1e-6
    )
    for name, value in state(model).items():
        if name in inner:
            np.testing.assert_array_equal(value, before[name], err_msg=name)


def non_local_projection(layer, features):
    """What a non-local layer gives to its batch normalisation."""
    seen = []
    normalise = layer.bn.call
    layer.bn.call = lambda x, **options: (seen.append(x), normalise(x, **options))[1]
    try:
        layer(features, training=False)
    finally:
        layer.bn.call = normalise
    return keras.ops.convert_to_numpy(seen[0])


def test_all_batch_normalisation_is_synchronised():
    model = model_with_a_layer_of_layers()
    layers = (model.get_layer("bn"), model.get_layer("nl").bn)
    assert not any(layer.synchronized for layer in layers)
    synchronize_batch_norm(model)
    assert all(layer.synchronized for layer in layers)


def test_training_goes_on_as_if_nothing_had_been():
    model = small_model()  # with random layers, whose generators it uses
    before = state(model)
    with PreciseBatchNorm(model, tf.distribute.get_strategy()).in_use(iter(small_batches(0)), 2):
        inside = state(model)
    assert (inside["random/rms/0"] != before["random/rms/0"]).any()
    assert (inside["weight/bn/moving_mean"] != before["weight/bn/moving_mean"]).all()
    after = state(model)
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value, err_msg=name)
    assert model.get_layer("bn").momentum == 0.9
