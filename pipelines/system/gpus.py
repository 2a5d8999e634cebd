"""An NVIDIA GPU that TensorFlow does not see, which otherwise shows in nothing but the speed."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from pipelines.system.command_line import paragraph

# The commands hide what TensorFlow prints at its start, so that a process of its own is asked.
_ASK = """
import tensorflow as tf
tf.config.list_physical_devices("GPU")
if not tf.test.is_built_with_cuda():
    print("This TensorFlow was built without CUDA and cannot use a GPU.")
"""
# "W0000 00:00:1795648158.386563   31275 cudart_stub.cc:31] ", or an older version's date and time.
_PREFIX = re.compile(r"^([IWEF]\d{4} |\d{4}-\d\d-\d\d )[^\]]*\] ")
_ABOUT_GPUS = re.compile(r"cuda|cudnn|cuinit|gpu|nvidia|dynamic library", re.IGNORECASE)
_NOISE = "already been registered"


def tensorflows_reason() -> str:
    """What TensorFlow prints about GPUs when it looks for them; may be empty."""
    variables = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0"}
    try:
        asked = subprocess.run(
            [sys.executable, "-c", _ASK], env=variables, capture_output=True, timeout=120
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"(it could not be asked: {error})"
    return about_gpus((asked.stderr + asked.stdout).decode(errors="replace"))


def about_gpus(log: str) -> str:
    """The messages about GPUs in what TensorFlow printed, each once, without time and place."""
    lines = [_PREFIX.sub("", line).strip() for line in log.splitlines()]
    found = [line for line in lines if _ABOUT_GPUS.search(line) and _NOISE not in line]
    return "; ".join(dict.fromkeys(line.rstrip(".") for line in found))


def _nvidia_device(root: Path) -> str | None:
    """The first of the GPU's files; a container without its GPUs has the second kind only."""
    found = [
        *sorted(root.glob("dev/nvidia[0-9]*")),
        *sorted(root.glob("proc/driver/nvidia/gpus/*")),
    ]
    return f"/{found[0].relative_to(root)}" if found else None


def tell_if_missed() -> None:
    """Prints `missed` on stderr, if there is something to say."""
    if message := missed():
        print(paragraph(f"warning: {message}"), file=sys.stderr, flush=True)


def missed(root: Path = Path("/"), reason: Callable[[], str] = tensorflows_reason) -> str | None:
    """A paragraph, if this machine has an NVIDIA GPU and TensorFlow sees none; else None.

    There is nothing to say where the variable CUDA_VISIBLE_DEVICES hides all GPUs.

    Args:
        root: The folder of dev/ and proc/.
        reason: Tells why TensorFlow sees none.
    """
    device = _nvidia_device(root)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if device is None or visible in ("", "-1") or tf.config.list_physical_devices("GPU"):
        return None
    said = reason() or "nothing"
    limited = f" CUDA_VISIBLE_DEVICES is {visible}." if visible else ""
    return (
        f"This machine has an NVIDIA GPU ({device}), but TensorFlow sees none: the CPU does the "
        f"work. TensorFlow says: {said}.{limited} Does nvidia-smi list the GPU? If "
        "so, install the CUDA libraries by bash scripts/setup.sh and-cuda (or pip install "
        "'tensorflow[and-cuda]'). If not, install NVIDIA's driver, or start the container with "
        "its GPUs (docker run --gpus all). CUDA_VISIBLE_DEVICES=-1 hides the GPU and this message."
    )
