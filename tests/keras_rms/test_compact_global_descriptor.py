"""CompactGlobalDescriptor against its equations."""

import keras
import numpy as np
import pytest

from keras_rms.models.layers.compact_global_descriptor import CompactGlobalDescriptor

pytestmark = pytest.mark.any_backend


def value(variable):
    return keras.ops.convert_to_numpy(variable).astype("float64")


def reference(layer, x):
    z = np.empty(x.shape)
    for n, clip in enumerate(x.astype("float64")):
        flat = clip.reshape(-1, clip.shape[-1])
        a, m = flat.mean(0), flat.max(0)
        s = np.exp(a) / np.exp(a).sum()
        psi = np.tanh(
            np.outer(s, a) @ value(layer.average_kernel)[:, 0] + value(layer.average_bias)
        )
        phi = np.tanh(
            np.outer(s, m) @ value(layer.maximum_kernel)[:, 0] + value(layer.maximum_bias)
        )
        cascade = np.outer(psi, phi) @ value(layer.cascade_kernel)[:, 0]
        z[n] = clip * (1 + np.tanh(cascade + value(layer.cascade_bias)))
    return z


def randomize(layer):
    for i, weight in enumerate(layer.weights):
        weight.assign(np.random.default_rng(i).uniform(-2.0, 2.0, weight.shape))


@pytest.mark.parametrize("shape", [(2, 3, 4, 5, 6), (3, 5, 4, 7), (1, 9, 2)])
def test_equals_the_equations(shape):
    layer = CompactGlobalDescriptor()
    layer.build((None, *shape[1:]))
    randomize(layer)
    assert layer.count_params() == 6 * shape[-1]
    x = np.random.default_rng(1).normal(size=shape).astype("float32")
    got = keras.ops.convert_to_numpy(layer(x))
    np.testing.assert_allclose(got, reference(layer, x), rtol=2e-5, atol=2e-5)


def test_sizes_unknown_while_building():
    inputs = keras.Input((None, None, None, 6))
    model = keras.Model(inputs, CompactGlobalDescriptor(name="cgd")(inputs))
    assert model.output_shape == (None, None, None, None, 6)
    randomize(model.get_layer("cgd"))
    x = np.random.default_rng(7).normal(size=(2, 3, 4, 5, 6)).astype("float32")
    got = keras.ops.convert_to_numpy(model(x))
    np.testing.assert_allclose(got, reference(model.get_layer("cgd"), x), rtol=2e-5, atol=2e-5)


def test_bad_inputs():
    with pytest.raises(ValueError, match="input_shape="):
        CompactGlobalDescriptor().build((None, 4))


def test_multiply_accumulates():
    assert CompactGlobalDescriptor().multiply_accumulates((1, 3, 5, 8)) == 24
