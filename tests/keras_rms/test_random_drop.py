"""RandomDrop against its definition."""

import keras
import numpy as np
import pytest
from layer_checks import check_refused
from layer_reference import is_nothing_done, position_coded, value_and_gradient

import keras_rms

pytestmark = pytest.mark.any_backend

SHAPE = (6, 3, 4, 2)


@pytest.mark.parametrize("granularity", ["batch", "sample"])
def test_a_branch_is_kept_or_dropped_forward_and_backward(granularity):
    x, upstream = (position_coded(SHAPE, seed).astype("float32") for seed in (0, 1))
    layer = keras_rms.RandomDrop(0.5, granularity=granularity, seed=1)
    patterns = set()
    for _ in range(20):
        y, gradient = value_and_gradient(lambda x: layer(x, training=True), x, upstream)
        kept = np.array([np.array_equal(a, b) for a, b in zip(y, x)])
        mask = kept.astype("float32").reshape(-1, 1, 1, 1)
        np.testing.assert_array_equal(y, x * mask)
        np.testing.assert_array_equal(gradient, upstream * mask)
        patterns.add(tuple(kept))
    if granularity == "batch":
        assert patterns == {(False,) * 6, (True,) * 6}
    else:
        assert len(patterns) > 5


@pytest.mark.parametrize("survival", [0.2, 0.8])
def test_survival_is_the_rate_within_four_sigma(survival):
    n = 20_000
    layer = keras_rms.RandomDrop(survival, granularity="sample", seed=5)
    kept = keras.ops.convert_to_numpy(layer(np.ones((n, 1), "float32"), training=True))
    assert abs(kept.mean() - survival) < 4 * (survival * (1 - survival) / n) ** 0.5


def test_inference_scales_by_survival():
    x = position_coded(SHAPE).astype("float32")
    y = keras.ops.convert_to_numpy(keras_rms.RandomDrop(0.75)(x))
    np.testing.assert_allclose(y, 0.75 * x, rtol=1e-6)


def test_extremes():
    x = position_coded(SHAPE).astype("float32")
    assert is_nothing_done(keras_rms.RandomDrop(1), x, training=True)
    assert is_nothing_done(keras_rms.RandomDrop(1), x, training=False)
    x[0, 0, 0, 0] = np.inf
    dropped = keras.ops.convert_to_numpy(keras_rms.RandomDrop(0)(x, training=True))
    np.testing.assert_array_equal(dropped, 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("survival", -0.1),
        ("survival", 1.1),
        ("survival", None),
        ("survival", True),
        ("granularity", "channel"),
        ("seed", -1),
    ],
)
def test_bad_arguments(name, value):
    check_refused(keras_rms.RandomDrop, name, **{"survival": 0.5, name: value})
