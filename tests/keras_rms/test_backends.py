"""Runs the tests that carry the marker `any_backend` on JAX and PyTorch as well."""

import keras
import pytest


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="started from TensorFlow's run")
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_the_package_passes_its_tests_on(backend, other_backends):
    if backend not in other_backends:
        pytest.skip(f"{backend} is not installed.")
    process, output = other_backends[backend]
    status = process.wait()
    assert status == 0, output.read_text()[-10_000:]
    assert "passed" in output.read_text()
