"""ShakeDrop against its definition: b + alpha - b * alpha forward, with beta backward."""

import keras
import numpy as np
import pytest
from layer_checks import check_refused
from layer_reference import is_nothing_done, position_coded, value_and_gradient

import keras_rms

pytestmark = pytest.mark.any_backend

SHAPE = (6, 3, 4, 5, 2)


def factors(layer, shape=SHAPE):
    """The forward and the backward factor of each element, read off a training step."""
    x, upstream = (np.abs(position_coded(shape, seed)) + 1 for seed in (0, 1))
    x, upstream = x.astype("float32"), upstream.astype("float32")
    y, gradient = value_and_gradient(lambda x: layer(x, training=True), x, upstream)
    return y / x, gradient / upstream


def test_the_paper_s_setting_keeps_or_drops_forward_and_shakes_backward():
    layer = keras_rms.ShakeDrop(0.5, seed=2)
    seen = set()
    for _ in range(20):
        forward, backward = factors(layer)
        kept = bool(forward.flat[0])
        seen.add(kept)
        np.testing.assert_allclose(forward, float(kept), rtol=1e-6)
        if kept:
            np.testing.assert_allclose(backward, 1, rtol=1e-6)
        else:
            assert -1e-6 <= backward.min() < 0.05 < 0.45 < backward.max() <= 0.5 + 1e-6
            assert len(np.unique(np.round(backward, 6))) > 0.9 * backward.size
    assert seen == {True, False}


@pytest.mark.parametrize(
    ("granularity", "varying"),
    [("batch", ()), ("sample", (0,)), ("channel", (0, 4)), ("pixel", (0, 1, 2, 3, 4))],
)
def test_granularity(granularity, varying):
    layer = keras_rms.ShakeDrop(
        0.0, alpha=(-1.0, 1.0), beta=(0.0, 1.0), granularity=granularity, seed=0
    )
    for values in factors(layer):
        for axis in range(5):
            assert (np.ptp(values, axis=axis).max() > 1e-3) == (axis in varying)


def test_channels_first_granularity():
    layer = keras_rms.ShakeDrop(
        0.0, alpha=(-1, 1), granularity="channel", data_format="channels_first", seed=0
    )
    forward, _ = factors(layer)
    assert np.ptp(forward, axis=(2, 3, 4)).max() < 1e-5 < np.ptp(forward, axis=1).min()


def test_alpha_and_beta_are_drawn_apart_and_within_four_sigma():
    layer = keras_rms.ShakeDrop(0.0, alpha=(-1.0, 1.0), beta=(0.0, 1.0), seed=4)
    alpha, beta = (values.ravel().astype("float64") for values in factors(layer, (8, 50, 50, 1)))
    n = alpha.size
    assert abs(np.corrcoef(alpha, beta)[0, 1]) < 4 / n**0.5
    assert abs(alpha.mean()) < 4 * (4 / 12 / n) ** 0.5
    assert abs(beta.mean() - 0.5) < 4 * (1 / 12 / n) ** 0.5


def test_survival_within_four_sigma():
    n = 400
    layer = keras_rms.ShakeDrop(0.7, seed=1)
    x = np.ones((1, 1), "float32")
    kept = [float(keras.ops.convert_to_numpy(layer(x, training=True))[0, 0]) for _ in range(n)]
    assert abs(np.mean(kept) - 0.7) < 4 * (0.7 * 0.3 / n) ** 0.5


@pytest.mark.parametrize(("alpha", "expected"), [((0, 0), 0.6), ((-1, 1), 0.6), ((0, 1), 0.8)])
def test_inference_scales_by_the_expectation(alpha, expected):
    x = position_coded(SHAPE).astype("float32")
    y = keras.ops.convert_to_numpy(keras_rms.ShakeDrop(0.6, alpha=alpha)(x))
    np.testing.assert_allclose(y, expected * x, rtol=1e-6)


def test_nothing_is_done_where_every_branch_survives():
    x = position_coded(SHAPE).astype("float32")
    assert is_nothing_done(keras_rms.ShakeDrop(1.0), x, training=True)
    assert is_nothing_done(keras_rms.ShakeDrop(1.0), x, training=False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("survival", -0.1),
        ("survival", "0.5"),
        ("alpha", 0.0),
        ("alpha", (0, 1, 2)),
        ("alpha", (1, 0)),
        ("beta", (0.5, 0.0)),
        ("beta", None),
        ("granularity", "frame"),
        ("data_format", "NHWC"),
        ("seed", -1),
    ],
)
def test_bad_arguments(name, value):
    check_refused(keras_rms.ShakeDrop, name, **{"survival": 0.5, name: value})


def test_a_limit_that_is_no_number():
    limits = (0, float("nan"))
    check_refused(keras_rms.ShakeDrop, "alpha", received="nan", survival=0.5, alpha=limits)
