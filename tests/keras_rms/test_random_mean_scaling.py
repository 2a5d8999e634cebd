"""RandomMeanScaling on every backend: values, statistics, arguments and round trips."""

import json

import keras
import numpy as np
import pytest
from layer_checks import check_refused
from layer_reference import is_nothing_done, position_coded, smooth, value_and_gradient

import keras_rms

pytestmark = pytest.mark.any_backend

SHAPE = (3, 4, 6, 5, 2)


def run(layer, x, training=True):
    return keras.ops.convert_to_numpy(layer(x, training=training))


def alphas(layer, shape):
    """The layer's alphas, read from a constant, whose local mean is itself."""
    return run(layer, np.ones(shape, "float32"))


def twin(layer):
    return type(layer).from_config(layer.get_config())


def drawn_alpha(layer, x):
    """The alphas that the layer's twin, in the same state, will draw for x."""
    return keras.ops.convert_to_numpy(twin(layer)._draw(keras.ops.convert_to_tensor(x)))


@pytest.mark.parametrize("component", ["mean", "residual", "input"])
@pytest.mark.parametrize("granularity", ["batch", "sample", "channel"])
@pytest.mark.parametrize("distribution", ["normal", "uniform"])
@pytest.mark.parametrize("smoothing", ["mean", "gaussian"])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_training_follows_equation_3(component, granularity, distribution, smoothing, data_format):
    x = position_coded(SHAPE)
    layer = keras_rms.RandomMeanScaling(
        smoothing=smoothing,
        smoothing_stddev=0.7,
        distribution=distribution,
        component=component,
        granularity=granularity,
        data_format=data_format,
        seed=3,
    )
    alpha = drawn_alpha(layer, x).astype("float64")
    stddev = 0.7 if smoothing == "gaussian" else None
    mean = smooth(x, 3, stddev, data_format=data_format)
    expected = {
        "mean": alpha * mean + (x - mean),
        "residual": mean + alpha * (x - mean),
        "input": alpha * x,
    }[component]
    y = run(layer, x.astype("float32"))
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("component", ["mean", "residual", "input"])
@pytest.mark.parametrize("smoothing", ["mean", "gaussian"])
@pytest.mark.parametrize("border", ["renormalize", "zeros"])
def test_gradient_equals_finite_differences(component, smoothing, border):
    x, upstream = position_coded((2, 3, 4, 3, 2)), position_coded((2, 3, 4, 3, 2), 1)
    options = {"component": component, "smoothing": smoothing, "border": border, "seed": 1}
    function = lambda x: keras_rms.RandomMeanScaling(**options)(x, training=True)  # noqa: E731
    _, gradient = value_and_gradient(function, x.astype("float32"), upstream.astype("float32"))
    objective = lambda x: np.sum(run(keras_rms.RandomMeanScaling(**options), x) * upstream)  # noqa: E731
    # The layer is linear in x, so that a wide step has no error but rounding.
    for index in [(0, 0, 0, 0, 0), (1, 1, 2, 1, 1), (0, 2, 3, 2, 0), (1, 0, 3, 1, 1)]:
        step = np.zeros_like(x)
        step[index] = 4.0
        high = objective((x + step).astype("float32"))
        low = objective((x - step).astype("float32"))
        np.testing.assert_allclose(gradient[index], (high - low) / 8, rtol=1e-3, atol=1e-3)


def test_granularities_share_alpha_as_named():
    shape = (5, 3, 4, 4, 6)
    values = {g: alphas(keras_rms.RandomMeanScaling(granularity=g, seed=0), shape) for g in
              ("batch", "sample", "channel")}  # fmt: skip
    count = {g: len(np.unique(np.round(v, 4))) for g, v in values.items()}
    assert count == {"batch": 1, "sample": 5, "channel": 30}
    per_sample = np.ptp(values["sample"], axis=(1, 2, 3, 4))
    assert per_sample.max() < 1e-5
    assert np.ptp(values["channel"], axis=(1, 2, 3)).max() < 1e-5


@pytest.mark.parametrize(
    ("distribution", "spread", "stddev"),
    [  # the six rows of the paper's Table 1 (b)
        ("normal", 0.3, 0.3),
        ("normal", 0.5, 0.5),
        ("normal", 0.7, 0.7),
        ("uniform", 0.5, 1 / 12**0.5),
        ("uniform", 1.0, 2 / 12**0.5),
        ("uniform", 1.5, 3 / 12**0.5),
    ],
)
def test_mean_and_variance_within_four_sigma(distribution, spread, stddev):
    n = 40_000
    layer = keras_rms.RandomMeanScaling(distribution=distribution, spread=spread, seed=11)
    alpha = alphas(layer, (n, 1, 1)).ravel().astype("float64")
    assert abs(alpha.mean() - 1) < 4 * stddev / n**0.5
    kurtosis = 3.0 if distribution == "normal" else 1.8
    assert abs(alpha.var() - stddev**2) < 4 * stddev**2 * ((kurtosis - 1) / n) ** 0.5
    if distribution == "uniform":
        assert 1 - spread - 1e-5 <= alpha.min() < alpha.max() <= 1 + spread + 1e-5


def test_alpha_is_independent_between_layers_steps_and_samples():
    n, steps = 500, 20
    draws = []
    for seed in range(3):
        layer = keras_rms.RandomMeanScaling(seed=seed)
        draws.append([alphas(layer, (n, 1, 1)).ravel() for _ in range(steps)])
    draws = np.asarray(draws, "float64") - 1
    bound = 4 / (n * steps) ** 0.5
    # Layers with neighbouring seeds, also one step apart: some generators shift there.
    assert abs(np.corrcoef(draws[0].ravel(), draws[1].ravel())[0, 1]) < bound
    assert abs(np.corrcoef(draws[0, 1:].ravel(), draws[1, :-1].ravel())[0, 1]) < bound
    assert abs(np.corrcoef(draws[1, 1:].ravel(), draws[1, :-1].ravel())[0, 1]) < bound
    assert abs(np.corrcoef(draws[1, :, 1:].ravel(), draws[1, :, :-1].ravel())[0, 1]) < bound


@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_a_seed_gives_the_same_run_twice(seed):
    x = position_coded(SHAPE).astype("float32")
    first, second = (keras_rms.RandomMeanScaling(seed=seed) for _ in range(2))
    for _ in range(3):
        np.testing.assert_array_equal(run(first, x), run(second, x))


def test_without_a_seed_runs_differ():
    x = position_coded(SHAPE).astype("float32")
    first, second = (run(keras_rms.RandomMeanScaling(), x) for _ in range(2))
    assert np.abs(first - second).max() > 1e-3


def test_nothing_is_done_at_inference_or_without_spread():
    x = position_coded(SHAPE).astype("float32")
    assert is_nothing_done(keras_rms.RandomMeanScaling(), x, training=False)
    assert is_nothing_done(keras_rms.RandomMeanScaling(spread=0), x, training=True)
    assert not is_nothing_done(keras_rms.RandomMeanScaling(), x, training=True)


@pytest.mark.parametrize("component", ["mean", "residual", "input"])
def test_inference_scales_by_the_expectation(component):
    x = position_coded(SHAPE)
    layer = keras_rms.RandomMeanScaling(mean=0.5, component=component, distribution="uniform")
    mean = smooth(x)
    expected = {"mean": x - 0.5 * mean, "residual": 0.5 * x + 0.5 * mean, "input": 0.5 * x}
    y = run(layer, x.astype("float32"), training=False)
    np.testing.assert_allclose(y, expected[component], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
@pytest.mark.parametrize("smoothing", ["mean", "gaussian"])
def test_precisions(policy, smoothing):
    if policy == "float64" and keras.backend.backend() == "jax":
        pytest.skip("JAX computes in float32 unless its own flag says otherwise.")
    x = position_coded(SHAPE)
    layer = keras_rms.RandomMeanScaling(smoothing=smoothing, dtype=policy, seed=5)
    alpha = drawn_alpha(layer, x).astype("float64")
    mean = smooth(x, 3, 0.4 if smoothing == "gaussian" else None)
    y = layer(x, training=True)
    expected_dtype = {"float64": "float64"}.get(policy, policy.removeprefix("mixed_"))
    assert keras.backend.standardize_dtype(y.dtype) == expected_dtype
    y = keras.ops.convert_to_numpy(keras.ops.cast(y, "float32"))
    tolerance = {"mixed_float16": 3e-3, "mixed_bfloat16": 2e-2, "float64": 1e-6}[policy]
    expected = x + (alpha - 1) * mean
    np.testing.assert_allclose(y, expected, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("smoothing", ["mean", "gaussian"])
def test_gradient_in_half_precision(policy, smoothing):
    x, upstream, direction = (position_coded(SHAPE, seed) for seed in range(3))
    layer = keras_rms.RandomMeanScaling(smoothing=smoothing, dtype=policy, seed=5)
    alpha = drawn_alpha(layer, x).astype("float64")
    function = lambda x: keras.ops.cast(layer(x, training=True), "float32")  # noqa: E731
    _, gradient = value_and_gradient(function, x.astype("float32"), upstream.astype("float32"))
    along = direction + (alpha - 1) * smooth(direction, 3, 0.4 if smoothing == "gaussian" else None)
    tolerance = {"mixed_float16": 1e-3, "mixed_bfloat16": 1e-2}[policy]
    scale = np.linalg.norm(upstream) * np.linalg.norm(along)
    assert abs(np.sum(gradient * direction) - np.sum(along * upstream)) < tolerance * scale


def test_nan_stays_in_its_sample():
    x = position_coded(SHAPE).astype("float32")
    clean = run(keras_rms.RandomMeanScaling(seed=0), x)
    x[1, 2, 3, 1, 0] = np.nan
    y = run(keras_rms.RandomMeanScaling(seed=0), x)
    assert np.isnan(y[1]).any()
    np.testing.assert_array_equal(y[[0, 2]], clean[[0, 2]])


@pytest.mark.parametrize("rank", [3, 4, 5])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_unknown_sizes_inside_a_trained_model(rank, data_format):
    space = (None,) * (rank - 2)
    last = data_format == "channels_last"
    inputs = keras.Input((*space, 2) if last else (2, *space))
    x = inputs
    for smoothing in ("mean", "gaussian"):
        options = {"smoothing": smoothing, "data_format": data_format, "seed": 0}
        x = keras_rms.RandomMeanScaling(**options)(x)
        assert tuple(x.shape) == tuple(inputs.shape)
    axes = tuple(range(1, rank - 1)) if last else tuple(range(2, rank))
    outputs = keras.layers.Dense(1)(keras.ops.mean(x, axis=axes))
    model = keras.Model(inputs, outputs)
    model.compile("sgd", "mse")
    for n, sizes in [(2, (3, 5, 4)), (3, (4, 3, 6))]:
        sizes = sizes[: rank - 2]
        data = position_coded((n, *sizes, 2) if last else (n, 2, *sizes)).astype("float32")
        model.train_on_batch(data, np.zeros((n, 1)))
        assert np.isfinite(model.predict(data, verbose=0)).all()


def test_numbers_of_numpy_are_numbers():
    layer = keras_rms.RandomMeanScaling(
        kernel_size=(np.int64(1), np.int32(3), 5),
        smoothing_stddev=np.float32(0.5),
        mean=np.float32(0.75),
        spread=np.float64(0.25),
        seed=np.int64(3),
    )
    config = json.loads(json.dumps(layer.get_config()))
    assert config["kernel_size"] == [1, 3, 5] and (config["mean"], config["seed"]) == (0.75, 3)
    assert twin(layer).get_config() == layer.get_config()


def small_network(rms):
    inputs = keras.Input((None, 6, 6, 2))
    x = keras.layers.Conv3D(4, 3, name="a")(inputs)
    if rms:
        x = keras_rms.RandomMeanScaling(seed=7, name="rms")(x)
    x = keras.layers.BatchNormalization(name="b")(x)
    x = keras.layers.GlobalAveragePooling3D()(x)
    model = keras.Model(inputs, keras.layers.Dense(3, name="c")(x))
    model.compile("sgd", "mse")
    return model


def steps_of(model, count):
    x, y = position_coded((4, 4, 6, 6, 2)).astype("float32"), np.ones((4, 3))
    losses = []
    for _ in range(count):
        model.reset_metrics()  # Before Keras 3.13 the loss is the mean since the last reset.
        losses.append(float(model.train_on_batch(x, y)))
    return losses


def test_a_saved_network_resumes_its_noise(tmp_path):
    model = small_network(rms=True)
    begun = steps_of(model, 2)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    uninterrupted = steps_of(model, 2)
    assert len({*begun, *uninterrupted}) == 4
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(steps_of(loaded, 2), uninterrupted, rtol=1e-5)
    filled = small_network(rms=True)
    filled.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_allclose(steps_of(filled, 2), uninterrupted, rtol=1e-5)


def test_weights_move_between_a_network_and_its_twin_without_rms(tmp_path):
    path = str(tmp_path / "model.weights.h5")
    x = position_coded((2, 4, 6, 6, 2)).astype("float32")
    with_rms, without = small_network(rms=True), small_network(rms=False)
    for source, target in [(with_rms, without), (without, small_network(rms=True))]:
        steps_of(source, 1)
        source.save_weights(path)
        target.load_weights(path)
        np.testing.assert_array_equal(target.predict(x, verbose=0), source.predict(x, verbose=0))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kernel_size", 2),
        ("kernel_size", (3, 3, 4)),
        ("kernel_size", "3"),
        ("smoothing", "median"),
        ("smoothing_stddev", 0),
        ("smoothing_stddev", "wide"),
        ("distribution", "gaussian"),
        ("mean", float("nan")),
        ("mean", None),
        ("spread", -0.1),
        ("spread", float("inf")),
        ("component", "x"),
        ("granularity", "clip"),
        ("border", "reflect"),
        ("data_format", "NHWC"),
        ("seed", -1),
        ("seed", 1.5),
        ("seed", True),
    ],
)
def test_bad_arguments(name, value):
    check_refused(keras_rms.RandomMeanScaling, name, **{name: value})


def test_bad_inputs():
    with pytest.raises(ValueError, match="ndim"):
        keras_rms.RandomMeanScaling()(np.zeros((2, 3), "float32"))
    with pytest.raises(ValueError, match=r"`kernel_size`.*Received: kernel_size=\(3, 3\)"):
        keras_rms.RandomMeanScaling(kernel_size=(3, 3))(np.zeros((1, 2, 2, 2, 1), "float32"))
    with pytest.raises(ValueError, match=r"`inputs`.*Received: dtype='int32'"):
        keras_rms.RandomMeanScaling()(np.zeros((1, 2, 1), "int32"))
