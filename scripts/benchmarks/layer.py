"""Random Mean Scaling beside the plain way of writing it and beside scaling alone.

Every table's rows compare, in one run and in turns:
    floor   x * alpha: the memory traffic that nobody can avoid
    RMS     keras_rms.RandomMeanScaling
    plain   keras.layers.AveragePooling3D, or a depthwise Conv3D with Gaussian weights
    torch   torch.nn.functional.avg_pool3d under autograd, where PyTorch is installed

The backend is that of KERAS_BACKEND: TensorFlow is measured in graph mode and under XLA, JAX under
XLA, PyTorch as it is.
"""

import functools
import importlib.util
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from absl import flags

import keras_rms
from benchmarks import common
from pipelines.system import command_help, progress

command_help.section("What to measure")
_TABLES = flags.DEFINE_multi_enum(
    "table", ["layer", "network"], ["layer", "network"], "Measure one layer, or a whole network."
)
_MODES = flags.DEFINE_multi_enum(
    "mode", None, ["graph", "xla"], "Measure this mode of TensorFlow. By default both."
)
_FILTERS = flags.DEFINE_multi_enum(
    "filter",
    ["mean", "gaussian"],
    ["mean", "gaussian"],
    "Measure RMS with this filter.",
)
_WAYS = flags.DEFINE_multi_enum(
    "way",
    ["plain", "torch"],
    ["plain", "torch", "none"],
    "Measure this way beside the floor and RMS. For plain, XLA compiles minutes a row on a CPU.",
)
_SECONDS = flags.DEFINE_float(
    "seconds",
    6.0,
    "Spend this many seconds on one way in one row, and at least two repetitions.",
)

_DTYPE = flags.DEFINE_enum(
    "dtype",
    "float32",
    ["float32", "mixed_bfloat16"],
    "Compute the layer and the network in this precision.",
)

_CLIPS = flags.DEFINE_integer(
    "clips", 8, "Measure the layer on this many clips; fewer are for a slow device.", lower_bound=1
)

command_help.section("The network's table")
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 4, "Train the network on this many clips a step.", lower_bound=1
)
_CROP_SIZE = flags.DEFINE_integer(
    "crop_size",
    112,
    "Train the network on clips of this height and width, in pixels.",
    lower_bound=1,
)
SHAPES = {  # of a clip: what enters the RMS layers of res4 and res5
    "SlowOnly-50 res4": (8, 14, 14, 1024),
    "SlowOnly-50 res5": (8, 7, 7, 2048),
    "SlowOnly-34 res4": (8, 14, 14, 256),
    "SlowOnly-34 res5": (8, 7, 7, 512),
}
STDDEV = 0.4


def run(json_path: str | None) -> None:
    if _MODES.value and keras.backend.backend() != "tensorflow":
        raise ValueError(f"--mode is TensorFlow's: leave it out on {keras.backend.backend()}.")
    tables: list = []
    if "layer" in _TABLES.value:
        title = (
            f"Random Mean Scaling, one layer, batch {_CLIPS.value}, {_DTYPE.value} (milliseconds)"
        )
        tables = common.report(title, _layer_rows(), json_path, tables)
    if "network" in _TABLES.value:
        common.report(_network_title(), _network_rows(), json_path, tables)


def _layer_rows() -> Iterator[dict]:
    cases = itertools.product(_modes(), SHAPES.items(), _FILTERS.value, (False, True))
    for mode, (place, shape), smoothing, backward in progress.over(list(cases), "row"):
        yield _layer_row(mode, place, (_CLIPS.value, *shape), smoothing, backward)


def _modes() -> list[str]:
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return _MODES.value or ["graph", "xla"]
    return ["xla"] if backend == "jax" else ["eager"]


def _layer_row(mode: str, place: str, shape: tuple, smoothing: str, backward: bool) -> dict:
    keras.config.set_dtype_policy(_DTYPE.value)
    rng = np.random.default_rng(0)
    x, upstream = (rng.normal(size=shape).astype("float32") for _ in range(2))
    alpha = rng.normal(1, 0.5, size=(shape[0], 1, 1, 1, 1)).astype("float32")
    rms = keras_rms.RandomMeanScaling(smoothing=smoothing, smoothing_stddev=STDDEV, seed=0)
    rms.build(shape)
    functions = {
        "floor": lambda x, alpha: x * alpha,
        "RMS": lambda x, alpha: _in_training(rms, x),
    }
    if "plain" in _WAYS.value:
        low_pass = _plain_filter(smoothing, shape[-1])
        functions["plain"] = lambda x, alpha: x + (alpha - 1) * low_pass(x)
    compiled = functools.partial(_compiled, mode=mode, backward=backward)
    ways = {name: compiled(f, x=x, alpha=alpha, upstream=upstream) for name, f in functions.items()}
    # PyTorch has an average pool, and nothing of the kind for a Gaussian.
    if "torch" in _WAYS.value and smoothing == "mean" and importlib.util.find_spec("torch"):
        ways["torch"] = _with_torch(x, alpha, upstream, backward)
    ways = {name: way for name, way in ways.items() if _is_possible(way)}
    times = common.summarize(common.interleave(ways, 30, 0, _SECONDS.value), floor="floor")
    row = {"mode": mode, "place": place, "filter": smoothing}
    row["pass"] = "forward + backward" if backward else "forward"
    for name in ("floor", "RMS", "plain", "torch"):
        row[name] = times[name]["median_ms"] if name in times else None
    row["RMS / floor"] = times["RMS"]["ratio"]
    row["plain / floor"] = times["plain"]["ratio"] if "plain" in times else None
    return row


def _is_possible(way: Callable[[], Any]) -> bool:
    """Runs it once; PyTorch pools no bfloat16 on CPUs."""
    try:
        way()
    except NotImplementedError:
        return False
    return True


def _in_training(rms: keras_rms.RandomMeanScaling, x: Any) -> Any:
    if keras.backend.backend() != "jax":
        return rms(x, training=True)
    # Under jax.jit a random layer takes its state from outside: here the same one in every step.
    state = [variable.value for variable in rms.non_trainable_variables]
    outputs, _ = rms.stateless_call([], state, x, training=True)
    return outputs


def _plain_filter(smoothing: str, channels: int) -> keras.layers.Layer:
    """The local mean or the Gaussian, as one writes it with Keras's own layers."""
    if smoothing == "mean":
        return keras.layers.AveragePooling3D(3, strides=1, padding="same")
    # Unlike ours it counts zeros beyond the border, as a convolution does.
    squares = np.sum((np.indices((3, 3, 3)) - 1.0) ** 2, axis=0)
    kernel = np.exp(-squares / (2 * STDDEV**2))
    kernel = np.repeat((kernel / kernel.sum())[..., None, None], channels, axis=-1)
    layer = keras.layers.Conv3D(channels, 3, padding="same", groups=channels, use_bias=False)
    layer.build((None, None, None, None, channels))
    layer.set_weights([kernel])
    layer.trainable = False
    return layer


def _compiled(
    function: Callable, *, x: Any, alpha: Any, upstream: Any, mode: str, backward: bool
) -> Callable[[], Any]:
    """A way to measure: the function of x and alpha and, if wanted, its gradient in x."""
    if mode == "eager":
        return _with_autograd(function, x, alpha, upstream, backward)
    if keras.backend.backend() == "jax":
        return _with_jax(function, x, alpha, upstream, backward)
    import tensorflow as tf

    x, alpha, upstream = (tf.cast(value, _compute_dtype()) for value in (x, alpha, upstream))

    @tf.function(jit_compile=mode == "xla", autograph=False)
    def step(x: Any, alpha: Any, upstream: Any) -> Any:
        if not backward:
            return function(x, alpha)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x, alpha)
        return y, tape.gradient(y, x, upstream)

    def finished() -> Any:
        result = step(x, alpha, upstream)
        tf.test.experimental.sync_devices()  # on a GPU the step has only been asked for
        return result

    return finished


def _with_jax(function: Callable, x: Any, alpha: Any, upstream: Any, backward: bool) -> Callable:
    import jax

    def step(x: Any, alpha: Any, upstream: Any) -> Any:
        if not backward:
            return function(x, alpha)
        y, gradient = jax.vjp(lambda x: function(x, alpha), x)
        return y, gradient(upstream)

    step = jax.jit(step)
    x, alpha, upstream = (jax.numpy.asarray(v, _compute_dtype()) for v in (x, alpha, upstream))
    return lambda: jax.block_until_ready(step(x, alpha, upstream))


def _with_autograd(
    function: Callable, x: Any, alpha: Any, upstream: Any, backward: bool
) -> Callable[[], Any]:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = getattr(torch, _compute_dtype())
    x, alpha, upstream = (
        torch.from_numpy(value).to(device, dtype) for value in (x, alpha, upstream)
    )

    def computed() -> Any:
        if not backward:
            with torch.no_grad():
                return function(x, alpha)
        watched = x.detach().requires_grad_()
        return torch.autograd.grad(function(watched, alpha), watched, upstream)

    def step() -> Any:
        result = computed()
        if device == "cuda":
            torch.cuda.synchronize()
        return result

    return step


def _compute_dtype() -> str:
    return keras.config.dtype_policy().compute_dtype


def _with_torch(x: Any, alpha: Any, upstream: Any, backward: bool) -> Callable[[], Any]:
    """PyTorch's own way, channels first as its networks are."""
    import torch

    def scaled(x: Any, alpha: Any) -> Any:
        pooled = torch.nn.functional.avg_pool3d(x, 3, 1, 1, count_include_pad=False)
        return x + (alpha - 1) * pooled

    first = [np.ascontiguousarray(np.moveaxis(value, -1, 1)) for value in (x, alpha, upstream)]
    return _with_autograd(scaled, *first, backward)


class _PlainScaling(keras.layers.Layer):
    """RMS as one writes it with Keras's own layers."""

    def __init__(self, smoothing: str = "mean", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.smoothing = smoothing
        self.seed_generator = keras.random.SeedGenerator(0)

    def build(self, input_shape: tuple) -> None:
        self.low_pass = _plain_filter(self.smoothing, input_shape[-1])
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training:
            return inputs
        shape = (keras.ops.shape(inputs)[0], 1, 1, 1, 1)
        alpha = keras.random.normal(shape, 1, 0.5, inputs.dtype, self.seed_generator)
        return inputs + (alpha - 1) * self.low_pass(inputs)

    def get_config(self) -> dict:
        return {**super().get_config(), "smoothing": self.smoothing}


def _network_title() -> str:
    size = _CROP_SIZE.value
    return f"SlowOnly-50, batch {_BATCH_SIZE.value}, 8x{size}x{size}, {_DTYPE.value} (milliseconds)"


def _network_rows() -> list[dict]:
    keras.config.set_dtype_policy(_DTYPE.value)
    rng = np.random.default_rng(0)
    shape = (8, _CROP_SIZE.value, _CROP_SIZE.value, 3)
    clips = rng.normal(size=(_BATCH_SIZE.value, *shape)).astype("float32")
    labels = rng.integers(0, 400, size=_BATCH_SIZE.value)
    networks = {
        name: keras_rms.models.SlowOnly(50, input_shape=shape, rms=rms, seed=0)
        for name, rms in {"without": None, "RMS": "mean", "RMS-GF": "gaussian"}.items()
    }
    is_last_bn = lambda x: x.name.startswith(("res4", "res5")) and x.name.endswith("bn3")  # noqa: E731
    networks["plain mean"] = keras_rms.insert_before(
        networks["without"], is_last_bn, _PlainScaling(name="plain")
    )
    for network in networks.values():
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        jit_compile = keras.backend.backend() == "jax"
        network.compile(keras.optimizers.SGD(1e-3), loss, jit_compile=jit_compile)
    # A step of the network takes far longer than one of a layer.
    budget = 10 * _SECONDS.value
    training = common.interleave(
        {
            name: functools.partial(common.trained_on, network, clips, labels)
            for name, network in networks.items()
        },
        30,
        2,
        budget,
    )
    inference = common.interleave(
        {
            name: functools.partial(network.predict_on_batch, clips)
            for name, network in networks.items()
        },
        30,
        2,
        budget / 3,
    )
    training, inference = (common.summarize(t, "without") for t in (training, inference))
    return [
        {
            "network": name,
            "training step": training[name]["median_ms"],
            "to without": training[name]["ratio"],
            "inference": inference[name]["median_ms"],
            "to without ": inference[name]["ratio"],
        }
        for name in networks
    ]
