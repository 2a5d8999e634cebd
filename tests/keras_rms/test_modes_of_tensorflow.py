"""RandomMeanScaling under TensorFlow: eager, graph and XLA, export, and the paper's own wording."""

import keras
import numpy as np
import pytest
from layer_reference import position_coded, smooth
from replicas import mirrored_strategy

import keras_rms

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="compares TensorFlow's modes"
)

SHAPE = (2, 4, 6, 5, 3)
MODES = {
    "eager": lambda function: function,
    "graph": tf.function,
    "xla": lambda function: tf.function(function, jit_compile=True),
}


def step_of(layer):
    """The output and its gradient along `upstream`."""

    def step(x, upstream):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
        return y, tape.gradient(y, x, upstream)

    return step


class AsThePaperWritesIt(keras.layers.Layer):
    """Figure 2 (a) with Keras's own layers: alpha * mean + (x - mean)."""

    def __init__(self, smoothing, alpha):
        super().__init__()
        self.alpha = alpha
        if smoothing == "mean":
            self.filter = keras.layers.AveragePooling3D(3, strides=1, padding="same")
        else:
            self.filter = gaussian_convolution(SHAPE[-1])

    def call(self, x, training=False):
        mean = self.filter(x)
        return self.alpha * mean + (x - mean)


def gaussian_convolution(channels, stddev=0.4):
    offsets = np.arange(-1, 2)
    squares = offsets[:, None, None] ** 2 + offsets[:, None] ** 2 + offsets**2
    kernel = np.exp(-squares / (2 * stddev**2))
    kernel = np.repeat((kernel / kernel.sum())[..., None, None], channels, axis=-1)
    layer = keras.layers.Conv3D(channels, 3, padding="same", groups=channels, use_bias=False)
    layer.build((None, None, None, None, channels))
    layer.set_weights([kernel])
    layer.trainable = False
    return layer


def with_alpha(alpha, **options):
    """A layer with given alphas: TensorFlow's own random numbers are others under XLA."""
    layer = keras_rms.RandomMeanScaling(**options)
    layer.build(SHAPE)
    layer._draw = lambda x: alpha
    return layer


ALPHA = tf.constant([0.3, 1.6], shape=(2, 1, 1, 1, 1))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("smoothing", "border"), [("mean", "renormalize"), ("gaussian", "zeros")])
def test_equal_to_the_paper_s_description(mode, smoothing, border):
    x, upstream = (tf.constant(position_coded(SHAPE, seed), tf.float32) for seed in (0, 1))
    expected = step_of(AsThePaperWritesIt(smoothing, ALPHA))(x, upstream)
    layer = with_alpha(ALPHA, smoothing=smoothing, border=border)
    actual = MODES[mode](step_of(layer))(x, upstream)
    for a, e in zip(actual, expected):
        np.testing.assert_allclose(a, e, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("component", ["mean", "residual", "input"])
@pytest.mark.parametrize("smoothing", ["mean", "gaussian"])
@pytest.mark.parametrize("border", ["renormalize", "zeros"])
def test_the_modes_agree(dtype, component, smoothing, border):
    compute = dtype.removeprefix("mixed_")
    x, upstream = (tf.cast(position_coded(SHAPE, seed), compute) for seed in (0, 1))
    results = []
    for mode in MODES.values():
        layer = with_alpha(
            ALPHA, smoothing=smoothing, component=component, border=border, dtype=dtype
        )
        results.append([tf.cast(v, "float32") for v in mode(step_of(layer))(x, upstream)])
    tolerance = {"float32": 2e-6, "bfloat16": 2e-2, "float16": 3e-3}[compute]
    for result in results[1:]:
        for a, e in zip(result, results[0]):
            np.testing.assert_allclose(a, e, atol=tolerance * np.abs(e).max())


@pytest.mark.parametrize("mode", MODES)
def test_the_gradient_is_that_of_the_filter(mode):
    """Against the transposed float64 filter, element by element."""
    shape, alpha = (1, 3, 4, 2, 1), 1.7
    layer = with_alpha(tf.constant(alpha), smoothing="gaussian", smoothing_stddev=0.9)
    x, upstream = (tf.constant(position_coded(shape, seed), tf.float32) for seed in (0, 1))
    _, gradient = MODES[mode](step_of(layer))(x, upstream)
    units = np.eye(x.shape.num_elements()).reshape(-1, *shape[1:])
    columns = units + (alpha - 1) * smooth(units, 3, 0.9)
    expected = np.tensordot(columns, position_coded(shape, 1)[0], axes=4).reshape(shape)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("smoothing", ["mean", "gaussian"])
def test_nan_stays_in_its_sample_forward_and_backward(mode, smoothing):
    x, upstream = (position_coded(SHAPE, seed).astype("float32") for seed in (0, 1))
    results = []
    for value in (x[1, 2, 3, 1, 0], np.nan):
        x[1, 2, 3, 1, 0] = upstream[1, 1, 0, 4, 2] = value
        step = MODES[mode](step_of(with_alpha(ALPHA, smoothing=smoothing)))
        results.append(step(tf.constant(x), tf.constant(upstream)))
    for clean, dirty in zip(*results):
        assert np.isnan(dirty[1]).any() and not np.isnan(clean).any()
        np.testing.assert_array_equal(dirty[0], clean[0])


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("smoothing", ["mean", "gaussian"])
@pytest.mark.parametrize("border", ["renormalize", "zeros"])
def test_one_function_serves_all_sizes(jit_compile, data_format, smoothing, border):
    """Batch, time and space are unknown when the function is traced."""
    options = {"smoothing": smoothing, "border": border, "data_format": data_format}
    layer = with_alpha(tf.constant(1.7), **options)
    sizes = [None] * 4
    shape = [*sizes, 2] if data_format == "channels_last" else [None, 2, *sizes[1:]]
    function = tf.function(
        lambda x: layer(x, training=True),
        input_signature=[tf.TensorSpec(shape)],
        jit_compile=jit_compile,
    )
    for sizes in [(2, 3, 5, 4), (1, 1, 2, 7)]:
        shape = (*sizes, 2) if data_format == "channels_last" else (sizes[0], 2, *sizes[1:])
        x = position_coded(shape)
        stddev = 0.4 if smoothing == "gaussian" else None
        expected = x + 0.7 * smooth(x, 3, stddev, border, data_format)
        np.testing.assert_allclose(
            function(tf.constant(x, tf.float32)), expected, rtol=1e-5, atol=2e-5
        )


@pytest.mark.parametrize("seed", [0, 5])
@pytest.mark.parametrize("mode", MODES)
def test_a_seed_gives_the_same_run_twice_in_every_mode(mode, seed):
    runs = []
    for _ in range(2):
        layer = keras_rms.RandomMeanScaling(granularity="channel", seed=seed)
        layer.build(SHAPE)
        step = MODES[mode](lambda x, layer=layer: layer(x, training=True))
        runs.append(np.stack([step(tf.ones(SHAPE)) for _ in range(3)]))
    np.testing.assert_array_equal(*runs)
    assert all((a != b).any() for a, b in zip(runs[0][:-1], runs[0][1:]))


def test_no_gradient_flows_into_alpha(monkeypatch):
    x, scale = tf.ones(SHAPE), tf.Variable(0.5)
    normal = keras.random.normal
    monkeypatch.setattr(keras.random, "normal", lambda *args, **kw: scale * normal(*args, **kw))
    for component in ("mean", "residual", "input"):
        layer = keras_rms.RandomMeanScaling(component=component)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
        by_alpha, by_x = tape.gradient(y, [scale, x])
        assert by_alpha is None and by_x is not None


def test_a_second_gradient_exists():
    x = tf.constant(position_coded(SHAPE), tf.float32)
    layer = keras_rms.RandomMeanScaling(seed=0)
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            y = tf.reduce_sum(layer(x, training=True) ** 2)
        penalty = tf.reduce_sum(inner.gradient(y, x) ** 2)
    assert np.isfinite(outer.gradient(penalty, x)).all()


@pytest.mark.parametrize("options", [{}, {"smoothing": "gaussian"}, {"granularity": "channel"}])
def test_export_holds_no_trace_of_the_layer(options, tmp_path):
    inputs = keras.Input((None, None, None, 2))
    x = keras.layers.Conv3D(3, 1)(inputs)
    x = keras_rms.RandomMeanScaling(**options)(x)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling3D()(x))
    model.export(str(tmp_path / "model"), verbose=False)
    restored = tf.saved_model.load(str(tmp_path / "model"))
    data = position_coded((2, 3, 5, 4, 2)).astype("float32")
    np.testing.assert_allclose(restored.serve(data), model(data), rtol=1e-6)
    function = restored.signatures["serving_default"]
    nodes = list(function.graph.as_graph_def().node)
    for definition in function.graph.as_graph_def().library.function:
        nodes += definition.node_def
    kinds = {node.op for node in nodes}
    assert "Conv3D" in kinds
    assert not kinds & {"AvgPool3D", "AvgPool", "DepthwiseConv2dNative", "BatchMatMulV2"}
    assert not any("Stateless" in kind or "Random" in kind for kind in kinds)


@pytest.mark.parametrize("component", ["mean", "residual", "input"])
def test_export_scales_by_another_expectation(component, tmp_path):
    inputs = keras.Input((None, None, None, 2))
    layer = keras_rms.RandomMeanScaling(mean=0.5, component=component)
    model = keras.Model(inputs, layer(inputs))
    model.export(str(tmp_path / "model"), verbose=False)
    x = position_coded((2, 3, 5, 4, 2))
    mean = smooth(x)
    expected = {"mean": x - 0.5 * mean, "residual": 0.5 * x + 0.5 * mean, "input": 0.5 * x}
    y = tf.saved_model.load(str(tmp_path / "model")).serve(x.astype("float32"))
    np.testing.assert_allclose(y, expected[component], rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("smoothing", ["mean", "gaussian"])
def test_fit_draws_anew_in_each_step(jit_compile, smoothing):
    inputs = keras.Input((3, 4, 4, 2))
    outputs = keras_rms.RandomMeanScaling(smoothing=smoothing, seed=0)(inputs)
    model = keras.Model(inputs, outputs)
    model.compile("sgd", "mse", jit_compile=jit_compile)
    x = position_coded((2, 3, 4, 4, 2)).astype("float32")
    losses = [float(model.train_on_batch(x, x)) for _ in range(4)]
    assert len(set(losses)) == 4


@pytest.mark.slow
def test_training_under_a_strategy(tmp_path):
    strategy = mirrored_strategy()
    with strategy.scope():
        inputs = keras.Input((None, 4, 4, 2))
        x = keras.layers.Conv3D(3, 1)(inputs)
        for options in ({}, {"smoothing": "gaussian"}, {"granularity": "channel"}):
            x = keras_rms.RandomMeanScaling(**options, seed=0)(x)
        model = keras.Model(inputs, keras.layers.GlobalAveragePooling3D()(x))
        model.compile("sgd", "mse", jit_compile=False)
    data = position_coded((4, 3, 4, 4, 2)).astype("float32")
    history = model.fit(data, np.zeros((4, 3)), epochs=2, batch_size=4, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
