"""Interleaved timing, the table and the line that names the machine and the versions."""

import contextlib
import importlib.metadata
import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pipelines.system import onednn, whole_files

_PACKAGES = ("keras", "tensorflow", "jax", "torch", "numpy", "av")
# What decides the speed of convolutions and matrix products.
_INSTRUCTION_SETS = (
    *("avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni"),
    *("amx_tile", "amx_int8", "amx_bf16", "asimd", "asimddp", "sve", "sve2", "i8mm", "bf16"),
)


@contextlib.contextmanager
def without_values() -> Iterator[None]:
    """While active, weights of new networks have shapes only: to draw them takes most of the time.

    Afterwards such a network has no use.
    """
    import keras  # not all benchmarks need it

    with keras.StatelessScope(initialize_variables=False):
        yield
    keras.utils.clear_session()  # it would draw them at the next opportunity


def interleave(
    ways: dict[str, Callable[[], Any]],
    repetitions: int = 10,
    warm_up: int = 2,
    seconds_per_way: float = math.inf,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """The seconds of each repetition of each way, measured in turns.

    A way is a function without arguments that returns when its result is there. The order turns
    round at every other repetition, so that no way always follows the same one. A way that has
    used up its `seconds_per_way` sits out the rest, but not before its second repetition. The
    `clock` counts seconds.
    """
    for way in ways.values():
        for _ in range(warm_up):
            way()
    seconds = {name: [] for name in ways}
    for repetition in range(repetitions):
        names = list(ways) if repetition % 2 == 0 else list(reversed(ways))
        for name in names:
            if len(seconds[name]) >= 2 and sum(seconds[name]) > seconds_per_way:
                continue
            start = clock()
            ways[name]()
            seconds[name].append(clock() - start)
    return seconds


def trained_on(network: Any, clips: Any, labels: Any) -> float:
    """The loss of one training step, when it is there.

    Raises:
        Exception: What the backend raises if the step failed, as of too little memory.
    """
    # JAX says that a step failed when its results are read. Keras hides that, and hands over the
    # loss unread: such a step would count as a fast one.
    return float(network.train_on_batch(clips, labels))


def summarize(seconds: dict[str, list[float]], floor: str | None = None) -> dict[str, dict]:
    """Median and minimum milliseconds of each way and, given a `floor`, the ratio to its median."""
    summary = {
        name: {"median_ms": 1e3 * statistics.median(times), "min_ms": 1e3 * min(times)}
        for name, times in seconds.items()
    }
    if floor is not None:
        for row in summary.values():
            row["ratio"] = row["median_ms"] / summary[floor]["median_ms"]
    return summary


def markdown_table(rows: Sequence[dict[str, Any]]) -> str:
    """A Markdown table of rows that share their keys; numbers get three significant digits."""
    header = list(rows[0])
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(_cell(row[key]) for key in header) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        # The # keeps zeros that are digits, as in 0.50.
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")
    return "" if value is None else str(value)


def machine_line() -> str:
    """The processor and its cores, oneDNN, the system, and the versions of what is installed."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = [f"Python {platform.python_version()}"]
    for package in _PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    device = _device()
    return f"{_processor()}, {cores} cores, {platform.system()}; {device}; {', '.join(versions)}"


def _backend() -> str:
    """Keras's; without Keras, which not all benchmarks need, TensorFlow."""
    keras = sys.modules.get("keras")
    return keras.backend.backend() if keras else "tensorflow"


def _device() -> str:
    """What the backend computes on; of TensorFlow on a CPU whether oneDNN is on."""
    backend = _backend()
    if backend == "jax":
        import jax

        return f"JAX on {jax.devices()[0].device_kind}"
    if backend == "torch":
        import torch

        on_gpu = torch.cuda.is_available()
        return f"PyTorch on {torch.cuda.get_device_name() if on_gpu else 'cpu'}"
    return f"TensorFlow's oneDNN {_onednn()}"


def peak_memory() -> float | None:
    """GiB of the accelerator's memory in use at the highest, since the process began."""
    backend = _backend()
    if backend == "jax":
        import jax

        used = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    elif backend == "torch":
        import torch

        used = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    else:
        import tensorflow as tf

        gpus = tf.config.list_logical_devices("GPU")
        used = tf.config.experimental.get_memory_info("GPU:0")["peak"] if gpus else None
    return None if used is None else used / 2**30


def _processor() -> str:
    """Its name, as lscpu has it, and those of its instruction sets that matter here."""
    try:
        with open("/proc/cpuinfo") as file:
            return describe_processor(file.read())
    except OSError:
        return platform.processor() or platform.machine()


def describe_processor(cpuinfo: str) -> str:
    """From the content of /proc/cpuinfo."""
    facts = {}
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        # The file has a part for each processor: the first one speaks for all.
        facts.setdefault(name.strip().lower(), value.strip())
    name = facts.get("model name") or platform.processor() or platform.machine()
    # ARM calls them features.
    present = set(facts.get("flags", facts.get("features", "")).split())
    found = [each for each in _INSTRUCTION_SETS if each in present]
    return f"{name} ({' '.join(found)})" if found else name


def _onednn() -> str:
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA")
    return ("on" if onednn.is_on() else "off") + (f", limited to {limit}" if limit else "")


def report(
    title: str,
    rows: Iterable[dict[str, Any]],
    json_path: str | None,
    before: Sequence[tuple[str, Sequence[dict]]] = (),
) -> list[tuple[str, Sequence[dict]]]:
    """Prints a table under its title, each row when it is there, and the machine's line.

    So does it write them as JSON, if there is a path: what is stopped leaves what it has measured.
    The file has the tables from `before` too; returns these with the new one.
    """
    print(f"\n### {title}\n", flush=True)
    measured: list[dict[str, Any]] = []
    tables = [*before, (title, measured)]
    for row in rows:
        measured.append(row)
        lines = markdown_table(measured).splitlines()
        print("\n".join(lines if len(measured) == 1 else lines[-1:]), flush=True)
        write_json(tables, json_path)
    print(f"\n{machine_line()}\n", flush=True)
    return tables


def write_json(tables: Sequence[tuple[str, Sequence[dict]]], json_path: str | None) -> None:
    """Writes titled tables with the machine's line, if there is a path."""
    if json_path is None:
        return
    content = {
        "machine": machine_line(),
        "tables": [{"title": title, "rows": list(rows)} for title, rows in tables],
    }
    Path(json_path).absolute().parent.mkdir(parents=True, exist_ok=True)
    whole_files.write(json_path, json.dumps(content, indent=2).encode())
