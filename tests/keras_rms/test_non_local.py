"""NonLocal against its equations, written out position by position."""

import itertools

import keras
import numpy as np
import pytest
from layer_checks import check_refused

from keras_rms.models.layers.non_local import NonLocal

pytestmark = pytest.mark.any_backend


def randomized(layer, shape, seed):
    """Builds the layer and gives every weight values that would show a mistake."""
    layer.build((None, *shape[1:]))
    rng = np.random.default_rng(seed)
    for weight in layer.weights:
        weight.assign(rng.uniform(0.2, 1.0, weight.shape) * rng.choice([-1, 1], weight.shape))
        if "variance" in weight.path:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return layer, rng.normal(size=shape).astype("float32")


def value(variable):
    return keras.ops.convert_to_numpy(variable).astype("float64")


def reference(layer, x):
    """Equations 1 to 6 of Wang et al. with loops over the positions of each clip."""

    def dense(projection, v):
        return v @ value(projection.kernel) + value(projection.bias)

    y = np.zeros((*x.shape[:-1], value(layer.g.kernel).shape[1]))
    pool = layer.pool_size or (1,) * (x.ndim - 2)
    cells = [range(size // p) for size, p in zip(x.shape[1:-1], pool)]
    for n in range(len(x)):
        others = []
        for cell in itertools.product(*cells):
            window = tuple(slice(c * p, c * p + p) for c, p in zip(cell, pool))
            others.append(x[n][window].reshape(-1, x.shape[-1]).max(0))
        for place in np.ndindex(x.shape[1:-1]):
            x_i, f = x[n][place], []
            for x_j in others:
                if layer.kernel == "gaussian":
                    dot, width = x_i @ x_j, x.shape[-1]
                else:
                    theta, phi = dense(layer.theta, x_i), dense(layer.phi, x_j)
                    dot, width = theta @ phi, len(theta)
                if layer.kernel == "dot_product":
                    f.append(dot)
                else:
                    f.append(np.exp(dot / np.sqrt(width) if layer.scale else dot))
            total = len(others) if layer.kernel == "dot_product" else sum(f)
            y[n][place] = sum(a * dense(layer.g, x_j) for a, x_j in zip(f, others)) / total
    w_y = dense(layer.out, y)
    bn = layer.bn
    normal = (w_y - value(bn.moving_mean)) / np.sqrt(value(bn.moving_variance) + bn.epsilon)
    return x + normal * value(bn.gamma) + value(bn.beta)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["embedded_gaussian", "gaussian", "dot_product"])
@pytest.mark.parametrize("pool_size", [None, (1, 2, 2), (2, 1, 2)])
def test_equals_the_equations(kernel, pool_size):
    seed = 3
    layer, x = randomized(NonLocal(kernel=kernel, pool_size=pool_size), (2, 2, 4, 5, 4), seed)
    got = keras.ops.convert_to_numpy(layer(x, training=False))
    np.testing.assert_allclose(got, reference(layer, x), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("scale", [True, False])
def test_scale_and_filters_on_images(scale):
    layer, x = randomized(NonLocal(filters=5, scale=scale), (1, 3, 4, 6), 4)
    got = keras.ops.convert_to_numpy(layer(x, training=False))
    np.testing.assert_allclose(got, reference(layer, x), rtol=2e-4, atol=2e-4)


def test_a_new_block_is_the_identity():
    x = np.random.default_rng(5).normal(size=(2, 2, 4, 3, 8)).astype("float32")
    for training in (False, True):
        got = keras.ops.convert_to_numpy(NonLocal()(x, training=training))
        np.testing.assert_array_equal(got, x)


def test_sizes_unknown_while_building():
    inputs = keras.Input((None, None, None, 6))
    model = keras.Model(inputs, NonLocal(pool_size=(1, 2, 2), name="nl")(inputs))
    assert model.output_shape == (None, None, None, None, 6)
    layer = model.get_layer("nl")
    for weight in layer.weights:
        weight.assign(np.random.default_rng(6).uniform(0.2, 1.0, weight.shape))
    x = np.random.default_rng(7).normal(size=(2, 3, 4, 5, 6)).astype("float32")
    got = keras.ops.convert_to_numpy(model(x, training=False))
    np.testing.assert_allclose(got, reference(layer, x), rtol=2e-4, atol=2e-4)


def test_batch_statistics_move_in_training_only():
    layer, x = randomized(NonLocal(), (2, 2, 3, 3, 4), 8)
    before = value(layer.bn.moving_mean)
    layer(x, training=False)
    np.testing.assert_array_equal(value(layer.bn.moving_mean), before)
    layer(x, training=True)
    assert np.abs(value(layer.bn.moving_mean) - before).max() > 1e-3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("filters", 0),
        ("kernel", "cosine"),
        ("pool_size", (1, 0, 2)),
        ("pool_size", 2),
        ("epsilon", 0),
        ("momentum", 1.5),
    ],
)
def test_bad_arguments(name, value):
    check_refused(NonLocal, name, **{name: value})


def test_bad_inputs():
    with pytest.raises(ValueError, match="input_shape="):
        NonLocal().build((None, 4))
    with pytest.raises(ValueError, match="`pool_size` must have one integer"):
        NonLocal(pool_size=(2, 2)).build((None, 2, 4, 4, 8))


def test_multiply_accumulates():
    layer = NonLocal(pool_size=(1, 2, 2))
    layer.build((None, 2, 4, 6, 8))
    # Projections 8 -> 4 of 48 positions (theta), 12 (phi), 12 (g), 4 -> 8 of 48; 48 x 12 x 4 twice.
    assert layer.multiply_accumulates((1, 2, 4, 6, 8)) == 32 * (48 + 12 + 12 + 48) + 2 * 48 * 12 * 4
    layer = NonLocal(filters=3, kernel="gaussian")
    layer.build((None, 5, 8))
    assert layer.multiply_accumulates((1, 5, 8)) == 24 * (5 + 5) + 25 * (8 + 3)
