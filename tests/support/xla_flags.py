"""Flags with which JAX compiles in half of the time what runs a few times.

Only the processes of pytest take them. The commands that tests start on JAX keep the code
generators of a user's.
"""

import importlib.util
import mmap
import os
from pathlib import Path

# Emitters by way of MLIR, and several LLVM modules for threads that two cores do not have.
_WANTED = {"xla_cpu_use_fusion_emitters": "false", "xla_cpu_parallel_codegen_split_count": "1"}


def take():
    """Sets XLA_FLAGS, if they are not set and JAX is the backend; before JAX is imported."""
    if os.environ.get("KERAS_BACKEND") != "jax" or "XLA_FLAGS" in os.environ:
        return
    if (spec := importlib.util.find_spec("jaxlib")) is None:
        return
    # XLA ends a process that names a flag which it does not know, and its flags come and go.
    for library in Path(spec.origin).parent.glob("libjax_common.*"):
        with open(library, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as text:
            known = [name for name in _WANTED if text.find(name.encode()) >= 0]
        os.environ["XLA_FLAGS"] = " ".join(f"--{name}={_WANTED[name]}" for name in known)
