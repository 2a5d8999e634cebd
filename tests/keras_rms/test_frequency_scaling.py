"""FrequencyScaling against a float64 reference."""

import keras
import numpy as np
import pytest
from layer_checks import check_refused
from layer_reference import is_nothing_done, position_coded, smooth

import keras_rms

pytestmark = pytest.mark.any_backend

SHAPE = (2, 3, 5, 4, 3)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (1, 0), (0.5, 1), (1, 1.7), (-1, 2)])
@pytest.mark.parametrize("smoothing", ["mean", "gaussian"])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_both_parts_are_scaled(low, high, smoothing, data_format):
    x = position_coded(SHAPE)
    layer = keras_rms.FrequencyScaling(low, high, smoothing=smoothing, data_format=data_format)
    mean = smooth(x, 3, 0.4 if smoothing == "gaussian" else None, data_format=data_format)
    expected = low * mean + high * (x - mean)
    for training in (False, True):
        y = layer(x.astype("float32"), training=training)
        np.testing.assert_allclose(keras.ops.convert_to_numpy(y), expected, rtol=1e-5, atol=2e-5)


def test_both_scales_one_is_nothing():
    assert is_nothing_done(keras_rms.FrequencyScaling(), np.ones(SHAPE, "float32"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("low", float("inf")),
        ("high", "1"),
        ("kernel_size", 4),
        ("smoothing", "median"),
        ("smoothing_stddev", -1),
        ("border", "wrap"),
        ("data_format", "NHWC"),
    ],
)
def test_bad_arguments(name, value):
    check_refused(keras_rms.FrequencyScaling, name, **{name: value})


def test_integers_are_refused():
    with pytest.raises(ValueError, match=r"`inputs`.*Received: dtype='int32'"):
        keras_rms.FrequencyScaling(low=0)(np.zeros((1, 3, 1), "int32"))
