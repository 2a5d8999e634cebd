"""Float64 NumPy references of the layers, and gradients on any backend."""

import itertools

import keras
import numpy as np


def smooth(x, kernel_size=3, stddev=None, border="renormalize", data_format="channels_last"):
    """The weighted mean over each window (paper, eq. 1), neighbour by neighbour."""
    x = np.asarray(x, "float64")
    if data_format == "channels_first":
        moved = np.moveaxis(x, 1, -1)
        return np.moveaxis(smooth(moved, kernel_size, stddev, border), -1, 1)
    space = x.shape[1:-1]
    sizes = (kernel_size,) * len(space) if isinstance(kernel_size, int) else kernel_size
    total, weight_inside, weight_of_window = np.zeros_like(x), np.zeros(space), 0.0
    for offset in itertools.product(*(range(-(k // 2), k // 2 + 1) for k in sizes)):
        weight = 1.0
        if stddev is not None:
            weight = np.exp(-sum(d**2 for d in offset) / (2 * stddev**2))
        here = tuple(slice(max(0, -d), max(0, n - max(0, d))) for d, n in zip(offset, space))
        there = tuple(slice(max(0, d), max(0, n + min(0, d))) for d, n in zip(offset, space))
        total[(slice(None), *here)] += weight * x[(slice(None), *there)]
        weight_inside[here] += weight
        weight_of_window += weight
    return total / (weight_inside[..., None] if border == "renormalize" else weight_of_window)


def position_coded(shape, seed=0):
    """Random numbers plus a ramp of another slope along each axis: no two axes look alike."""
    x = np.random.default_rng(seed).normal(size=shape)
    for axis, size in enumerate(shape):
        ramp = np.arange(size) * (axis + 1) / size
        x += ramp.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return x


def value_and_gradient(function, x, upstream):
    """`function(x)` and the gradient of `sum(function(x) * upstream)` in x, as NumPy arrays."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        x, upstream = tf.convert_to_tensor(x), tf.convert_to_tensor(upstream)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
        return y.numpy(), tape.gradient(y, x, upstream).numpy()
    if backend == "jax":
        import jax

        y, backward = jax.vjp(function, jax.numpy.asarray(x))
        return np.asarray(y), np.asarray(backward(jax.numpy.asarray(upstream, y.dtype))[0])
    import torch

    x = torch.tensor(np.array(x), requires_grad=True)
    y = function(x)
    (gradient,) = torch.autograd.grad(y, x, torch.tensor(np.array(upstream)))
    return y.detach().numpy(), gradient.numpy()


def is_nothing_done(layer, x, **call_arguments):
    """Whether the layer returns the very tensor that it is given."""
    x = keras.ops.convert_to_tensor(x)
    return layer.call(x, **call_arguments) is x
