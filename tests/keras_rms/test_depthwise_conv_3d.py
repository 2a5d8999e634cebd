"""DepthwiseConv3D in each of its formulations against plain NumPy."""

import itertools

import keras
import numpy as np
import pytest
from layer_checks import check_refused

from keras_rms.models import DepthwiseConv3D
from keras_rms.models.layers import depthwise_conv_3d
from keras_rms.models.layers.depthwise_conv_3d import IMPLEMENTATIONS

pytestmark = pytest.mark.any_backend
SHAPES = [(2, 5, 7, 6, 3), (1, 8, 4, 9, 2), (2, 1, 3, 2, 4)]
SETTINGS = [(3, 1), (3, 2), ((3, 1, 5), (2, 1, 1)), ((5, 3, 1), (3, 2, 2)), ((1, 3, 3), (1, 2, 2))]


def in_numpy(x, kernel, strides):
    pads = [(size // 2, size // 2) for size in kernel.shape[:3]]
    padded = np.pad(x.astype("float64"), [(0, 0), *pads, (0, 0)])
    sizes = [(n - 1) // s + 1 for n, s in zip(x.shape[1:4], strides)]
    y = np.zeros((x.shape[0], *sizes, x.shape[-1]))
    for t, h, w in itertools.product(*map(range, sizes)):
        corner = [i * s for i, s in zip((t, h, w), strides)]
        box = tuple(slice(c, c + k) for c, k in zip(corner, kernel.shape[:3]))
        y[:, t, h, w] = np.sum(padded[(slice(None), *box)] * kernel[:, :, :, 0], axis=(1, 2, 3))
    return y


def triple(value):
    return (value,) * 3 if isinstance(value, int) else value


def random_input(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("kernel_size", "strides"), SETTINGS, ids=str)
def test_equals_numpy(implementation, shape, kernel_size, strides):
    layer = DepthwiseConv3D(kernel_size, strides, implementation=implementation)
    layer.build(shape)
    kernel = random_input(layer.kernel.shape, seed=1)
    layer.kernel.assign(kernel)
    x = random_input(shape)
    expected = in_numpy(x, kernel, triple(strides))
    received = keras.ops.convert_to_numpy(layer(x))
    assert received.shape == expected.shape == layer.compute_output_shape(shape)
    np.testing.assert_allclose(received, expected, atol=2e-5)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_takes_sizes_that_are_open(implementation):
    inputs = keras.Input((None, None, None, 3))
    layer = DepthwiseConv3D(3, 2, implementation=implementation)
    model = keras.Model(inputs, layer(inputs))
    assert model.output_shape == (None, None, None, None, 3)
    for shape in ((2, 5, 7, 6, 3), (1, 4, 4, 5, 3)):
        x = random_input(shape)
        expected = in_numpy(x, keras.ops.convert_to_numpy(layer.kernel), (2, 2, 2))
        np.testing.assert_allclose(model.predict(x, verbose=0), expected, atol=2e-5)


def test_computes_what_conv3d_with_groups_computes():
    x = random_input((2, 4, 5, 7, 6))
    layer, grouped = DepthwiseConv3D(3), keras.layers.Conv3D(6, 3, groups=6, use_bias=False)
    layer.build(x.shape)
    grouped.build(x.shape)
    grouped.set_weights(layer.get_weights())
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (1, 1), (0, 0)])
    expected = keras.ops.convert_to_numpy(grouped(padded))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(layer(x)), expected, atol=1e-5)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("strides", [1, 2])
def test_gradients_by_a_training_step(jit_compile, strides):
    """One step of plain SGD on sum(y * target) moves the kernel by the exact gradient."""
    if keras.backend.backend() == "torch" and jit_compile:
        pytest.skip("torch.compile needs a C++ compiler.")
    x = random_input((2, 5, 6, 7, 3))
    layer = DepthwiseConv3D(3, strides)
    model = keras.Sequential([keras.Input(x.shape[1:]), layer])
    target = random_input((2, *model.output_shape[1:]), seed=2)

    def loss(y_true, y_pred):
        return keras.ops.sum(y_true * y_pred)

    model.compile(keras.optimizers.SGD(1.0), loss, jit_compile=jit_compile)
    before = keras.ops.convert_to_numpy(layer.kernel)
    model.train_on_batch(x, target)
    received = before - keras.ops.convert_to_numpy(layer.kernel)
    expected = np.zeros_like(before)
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (1, 1), (0, 0)])
    sizes = target.shape[1:4]
    for tap in np.ndindex(3, 3, 3):
        box = tuple(slice(a, a + (n - 1) * strides + 1, strides) for a, n in zip(tap, sizes))
        expected[(*tap, 0)] = np.sum(padded[(slice(None), *box)] * target, axis=(0, 1, 2, 3))
    np.testing.assert_allclose(received, expected, atol=1e-3)


def test_half_precision_is_kept():
    layer = DepthwiseConv3D(3, dtype="mixed_bfloat16")
    assert keras.backend.standardize_dtype(layer(np.ones((1, 3, 4, 5, 2))).dtype) == "bfloat16"


def test_is_saved_with_its_settings(tmp_path):
    inputs = keras.Input((4, 6, 5, 3))
    layer = DepthwiseConv3D(
        (3, 5, 3),
        (2, 1, 1),
        kernel_initializer="he_normal",
        kernel_regularizer=keras.regularizers.L2(0.1),
        implementation="taps",
        name="depthwise",
    )
    model = keras.Model(inputs, layer(inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_layer("depthwise").get_config() == layer.get_config()
    x = random_input((1, 4, 6, 5, 3))
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))


def test_choice_of_the_formulation(monkeypatch):
    chosen = {}
    for backend, compiled, cpu in itertools.product(
        ("tensorflow", "jax", "torch"), (True, False), (True, False)
    ):
        monkeypatch.setattr(keras.backend, "backend", lambda backend=backend: backend)
        monkeypatch.setattr(
            depthwise_conv_3d, "is_compiled_by_xla", lambda compiled=compiled: compiled
        )
        monkeypatch.setattr(depthwise_conv_3d, "is_on_cpu", lambda cpu=cpu: cpu)
        chosen[backend, compiled, cpu] = depthwise_conv_3d._fastest_implementation()
    assert chosen["tensorflow", False, True] == "frames"
    assert chosen["tensorflow", True, True] == chosen["jax", True, True] == "taps"
    assert chosen["tensorflow", True, False] == chosen["tensorflow", False, False] == "frames"
    assert chosen["jax", True, False] == "frames"
    assert {chosen["torch", a, b] for a in (True, False) for b in (True, False)} == {"grouped"}


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="asks TensorFlow")
def test_xla_is_noticed_inside_of_it_only():
    import tensorflow as tf

    seen = []

    def function(x):
        seen.append(depthwise_conv_3d.is_compiled_by_xla())
        return x + 1

    for jit_compile in (True, False):
        tf.function(function, jit_compile=jit_compile)(tf.ones(2))
    assert seen == [True, False]


@pytest.mark.parametrize(
    "kwargs",
    [
        {"kernel_size": 2},
        {"kernel_size": (3, 3)},
        {"kernel_size": 0},
        {"kernel_size": None},
        {"kernel_size": 3, "strides": "2"},
        {"kernel_size": (3, 3, 3.0)},
        {"kernel_size": 3, "strides": (1, 2, 1)},
        {"kernel_size": 3, "strides": 0},
        {"kernel_size": 3, "implementation": "fast"},
    ],
    ids=str,
)
def test_bad_arguments(kwargs):
    check_refused(DepthwiseConv3D, list(kwargs)[-1], **kwargs)


def test_unknown_channels():
    with pytest.raises(ValueError, match="channels must be known"):
        DepthwiseConv3D(3).build((None, 4, 4, 4, None))
