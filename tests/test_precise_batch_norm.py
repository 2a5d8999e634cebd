"""Statistics measured anew, against NumPy over all clips of the batches."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_training import mirrored_strategy, small_batches, small_model

from keras_rms.training import strategies
from keras_rms.training.checkpointing import model_state
from keras_rms.training.precise_batch_norm import PreciseBatchNorm


def state(model):
    return {n: keras.ops.convert_to_numpy(v.value) for n, v in model_state(model).items()}


@pytest.mark.parametrize("replicas", [1, 2])
def test_the_statistics_are_those_of_all_clips_together(replicas):
    strategy = mirrored_strategy(replicas) if replicas > 1 else tf.distribute.get_strategy()
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
