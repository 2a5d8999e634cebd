"""Runs the tests that carry the marker `any_backend` on JAX and PyTorch as well."""

import importlib.util
import os
import subprocess
import sys

import keras
import pytest
from paths import ROOT


@pytest.mark.slow(100)
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="started from TensorFlow's run")
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_the_package_passes_its_tests_on(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed.")
    # The other files need not even be imported.
    files = [
        path for path in (ROOT / "tests").rglob("test_*.py") if "any_backend" in path.read_text()
    ]
    assert len(files) > 10
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-m",
            "any_backend",
            *files,
        ],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert result.returncode == 0, result.stdout[-10_000:]
    assert "passed" in result.stdout
