"""The networks compute what their PyTorch originals compute, at narrow width.

`fixtures/make_parity_fixtures.py` made the expected values, in float64.
"""

import functools

import keras
import numpy as np
import parity_cases
import pytest
from paths import ROOT

import keras_rms.models

FIXTURES = ROOT / "tests" / "fixtures" / "parity.npz"


@functools.cache
def expected():
    with np.load(FIXTURES) as file:
        return dict(file)


def network(name, **kwargs):
    frames = parity_cases.CASES[name][1]
    model = keras_rms.models.build(
        name,
        num_classes=parity_cases.NUM_CLASSES,
        input_shape=(None if frames[0] != frames[1] else frames[0], None, None, 3),
        dropout=0.0,
        **parity_cases.CASES[name][0],
        **kwargs,
    )
    for layer in model.layers:
        for weight in layer.weights:
            weight.assign(parity_cases.weight(f"{layer.name}/{weight.name}", weight.shape))
    return model


def relative_error(received, reference):
    received = keras.ops.convert_to_numpy(received)
    return np.abs(received - reference).max() / np.abs(reference).max()


def test_there_is_a_fixture_for_every_network():
    assert set(parity_cases.CASES) == {
        name for name in keras_rms.models.list() if name.startswith(("slow_", "ip_", "ir_"))
    }


@pytest.mark.slow
@pytest.mark.any_backend
@pytest.mark.parametrize("name", ["slow_only_18", "ip_csn_50"])
def test_logits_on_every_backend(name):
    logits = network(name).predict_on_batch(parity_cases.clip(name, 0))
    assert relative_error(logits, expected()[f"{name}/0"]) < 1e-5


# Deeper ones repeat the blocks of the others.
@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if "101" in name or "152" in name else [])
        for name in parity_cases.CASES
    ],
)
def test_logits(name):
    # With RMS, which must do nothing at inference.
    model = network(name, rms="mean")
    for case in range(2):
        logits = model(parity_cases.clip(name, case), training=False)
        assert relative_error(logits, expected()[f"{name}/{case}"]) < 1e-5


@pytest.fixture
def double_precision():
    """In float32 the batch statistics of two clips amplify rounding to percents of a gradient."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy(policy)


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="uses GradientTape")
@pytest.mark.parametrize("name", parity_cases.TRAINED)
def test_training(name, double_precision):
    import tensorflow as tf

    model = network(name, rms=None)
    with tf.GradientTape() as tape:
        logits = model(parity_cases.clip(name, 0), training=True)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(
            np.array(parity_cases.LABELS), logits
        )
    gradients = dict(
        zip(
            [weight.path for weight in model.trainable_weights],
            tape.gradient(loss, model.trainable_weights),
        )
    )
    assert relative_error(logits, expected()[f"{name}/train"]) < 1e-6
    assert relative_error(loss, expected()[f"{name}/loss"]) < 1e-6
    for key in parity_cases.TRAINED[name]:
        error = relative_error(gradients[key], expected()[f"{name}/gradient/{key}"])
        assert error < 1e-5, (key, error)
