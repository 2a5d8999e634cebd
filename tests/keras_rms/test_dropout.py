"""Dropout that differs on each replica (replicas themselves: test_replica_seed.py)."""

import keras
import numpy as np
import pytest
from layer_checks import check_refused
from layer_reference import is_nothing_done

import keras_rms

pytestmark = pytest.mark.any_backend


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_elements_are_dropped_at_the_rate_and_the_others_scaled(rate):
    x = np.full((100, 400), 3.0, "float32")
    y = keras.ops.convert_to_numpy(keras_rms.Dropout(rate, seed=0)(x, training=True))
    kept = y != 0
    np.testing.assert_allclose(y[kept], 3 / (1 - rate), rtol=1e-5)
    assert abs(kept.mean() - (1 - rate)) < 4 * (rate * (1 - rate) / x.size) ** 0.5


def test_nothing_is_done_at_inference_or_at_rate_zero():
    x = np.ones((2, 3), "float32")
    assert is_nothing_done(keras_rms.Dropout(0.5), x, training=False)
    assert is_nothing_done(keras_rms.Dropout(0), x, training=True)


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5, "half", None, float("nan"), False])
def test_bad_rates(rate):
    check_refused(keras_rms.Dropout, "rate", rate=rate)


def test_bad_seed():
    check_refused(keras_rms.Dropout, "seed", rate=0.5, seed=-3)
