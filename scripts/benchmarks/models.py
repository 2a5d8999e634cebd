"""The networks by name: parameters, multiply-accumulates, shapes and measured speed.

Counts are those of the builder's own input and, for networks of 224x224, of 256x256 as well. Speed
is measured on noise of the size that the flags state: the forward pass of inference, and a whole
training step (forward, backward, plain SGD) with RMS. The filters of RMS take turns, and with
--peer=pytorchvideo that package's network on the same clips does as well. The backend is that of
KERAS_BACKEND. Counting alone takes seconds. Each network's row is printed when it is measured.
"""

import functools
import sys
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from absl import flags

import keras_rms.models
from benchmarks import common, peers
from keras_rms.models.blocks import rms_positions
from keras_rms.models.macs import multiply_accumulates
from pipelines.system import command_help

command_help.section("What to measure")
_NETWORKS = flags.DEFINE_list(
    "networks", keras_rms.models.list(), "Count and measure these networks."
)
_MEASURE = flags.DEFINE_bool("measure", True, "Measure the speed too, besides counting.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 1, "Measure steps of this many clips.", 1)
_CROP_SIZE = flags.DEFINE_integer(
    "crop_size",
    112,
    "Measure clips of this height and width, in pixels, but no more than the network's usual ones.",
    1,
)
_NUM_FRAMES = flags.DEFINE_integer(
    "num_frames",
    None,
    "Measure clips of this many frames, but no more than the network's usual ones, which are the "
    "default.",
    1,
)
_PEER = flags.DEFINE_enum(
    "peer", None, ["pytorchvideo"], "Measure the networks of this package in PyTorch beside."
)
_RMS = flags.DEFINE_multi_enum(
    "rms",
    ["mean"],
    ["none", "mean", "gaussian"],
    "Measure networks with RMS by this filter. Given several times, each is trained in turns.",
)
_POSITION = flags.DEFINE_multi_enum(
    "rms_position",
    ["default"],
    rms_positions(3),
    "Put RMS at this place in a block. Given several times, each is trained in turns.",
)
_DTYPE = flags.DEFINE_enum(
    "dtype", "float32", ["float32", "mixed_bfloat16"], "Compute the networks in this precision."
)
_SECONDS = flags.DEFINE_float(
    "seconds",
    4.0,
    "Spend this many seconds on one network and pass, and at least two repetitions.",
)
_PROCESSOR_TIME = flags.DEFINE_bool(
    "processor_time",
    False,
    "Count the seconds of processor time, on a CPU that does other work as well. Allow one core "
    "(taskset), since threads that wait for others count too.",
)


@flags.validator("networks", f"must be among {','.join(keras_rms.models.list())}")
def _are_known(names: list[str]) -> bool:
    return bool(names) and set(names) <= set(keras_rms.models.list())


def run(json_path: str | None) -> None:
    if _PEER.value:
        peers.check_installed()
        peers.check_known(_NETWORKS.value)
    title = "The networks"
    if _MEASURE.value:
        size = _CROP_SIZE.value
        frames = f"{_NUM_FRAMES.value} frames of " if _NUM_FRAMES.value else ""
        title += (
            f"; speed at batch {_BATCH_SIZE.value}, at most {frames}{size}x{size}, "
            f"rms={','.join(_variants())}, {_DTYPE.value}, {keras.backend.backend()}"
            f"{', by processor time' if _PROCESSOR_TIME.value else ''}"
        )
        keras.config.set_dtype_policy(_DTYPE.value)
    # One at a time: a benchmark that is stopped has printed the networks before.
    common.report(title, map(_row, _NETWORKS.value), json_path)
    memory = common.peak_memory() if _MEASURE.value else None
    if memory is not None:
        print(f"Highest use of the accelerator's memory: {memory:.1f} GiB")


def _row(name: str) -> dict[str, Any]:
    return _counts(name) | (_speed(name) if _MEASURE.value else {})


def _counts(name: str) -> dict[str, Any]:
    with common.without_values():
        shape = _usual_shape(name)
        network = _with_open_sizes(name, shape, rms="none")
        at_256 = None
        if shape[-2] == 224:
            at_256 = _giga(multiply_accumulates(network, (*shape[:-3], 256, 256, 3)))
        trainable = sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)
        return {
            "network": name,
            "input": "x".join(map(str, shape)),
            "trainable parameters": f"{trainable:,}",
            "count_params()": f"{network.count_params():,}",
            "GMACs": _giga(multiply_accumulates(network, shape)),
            "GMACs at 256": at_256,
            "output": "x".join(map(str, network.output_shape[1:])),
        }


def _usual_shape(name: str) -> tuple:
    # Narrow, since only the shape is asked for.
    return keras_rms.models.build(name, width=8).input_shape[1:]


def _giga(number: int) -> str:
    return f"{number / 1e9:.2f}"


def _with_open_sizes(name: str, shape: tuple, **rms: str) -> keras.Model:
    """The network as training builds it: its crops may have any size."""
    return keras_rms.models.build(name, **rms, input_shape=(*shape[:-3], None, None, 3))


def _variants() -> dict[str, dict[str, str]]:
    """The kinds of RMS that are measured: title -> arguments of the builder."""
    variants = {}
    for rms in _RMS.value:
        for position in _POSITION.value:
            title = rms if _POSITION.value == ["default"] or rms == "none" else f"{rms} {position}"
            variants[title] = {"rms": rms, "rms_position": position}
    return variants


def _speed(name: str) -> dict[str, float | None]:
    """Clips a second of a network, and of its training by each kind of RMS, and of the peer."""
    clips, labels = _data(name)
    forward: dict[str, Callable[[], Any]] = {}
    training: dict[str, Callable[[], Any]] = {}
    for title, arguments in _variants().items():
        print(f"Compiling {name}, rms={title}", file=sys.stderr, flush=True)
        network = _with_open_sizes(name, clips.shape[1:], **arguments)
        # Inference is the same with RMS and without.
        forward["ours"], training[title] = _ways(network, clips, labels)
    if _PEER.value:
        trained = sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)
        forward["peer"], training["peer"] = peers.ways(name, clips, labels, trained)
    forward_speeds, training_speeds = (_clips_per_second(ways) for ways in (forward, training))
    row: dict[str, float | None] = {"forward clips/s": forward_speeds["ours"]}
    for rms in _variants():
        title = "training clips/s" + (f", {rms}" if len(_variants()) > 1 else "")
        row[title] = training_speeds[rms]
    return row | (_beside_peer(forward_speeds, training_speeds) if _PEER.value else {})


def _beside_peer(forward: dict, training: dict) -> dict[str, float | None]:
    """The peer's speeds, and ours as multiples of them."""
    row = {
        f"{_PEER.value} forward": forward["peer"],
        f"{_PEER.value} training": training["peer"],
        "forward ratio": forward["ours"] / forward["peer"],
    }
    for rms in _variants():
        row[f"training ratio, {rms}"] = training[rms] / training["peer"]
    return row


def _clips_per_second(ways: dict[str, Callable[[], Any]]) -> dict[str, float]:
    # The first call compiles.
    clock = time.process_time if _PROCESSOR_TIME.value else time.perf_counter
    times = common.summarize(common.interleave(ways, 30, 1, _SECONDS.value, clock))
    return {key: 1e3 * _BATCH_SIZE.value / row["median_ms"] for key, row in times.items()}


def _data(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Noise as clips, and labels."""
    shape = _usual_shape(name)
    sizes = [min(_CROP_SIZE.value, size) for size in shape[-3:-1]]
    frames = [min(_NUM_FRAMES.value or size, size) for size in shape[:-3]]
    rng = np.random.default_rng(0)
    clips = rng.normal(size=(_BATCH_SIZE.value, *frames, *sizes, 3)).astype("float32")
    # All networks have as many classes at least.
    return clips, rng.integers(0, 100, size=_BATCH_SIZE.value)


def _ways(
    network: keras.Model, clips: Any, labels: Any
) -> tuple[functools.partial, functools.partial]:
    """The forward pass and the training step of a network, as functions without arguments."""
    # On the device beforehand: what is measured is the network, not the way there.
    clips, labels = (keras.ops.convert_to_tensor(value) for value in (clips, labels))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # A step so small that noise for input and labels cannot drive the weights to infinity.
    optimizer = keras.optimizers.SGD(1e-6)
    network.compile(optimizer, loss, jit_compile=keras.backend.backend() == "jax")
    return (
        functools.partial(network.predict_on_batch, clips),
        functools.partial(common.trained_on, network, clips, labels),
    )
