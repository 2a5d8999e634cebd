"""What the tests of scripts/examples share: their folder, their modules, and arrays to train on."""

import importlib.util

import numpy as np
from paths import ROOT

EXAMPLES = ROOT / "scripts" / "examples"


def module(name):
    """One of the modules that only the examples look for."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def write_arrays(path, train, test):
    """Two classes in turns, one dark and one bright, that any network learns."""
    rng = np.random.default_rng(0)
    content = {}
    for name, shape in (("train", train), ("test", test)):
        labels = np.arange(shape[0]) % 2
        bright = 190 * labels.reshape(-1, *[1] * len(shape[1:]))
        content[f"x_{name}"] = (rng.integers(0, 60, shape) + bright).astype("uint8")
        content[f"y_{name}"] = labels
    np.savez(path, **content)
    return path
