"""Batch normalisation by the fused operation gives what Keras's gives, and where it is not used."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_rms.models.layers.batch_normalization import BatchNormalization

pytestmark = pytest.mark.any_backend
tensorflow_only = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the operation is TensorFlow's"
)
SHAPE = (2, 3, 5, 4, 6)


def features(shape=SHAPE, dtype="float32"):
    # Channels of unlike mean and spread, far from those that the layer starts with.
    x = np.random.default_rng(0).normal(size=shape) * np.linspace(0.5, 3, shape[-1]) + 2
    return ops.cast(ops.convert_to_tensor(x), dtype)


def pair(shape=SHAPE, **options):
    """The layer and Keras's, with the same weights."""
    layers = BatchNormalization(**options), keras.layers.BatchNormalization(**options)
    rng = np.random.default_rng(1)
    for layer in layers:
        layer.build((None, *[None] * (len(shape) - 2), shape[-1]))
    for ours, theirs in zip(*(layer.weights for layer in layers), strict=True):
        assert ours.path.split("/")[-1] == theirs.path.split("/")[-1]
        value = rng.uniform(0.5, 1.5, ours.shape)
        ours.assign(value)
        theirs.assign(value)
    return layers


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        (SHAPE, {"momentum": 0.9, "epsilon": 1e-2}),
        (SHAPE[1:], {"center": False}),
        (SHAPE, {"scale": False}),
        (SHAPE, {"axis": 4}),
        (SHAPE, {"axis": 1, "epsilon": 1e-2}),
        ((1, 1, 1, 1, 6), {}),
        ((7, 6), {}),
        (SHAPE, {"dtype": "float64"}),
        (SHAPE, {"dtype": "mixed_bfloat16"}),
    ],
)
def test_it_gives_what_keras_gives(shape, options):
    if options.get("axis") == 1:
        layers = BatchNormalization(**options), keras.layers.BatchNormalization(**options)
    else:
        layers = pair(shape, **options)
    x = features(shape, layers[0].compute_dtype)
    for training in (True, False):
        ours, theirs = (layer(x, training=training) for layer in layers)
        assert ours.dtype == theirs.dtype
        digits = 1e-2 if ops.shape(ours) and "bfloat16" in str(ours.dtype) else 1e-5
        ours, theirs = (ops.convert_to_numpy(ops.cast(y, "float64")) for y in (ours, theirs))
        np.testing.assert_allclose(ours, theirs, rtol=digits, atol=digits)
        for own, other in zip(*(layer.weights for layer in layers), strict=True):
            np.testing.assert_allclose(own.numpy(), other.numpy(), rtol=1e-5, err_msg=own.path)


@tensorflow_only
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_its_gradients_are_keras_s(policy):
    import tensorflow as tf

    layers = pair(epsilon=1e-2, dtype=policy)
    x = features()
    upstream = np.random.default_rng(2).normal(size=SHAPE)

    def gradients(layer):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
            loss = tf.reduce_sum(tf.cast(y, "float32") * upstream)
        return tape.gradient(loss, [x, layer.gamma.value, layer.beta.value])

    digits = 1e-4 if policy == "float32" else 2e-2
    for ours, theirs in zip(*map(gradients, layers), strict=True):
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(ours / scale, theirs / scale, atol=digits)


@tensorflow_only
def test_where_the_operation_is_used():
    import tensorflow as tf

    def is_fused(layer, training=True, shape=(None, 3, None, None, 6), **options):
        layer.build(shape)
        dtype = layer.compute_dtype
        spec = tf.TensorSpec(shape, dtype)
        function = tf.function(lambda x: layer(x, training=training), **options)
        operations = function.get_concrete_function(spec).graph.get_operations()
        return any(each.type == "FusedBatchNormV3" for each in operations)

    assert is_fused(BatchNormalization())
    assert is_fused(BatchNormalization(), shape=(None, None, None, 6))
    assert is_fused(BatchNormalization(dtype="mixed_float16"))
    assert not is_fused(BatchNormalization(), training=False)
    assert not is_fused(BatchNormalization(trainable=False))
    assert not is_fused(BatchNormalization(), shape=(None, 6))
    assert not is_fused(BatchNormalization(axis=1))
    assert not is_fused(BatchNormalization(dtype="float64"))
    assert not is_fused(BatchNormalization(synchronized=True))
    if hasattr(BatchNormalization(), "renorm"):  # since Keras 3.14
        assert not is_fused(BatchNormalization(renorm=True))
    assert not is_fused(BatchNormalization(), jit_compile=True)


def test_a_masked_batch_is_keras_s():
    ours, theirs = pair()
    mask = np.arange(np.prod(SHAPE[:-1])).reshape(SHAPE[:-1]) % 3 > 0
    x = features()
    received, expected = (layer(x, training=True, mask=mask) for layer in (ours, theirs))
    np.testing.assert_allclose(
        ops.convert_to_numpy(received), ops.convert_to_numpy(expected), rtol=1e-5, atol=1e-5
    )
