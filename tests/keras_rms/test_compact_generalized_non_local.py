"""CompactGeneralizedNonLocal against the affinity matrix that it never forms."""

import math

import keras
import numpy as np
import pytest
from layer_checks import check_refused

from keras_rms.models.layers.compact_generalized_non_local import CompactGeneralizedNonLocal

pytestmark = pytest.mark.any_backend


def randomized(layer, shape, seed):
    layer.build((None, *shape[1:]))
    rng = np.random.default_rng(seed)
    for weight in layer.weights:
        weight.assign(rng.uniform(0.2, 1.0, weight.shape) * rng.choice([-1, 1], weight.shape))
    return layer, rng.normal(size=shape).astype("float32")


def value(variable):
    return keras.ops.convert_to_numpy(variable).astype("float64")


def affinity_matrix(layer, theta, phi):
    """f of flattened theta and phi: entries for every pair of (position, channel)."""
    outer = np.outer(theta, phi)
    if layer.kernel == "dot_product":
        return outer
    total = sum(
        (2 * layer.gamma) ** p * outer**p / math.factorial(p) for p in range(layer.order + 1)
    )
    return math.exp(-2 * layer.gamma) * total


def reference(layer, x):
    groups = layer.groups
    theta, phi, g = (x @ value(p.kernel) for p in (layer.theta, layer.phi, layer.g))
    width = theta.shape[-1] // groups
    z = np.zeros(x.shape)
    out_width = x.shape[-1] // groups
    for n in range(len(x)):
        for k in range(groups):
            part = slice(k * width, (k + 1) * width)
            shape = theta[n][..., part].shape
            f = affinity_matrix(layer, theta[n][..., part].ravel(), phi[n][..., part].ravel())
            y = f @ g[n][..., part].ravel()
            if layer.scale:
                y = y / math.sqrt(y.size)
            o = y.reshape(shape) @ value(layer.out_kernel)[k]
            o = (o - o.mean()) / np.sqrt(o.var() + layer.epsilon)
            z[n][..., k * out_width : (k + 1) * out_width] = o
    return x + z * value(layer.gn.gamma) + value(layer.gn.beta)


@pytest.mark.parametrize("kernel", ["dot_product", "gaussian_rbf"])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("scale", [True, False])
def test_equals_the_equations(kernel, groups, scale):
    layer = CompactGeneralizedNonLocal(
        groups=groups, kernel=kernel, scale=scale, gamma=0.02, order=3
    )
    layer, x = randomized(layer, (2, 2, 3, 4, 8), 11 + groups)
    got = keras.ops.convert_to_numpy(layer(x))
    np.testing.assert_allclose(got, reference(layer, x), rtol=2e-4, atol=2e-4)


def test_filters_on_images():
    layer, x = randomized(CompactGeneralizedNonLocal(filters=6, groups=2), (1, 3, 5, 4), 12)
    assert tuple(layer.out_kernel.shape) == (2, 3, 2)
    got = keras.ops.convert_to_numpy(layer(x))
    np.testing.assert_allclose(got, reference(layer, x), rtol=2e-4, atol=2e-4)


def test_a_new_block_is_the_identity():
    x = np.random.default_rng(5).normal(size=(2, 2, 4, 3, 16)).astype("float32")
    got = keras.ops.convert_to_numpy(CompactGeneralizedNonLocal()(x))
    np.testing.assert_array_equal(got, x)


def test_sizes_unknown_while_building():
    inputs = keras.Input((None, None, None, 8))
    model = keras.Model(inputs, CompactGeneralizedNonLocal(groups=2, name="cgnl")(inputs))
    assert model.output_shape == (None, None, None, None, 8)
    layer = model.get_layer("cgnl")
    for i, weight in enumerate(layer.weights):
        weight.assign(np.random.default_rng(i).uniform(-1.0, 1.0, weight.shape))
    x = np.random.default_rng(7).normal(size=(2, 3, 4, 5, 8)).astype("float32")
    got = keras.ops.convert_to_numpy(model(x))
    np.testing.assert_allclose(got, reference(layer, x), rtol=2e-4, atol=2e-4)


def test_half_precision_does_not_overflow():
    x = 30 * np.random.default_rng(9).normal(size=(1, 4, 16, 16, 32)).astype("float32")
    layer = CompactGeneralizedNonLocal(groups=4, dtype="mixed_float16")
    layer, _ = randomized(layer, x.shape, 10)
    got = keras.ops.convert_to_numpy(keras.ops.cast(layer(x), "float32"))
    assert np.isfinite(got).all()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("filters", 0),
        ("groups", 0),
        ("kernel", "softmax"),
        ("order", 0),
        ("gamma", 0.0),
        ("epsilon", -1),
    ],
)
def test_bad_arguments(name, value):
    check_refused(CompactGeneralizedNonLocal, name, **{name: value})


def test_bad_inputs():
    with pytest.raises(ValueError, match="input_shape="):
        CompactGeneralizedNonLocal().build((None, 16))
    with pytest.raises(ValueError, match="Received: groups=8"):
        CompactGeneralizedNonLocal(groups=8).build((None, 2, 4, 4, 12))


def test_multiply_accumulates():
    layer = CompactGeneralizedNonLocal(groups=2)
    # Three projections 8 -> 4, one 4 -> 8 in two groups; two products of 4 channels.
    assert layer.multiply_accumulates((1, 3, 5, 8)) == 15 * (3 * 32 + 16 + 2 * 4)
    layer = CompactGeneralizedNonLocal(groups=2, kernel="gaussian_rbf", order=3)
    assert layer.multiply_accumulates((1, 3, 5, 8)) == 15 * (3 * 32 + 16 + 2 * 4 * 4)
