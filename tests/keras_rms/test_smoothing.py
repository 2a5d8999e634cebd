"""The low-pass filters against a float64 reference, in values and gradients."""

import keras
import numpy as np
import pytest
from layer_reference import position_coded, smooth, value_and_gradient

import keras_rms
from keras_rms.smoothing import Smoothing

pytestmark = pytest.mark.any_backend

SHAPES = [(2, 7, 3), (2, 5, 4, 3), (2, 3, 5, 4, 2), (1, 1, 2, 1, 3)]
FILTERS = [None, 0.4, 1.0]


def apply(x, kernel_size, stddev, border, data_format):
    if stddev is None:
        return keras_rms.local_mean(x, kernel_size, border, data_format)
    return keras_rms.gaussian_smooth(x, kernel_size, stddev, border, data_format)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("border", ["renormalize", "zeros"])
@pytest.mark.parametrize("stddev", FILTERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_equal_the_reference(shape, stddev, border, data_format):
    x, upstream = position_coded(shape, 0), position_coded(shape, 1)
    function = lambda x: apply(x, 3, stddev, border, data_format)  # noqa: E731
    y, gradient = value_and_gradient(function, x.astype("float32"), upstream.astype("float32"))
    options = {"stddev": stddev, "border": border, "data_format": data_format}
    expected = smooth(x, 3, **options)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    # The gradient's inner product with any direction is the output's derivative along it.
    direction = position_coded(shape, 2)
    along = np.sum(smooth(direction, 3, **options) * upstream)
    np.testing.assert_allclose(np.sum(gradient * direction), along, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kernel_size", [1, 5, (1, 3, 5), (9, 1, 3)])
@pytest.mark.parametrize("stddev", FILTERS)
@pytest.mark.parametrize("border", ["renormalize", "zeros"])
def test_kernel_sizes(kernel_size, stddev, border):
    x = position_coded((2, 4, 6, 5, 3))
    y = apply(x.astype("float32"), kernel_size, stddev, border, "channels_last")
    expected = smooth(x, kernel_size, stddev, border)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(y), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("stddev", FILTERS)
def test_a_constant_stays_constant_up_to_the_border(stddev):
    y = apply(np.full((1, 3, 5, 4, 2), 7.0, "float32"), 3, stddev, "renormalize", "channels_last")
    np.testing.assert_allclose(keras.ops.convert_to_numpy(y), 7.0, rtol=1e-6)


def test_a_single_one_spreads_by_the_weights_of_the_paper():
    x = np.zeros((1, 5, 5, 5, 1), "float32")
    x[0, 2, 2, 2, 0] = 1
    mean = keras.ops.convert_to_numpy(keras_rms.local_mean(x, border="zeros"))[0, ..., 0]
    assert np.count_nonzero(mean) == 27
    np.testing.assert_allclose(mean[1:4, 1:4, 1:4], 1 / 27, rtol=1e-6)
    gaussian = keras_rms.gaussian_smooth(x, stddev=0.4, border="zeros")
    gaussian = keras.ops.convert_to_numpy(gaussian)[0, ..., 0]
    ratio = np.exp(-1 / (2 * 0.4**2))
    np.testing.assert_allclose(gaussian[2, 2, 1] / gaussian[2, 2, 2], ratio, rtol=1e-5)
    np.testing.assert_allclose(gaussian[1, 1, 1] / gaussian[2, 2, 2], ratio**3, rtol=1e-5)
    np.testing.assert_allclose(gaussian.sum(), 1, rtol=1e-6)


@pytest.mark.parametrize("stddev", FILTERS)
@pytest.mark.parametrize("border", ["renormalize", "zeros"])
def test_every_formulation_gives_the_same(stddev, border):
    x = position_coded((2, 3, 5, 4, 2))
    upstream = position_coded(x.shape, 1)
    filter_ = Smoothing(3, stddev, border, "channels_last")
    expected = smooth(x, 3, stddev, border)
    along = np.sum(expected * upstream)
    tensors = [keras.ops.convert_to_tensor(v.astype("float32")) for v in (x, upstream)]
    for formulation in (filter_._by_shifts, filter_._by_kernels):
        smoothed, transposed = formulation(tensors[0], 1)
        y = keras.ops.convert_to_numpy(smoothed(tensors[0]))
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
        back = keras.ops.convert_to_numpy(transposed(tensors[1]))
        np.testing.assert_allclose(np.sum(back * x), along, rtol=1e-4)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("stddev", FILTERS)
def test_other_precisions(dtype, stddev):
    if dtype == "float64" and keras.backend.backend() == "jax":
        pytest.skip("JAX computes in float32 unless its own flag says otherwise.")
    x = position_coded((2, 3, 5, 4, 2))
    y = apply(keras.ops.cast(x, dtype), 3, stddev, "renormalize", "channels_last")
    assert keras.backend.standardize_dtype(y.dtype) == dtype
    tolerance = {"float16": 3e-3, "bfloat16": 2e-2, "float64": 1e-6}[dtype]
    y = keras.ops.convert_to_numpy(keras.ops.cast(y, "float32"))
    expected = smooth(x, 3, stddev)
    np.testing.assert_allclose(y, expected, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_size": 2}, "`kernel_size`.*Received: kernel_size=2"),
        ({"kernel_size": 0}, "`kernel_size`.*Received: kernel_size=0"),
        ({"kernel_size": 3.0}, "`kernel_size`.*Received: kernel_size=3.0"),
        ({"kernel_size": True}, "`kernel_size`.*Received: kernel_size=True"),
        ({"kernel_size": (3, 3)}, r"`kernel_size`.*Received: kernel_size=\(3, 3\)"),
        ({"kernel_size": (3, 3, 2)}, r"`kernel_size`.*Received: kernel_size=\(3, 3, 2\)"),
        ({"kernel_size": ()}, r"`kernel_size`.*Received: kernel_size=\(\)"),
        ({"border": "reflect"}, "`border`.*Received: border='reflect'"),
        ({"data_format": "NDHWC"}, "`data_format`.*Received: data_format='NDHWC'"),
    ],
)
def test_bad_arguments(arguments, message):
    x = np.zeros((1, 2, 2, 2, 1), "float32")
    with pytest.raises(ValueError, match=message):
        keras_rms.local_mean(x, **arguments)
    with pytest.raises(ValueError, match=message):
        keras_rms.gaussian_smooth(x, **arguments)


@pytest.mark.parametrize("stddev", [0, -1.0, float("nan"), float("inf"), "0.4", None, True])
def test_bad_stddev(stddev):
    with pytest.raises(ValueError, match=r"`stddev`.*Received: stddev="):
        keras_rms.gaussian_smooth(np.zeros((1, 2, 1), "float32"), stddev=stddev)


@pytest.mark.parametrize("shape", [(2, 3), (1, 2, 2, 2, 2, 1)])
def test_bad_rank(shape):
    with pytest.raises(ValueError, match=f"`inputs`.*Received: rank={len(shape)}"):
        keras_rms.local_mean(np.zeros(shape, "float32"))


def test_integers_are_refused():
    with pytest.raises(ValueError, match=r"`inputs`.*Received: dtype='int32'"):
        keras_rms.local_mean(np.zeros((1, 3, 1), "int32"))
