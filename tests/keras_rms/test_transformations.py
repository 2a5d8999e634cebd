"""The layers in functions that a backend traces, maps, loops over or recomputes."""

import keras
import numpy as np
import pytest
from layer_reference import position_coded, smooth, value_and_gradient

import keras_rms

pytestmark = pytest.mark.any_backend

SHAPE = (2, 3, 4, 5, 2)
X, UPSTREAM = (position_coded(SHAPE, seed).astype("float32") for seed in (0, 1))
BACKEND = keras.backend.backend()


def transformations():
    """By name: a function of a function, x and upstream -> its value at x and a derivative.

    The derivative is the gradient of `sum(function(x) * upstream)`, or for names that begin with
    `forward` that along the direction `upstream`.
    """
    return {"tensorflow": _of_tensorflow, "jax": _of_jax, "torch": _of_torch}[BACKEND]()


def _of_tensorflow():
    import tensorflow as tf

    def backward(change):
        return lambda f, x, u: value_and_gradient(lambda x: change(f, x), x, u)

    def forward(f, x, u):
        x = tf.constant(x)
        with tf.autodiff.ForwardAccumulator(x, tf.constant(u)) as accumulator:
            y = f(x)
        return y, accumulator.jvp(y)

    def map_samples(f, x):
        return tf.vectorized_map(lambda sample: f(sample[None])[0], x)

    def loop(f, x):
        return tf.while_loop(lambda i, _: i < 1, lambda i, v: (i + 1, f(v)), (0, x))[1]

    def branch(f, x):
        return tf.cond(tf.reduce_sum(x) < 1e9, lambda: f(x), lambda: x)

    return {
        "recomputed": backward(lambda f, x: tf.recompute_grad(f)(x)),
        "recomputed in a graph": backward(lambda f, x: tf.function(tf.recompute_grad(f))(x)),
        "loop": backward(lambda f, x: tf.function(loop)(f, x)),
        "branch": backward(lambda f, x: tf.function(branch)(f, x)),
        "each sample": backward(map_samples),
        "forward": forward,
    }


def _of_jax():
    import jax
    from jax import lax

    def backward(change):
        return lambda f, x, u: value_and_gradient(lambda x: change(f, x), x, u)

    def gradient_of_gradient(f, x, u):
        # Of 1/2 sum(f(x)^2): the Hessian's product with u is the transpose's of f(u).
        def half_square(x):
            return (f(x) ** 2).sum() / 2

        def along(x):
            return (jax.grad(half_square)(x) * u).sum()

        return f(x), jax.grad(along)(x)

    return {
        "jit": backward(lambda f, x: jax.jit(f)(x)),
        "checkpoint": backward(lambda f, x: jax.checkpoint(f)(x)),
        "checkpoint in jit": backward(lambda f, x: jax.jit(jax.checkpoint(f))(x)),
        "scan": backward(lambda f, x: lax.scan(lambda c, _: (f(c), None), x, None, 1)[0]),
        "cond": backward(
            lambda f, x: jax.jit(lambda x: lax.cond(x.sum() < 1e9, f, lambda x: x, x))(x)
        ),
        "vmap": backward(lambda f, x: jax.vmap(lambda sample: f(sample[None])[0])(x)),
        "forward": lambda f, x, u: jax.jvp(f, (x,), (u,)),
        "forward in jit": lambda f, x, u: jax.jit(lambda x, u: jax.jvp(f, (x,), (u,)))(x, u),
        "gradient of gradient": gradient_of_gradient,
    }


def _of_torch():
    import torch
    from torch.utils.checkpoint import checkpoint

    def tensors(*arrays):
        return tuple(torch.tensor(array) for array in arrays)

    def functional(f, x, u):
        x, u = tensors(x, u)
        y, backward = torch.func.vjp(f, x)
        return y, backward(u)[0]

    def forward(f, x, u):
        x, u = tensors(x, u)
        return torch.func.jvp(f, (x,), (u,))

    def recomputed(reentrant):
        return lambda f, x, u: value_and_gradient(
            lambda x: checkpoint(f, x, use_reentrant=reentrant), x, u
        )

    def each_sample(f, x, u):
        mapped = torch.func.vmap(lambda sample: f(sample[None])[0])
        return value_and_gradient(mapped, x, u)

    return {
        "vjp": functional,
        "vmap": each_sample,
        "forward": forward,
        "recomputed": recomputed(False),
        "recomputed, reentrant": lambda f, x, u: (f(torch.tensor(x)), _reentrant(f, x, u)),
    }


def _reentrant(f, x, u):
    import torch
    from torch.utils.checkpoint import checkpoint

    x = torch.tensor(x, requires_grad=True)
    checkpoint(f, x, use_reentrant=True).backward(torch.tensor(u))
    return x.grad


def check(name, transform, function, matrix):
    """`function` is the product of each sample with a matrix of its own."""
    received = transform(function, X, UPSTREAM)
    y, derivative = (np.asarray(keras.ops.convert_to_numpy(value)) for value in received)
    x, u = (v.reshape(len(v), -1) for v in (X, UPSTREAM))
    np.testing.assert_allclose(y.reshape(x.shape), np.einsum("sij,sj->si", matrix, x), atol=2e-5)
    if name == "gradient of gradient":
        u = np.einsum("sij,sj->si", matrix, u)
    rule = "sij,sj->si" if name.startswith("forward") else "sji,sj->si"
    np.testing.assert_allclose(derivative.reshape(u.shape), np.einsum(rule, matrix, u), atol=5e-5)


def matrix_of(stddev):
    """The filter of one sample, by brute force: a column for each position that holds a one."""
    units = np.eye(np.prod(SHAPE[1:])).reshape(-1, *SHAPE[1:])
    return np.stack([smooth(units, 3, stddev).reshape(len(units), -1).T] * SHAPE[0])


@pytest.mark.parametrize("name", transformations())
def test_filters(name):
    """Both, one after the other: an error of either changes the product of their matrices."""

    def function(x):
        return keras_rms.gaussian_smooth(keras_rms.local_mean(x), stddev=0.7)

    check(name, transformations()[name], function, matrix_of(0.7) @ matrix_of(None))


def state_of(layer):
    """The values of a layer's variables, apart from the variables."""
    return [keras.ops.copy(variable.value) for variable in layer.non_trainable_variables]


def built(layer_class, *arguments, **options):
    layer = layer_class(*arguments, seed=3, **options)
    layer.build(SHAPE)
    return layer


@pytest.mark.parametrize("component", ["mean", "residual"])
@pytest.mark.parametrize("name", transformations())
def test_random_mean_scaling(name, component):
    """The gradient is that of the alpha of the forward pass, recomputed or not."""
    if "each sample" in name or name == "vmap":
        pytest.skip("one state would give each sample the alpha of a batch of one")
    drawing = built(keras_rms.RandomMeanScaling, component="input")
    x = keras.ops.convert_to_tensor(X)
    scaled, _ = drawing.stateless_call([], state_of(drawing), x, training=True)
    alpha = (keras.ops.convert_to_numpy(scaled) / X)[:, 0, 0, 0, 0][:, None, None]
    assert abs(alpha[0] - alpha[1]).item() > 1e-3
    layer = built(keras_rms.RandomMeanScaling, component=component)
    state = state_of(layer)
    mean, unit = matrix_of(None), np.eye(np.prod(SHAPE[1:]))
    matrix = alpha * mean + unit - mean if component == "mean" else mean + alpha * (unit - mean)
    check(
        name,
        transformations()[name],
        lambda x: layer.stateless_call([], state, x, training=True)[0],
        matrix,
    )


NOISE = {
    "rms": (keras_rms.RandomMeanScaling, (), {"component": "input", "granularity": "channel"}),
    "dropout": (keras_rms.Dropout, (0.5,), {}),
    "random_drop": (keras_rms.RandomDrop, (0.5,), {"granularity": "sample"}),
}


def check_factors(functions):
    """The gradient of each is the factor of its own forward pass, and the draws differ."""
    seen = set()
    for function in functions:
        y, gradient = value_and_gradient(function, X, np.ones_like(X))
        np.testing.assert_allclose(gradient, y / X, rtol=1e-5)
        seen |= set(gradient.round(4).ravel())
    assert len(seen) > 1


@pytest.mark.parametrize("kind", NOISE)
def test_recomputed_with_the_state_from_outside(kind):
    layer_class, arguments, options = NOISE[kind]
    layer = built(layer_class, *arguments, **options)
    states = []
    for _ in range(6):
        states.append(state_of(layer))
        layer(X, training=True)

    def recomputed(state):
        return keras.remat(lambda x: layer.stateless_call([], state, x, training=True)[0])

    check_factors(map(recomputed, states))


@pytest.mark.parametrize("kind", NOISE)
def test_layers_of_a_scope_draw_once(kind):
    layer_class, arguments, options = NOISE[kind]
    with keras.RematScope("full"):
        layer = built(layer_class, *arguments, **options)
    check_factors([lambda x: layer(x, training=True)] * 6)


def test_shake_drop_in_a_scope_draws_once():
    """Its factors are others backward, but whether the branch is kept is one draw for both."""
    with keras.RematScope("full"):
        layer = built(keras_rms.ShakeDrop, 0.5, beta=(0.1, 0.5), granularity="batch")
    kept = set()
    for _ in range(8):
        y, gradient = value_and_gradient(lambda x: layer(x, training=True), X, np.ones_like(X))
        kept.add(was_kept := bool((y == X).all()))
        assert (gradient == 1).all() == was_kept and (was_kept or (y == 0).all())
    assert kept == {True, False}


@pytest.mark.parametrize("kind", NOISE)
def test_a_second_draw_is_refused(kind):
    layer_class, arguments, options = NOISE[kind]
    layer = built(layer_class, *arguments, **options)
    before = keras.ops.convert_to_numpy(layer.seed_generator.state.value).tolist()
    recomputed = keras.remat(lambda x: layer(x, training=True))
    with pytest.raises(ValueError, match=r"cannot draw inside .*stateless_call.*Received: the"):
        value_and_gradient(recomputed, X, UPSTREAM)
    # Nothing was spoilt, and where nothing is drawn nothing is refused.
    assert keras.ops.convert_to_numpy(layer.seed_generator.state.value).tolist() == before
    layer(X, training=True)
    recomputed = keras.remat(lambda x: layer(x, training=False))
    assert np.isfinite(value_and_gradient(recomputed, X, UPSTREAM)[1]).all()


@pytest.mark.skipif(BACKEND != "jax", reason="a trace that keeps state is JAX's")
def test_a_traced_draw_is_refused():
    import jax

    layer = built(keras_rms.RandomMeanScaling)
    with pytest.raises(ValueError, match="cannot draw inside"):
        jax.jit(lambda x: layer(x, training=True))(X)
    layer(X, training=True)


@pytest.mark.skipif(BACKEND != "jax", reason="`scan` is JAX's")
def test_a_scan_carries_the_state():
    import jax

    layer = built(keras_rms.RandomMeanScaling, component="input")

    def step(state, _):
        y, state = layer.stateless_call([], state, X, training=True)
        return state, y / X

    _, factors = jax.lax.scan(step, state_of(layer), None, 3)
    expected = np.stack([np.asarray(layer(X, training=True)) / X for _ in range(3)])
    np.testing.assert_allclose(factors, expected, rtol=1e-5)
    assert len({round(float(factor), 4) for factor in factors[:, 0, 0, 0, 0, 0]}) == 3
