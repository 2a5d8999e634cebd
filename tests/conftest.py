"""Set-up shared by all tests."""

import importlib.util
import os
import subprocess
import sys

from pipelines.system import onednn

# Before TensorFlow is imported, here and in every process that the tests start.
os.environ.setdefault(onednn.VARIABLE, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# isort: split
import keras
import pytest
from paths import ROOT

_OF_OTHER_BACKENDS = "test_backends.py"


def pytest_configure(config):
    # Two logical CPU devices, so that every test of replicas runs on any machine. TensorFlow takes
    # this only before its first operation, hence here.
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * 2
        )


def pytest_collection_modifyitems(items):
    # The last to be asked for, because they run beside all others; see `other_backends`.
    items.sort(key=lambda item: item.path.name == _OF_OTHER_BACKENDS)


@pytest.fixture(scope="session", autouse=True)
def other_backends(request, tmp_path_factory):
    """Backend -> its run of the tests of any backend, and the file of what that prints.

    They begin with the first test of the session: of two cores the others use little more than one.
    """
    wanted = [item for item in request.session.items if item.path.name == _OF_OTHER_BACKENDS]
    folder = tmp_path_factory.mktemp("other_backends")
    runs = {}
    for backend in [item.callspec.params["backend"] for item in wanted]:
        if keras.backend.backend() == "tensorflow" and importlib.util.find_spec(backend):
            runs[backend] = _start(backend, folder / backend)
    yield runs
    for process, _ in runs.values():
        process.kill()
        process.wait()


def _start(backend, output):
    command = [sys.executable, "-m", "pytest", "-q", "-m", "any_backend", str(ROOT / "tests")]
    environment = {**os.environ, "KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": ""}
    with open(output, "w") as file:
        process = subprocess.Popen(
            ["nice", *command], env=environment, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT
        )
    return process, output
