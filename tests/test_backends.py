"""Runs the tests that carry the marker `any_backend` on JAX and PyTorch as well."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="started from TensorFlow's run")
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_the_package_passes_its_tests_on(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed.")
    command = [sys.executable, "-m", "pytest", "-q", "-m", "any_backend", str(ROOT / "tests")]
    environment = {**os.environ, "KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-8000:] + result.stderr[-2000:]
    assert "passed" in result.stdout
