"""Depthwise 3D convolution in CSN-50's four stages: forward and backward, three ways in turns.

    ours    keras_rms.models.DepthwiseConv3D, in the formulation that it chooses
    groups  keras.layers.Conv3D(groups=channels)
    torch   torch.nn.functional.conv3d(groups=channels) under autograd, where PyTorch is installed

The backend is that of KERAS_BACKEND: TensorFlow is measured in graph mode and under XLA, JAX under
XLA, PyTorch as it is. The gradients are those of the input and the kernel. Each row first checks
that the ways compute the same.
"""

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from absl import flags

from benchmarks import common
from keras_rms.models import DepthwiseConv3D
from pipelines.system import command_help

command_help.section("What to measure")
_MODES = flags.DEFINE_multi_enum(
    "mode", None, ["graph", "xla"], "Measure this mode of TensorFlow. By default both."
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 2, "Measure steps of this many clips.", 1)
_SHRINK = flags.DEFINE_integer(
    "shrink",
    1,
    "Divide height, width and channels of every stage by this factor, for a quick look.",
    1,
)
_SECONDS = flags.DEFINE_float(
    "seconds",
    3.0,
    "Spend this many seconds on one way in one row, and at least two repetitions.",
)

# What enters the depthwise convolutions at 32x224x224, and their strides: in each stage but the
# first, the first block's halves time and space.
STAGES = {
    "res2": ((32, 56, 56, 64), 1),
    "res3, first": ((32, 56, 56, 128), 2),
    "res3": ((16, 28, 28, 128), 1),
    "res4, first": ((16, 28, 28, 256), 2),
    "res4": ((8, 14, 14, 256), 1),
    "res5, first": ((8, 14, 14, 512), 2),
    "res5": ((4, 7, 7, 512), 1),
}
WAYS = ("ours", "groups", "torch")
KERNEL_SIZE = 3
TOLERANCE = 1e-4

Way = Callable[[], Any]


def run(json_path: str | None) -> None:
    title = (
        f"Depthwise 3x3x3 convolution in CSN-50, forward + backward, batch {_BATCH_SIZE.value}, "
        f"float32, {keras.backend.backend()} (milliseconds)"
    )
    common.report(title, _rows(), json_path)


def _rows() -> Iterator[dict[str, Any]]:
    for mode in _modes():
        for place, (shape, stride) in STAGES.items():
            time, *others = shape
            shape = (_BATCH_SIZE.value, time, *(-(-size // _SHRINK.value) for size in others))
            yield _row(mode, place, shape, stride)


def _modes() -> list[str]:
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return _MODES.value or ["graph", "xla"]
    return ["xla"] if backend == "jax" else ["eager"]


def _row(mode: str, place: str, shape: tuple, stride: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    layer = DepthwiseConv3D(KERNEL_SIZE, stride)
    layer.build(shape)
    x, upstream, kernel = (
        rng.normal(size=size).astype("float32")
        for size in (shape, layer.compute_output_shape(shape), layer.kernel.shape)
    )
    layer.kernel.assign(kernel)
    ways = {
        "ours": _in_keras(layer, layer, x, upstream, mode),
        "groups": _in_keras(*_grouped(kernel, stride), x, upstream, mode),
    }
    if importlib.util.find_spec("torch") is not None:
        ways["torch"] = _in_torch(kernel, x, upstream, stride)
    _check_agreement(place, ways)
    times = common.summarize(common.interleave(ways, 30, 1, _SECONDS.value), floor="ours")
    return {
        "mode": mode,
        "stage": place,
        "input": "x".join(map(str, shape)),
        "stride": stride,
        **{name: times[name]["median_ms"] if name in times else None for name in WAYS},
        "groups / ours": times["groups"]["ratio"],
        "torch / ours": times["torch"]["ratio"] if "torch" in times else None,
    }


def _check_agreement(place: str, ways: dict[str, Way]) -> None:
    """The result and both gradients of every way, against those of the first."""
    results = {
        name: [keras.ops.convert_to_numpy(part) for part in way()] for name, way in ways.items()
    }
    expected = results["ours"]
    for name, received in results.items():
        for a, b in zip(expected, received):
            # Said so that a NaN does not agree with anything.
            if a.shape != b.shape or not np.abs(a - b).max() <= TOLERANCE * np.abs(a).max():
                raise ValueError(f"In {place}, {name} computes something else than ours.")


def _grouped(kernel: np.ndarray, stride: int) -> tuple[keras.layers.Layer, Callable]:
    """The layer that has the kernel, and the function with PyTorch's padding."""
    channels = kernel.shape[-1]
    padding = "same" if stride == 1 else "valid"
    layer = keras.layers.Conv3D(
        channels, KERNEL_SIZE, stride, padding, groups=channels, use_bias=False
    )
    layer.build((None, None, None, None, channels))
    layer.set_weights([kernel])
    if stride == 1:
        return layer, layer
    margin = KERNEL_SIZE // 2
    pad = [(0, 0), *[(margin, margin)] * 3, (0, 0)]
    return layer, lambda x: layer(keras.ops.pad(x, pad))


def _in_keras(
    layer: keras.layers.Layer, function: Callable, x: Any, upstream: Any, mode: str
) -> Way:
    backend = keras.backend.backend()
    if backend == "torch":
        return _with_autograd(function, layer.kernel.value, x, upstream)
    if backend == "jax":
        return _with_jax(layer, function, x, upstream)
    import tensorflow as tf

    x, upstream = tf.constant(x), tf.constant(upstream)

    @tf.function(jit_compile=mode == "xla", autograph=False)
    def step(x: Any, upstream: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
        return y, *tape.gradient(y, [x, layer.kernel.value], upstream)

    return lambda: step(x, upstream)


def _with_jax(layer: keras.layers.Layer, function: Callable, x: Any, upstream: Any) -> Way:
    import jax

    def of_kernel(x: Any, kernel: Any) -> Any:
        with keras.StatelessScope([(layer.kernel, kernel)]):
            return function(x)

    @jax.jit
    def step(x: Any, kernel: Any, upstream: Any) -> Any:
        y, gradient = jax.vjp(of_kernel, x, kernel)
        return y, *gradient(upstream)

    x, kernel, upstream = map(jax.numpy.asarray, (x, layer.kernel.value, upstream))
    return lambda: jax.block_until_ready(step(x, kernel, upstream))


def _in_torch(kernel: np.ndarray, x: np.ndarray, upstream: np.ndarray, stride: int) -> Way:
    """PyTorch's own way, channels first as its networks are."""
    import torch

    kernel = torch.from_numpy(np.ascontiguousarray(np.transpose(kernel, (4, 3, 0, 1, 2))))
    first = [np.ascontiguousarray(np.moveaxis(value, -1, 1)) for value in (x, upstream)]

    def function(x: Any) -> Any:
        return torch.nn.functional.conv3d(
            x, kernel, stride=stride, padding=KERNEL_SIZE // 2, groups=len(kernel)
        )

    step = _with_autograd(function, kernel.requires_grad_(), *first)

    def in_keras_layout() -> Any:
        y, of_x, of_kernel = step()
        # Views, which cost nothing.
        return y.movedim(1, -1), of_x.movedim(1, -1), of_kernel.permute(2, 3, 4, 1, 0)

    return in_keras_layout


def _with_autograd(function: Callable, kernel: Any, x: Any, upstream: Any) -> Way:
    import torch

    x, upstream = torch.from_numpy(x), torch.from_numpy(upstream)

    def step() -> Any:
        watched = x.detach().requires_grad_()
        y = function(watched)
        return y.detach(), *torch.autograd.grad(y, [watched, kernel], upstream)

    return step
