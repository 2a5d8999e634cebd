"""Set-up shared by all tests."""

import collections
import gc
import os

import garbage
import pytest
import unused_packages
import xla_flags

from pipelines.system import onednn

# Before TensorFlow is imported, here and in every process that the tests start.
os.environ.setdefault(onednn.VARIABLE, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
unused_packages.hide()
unused_packages.hide_in_children()
# JAX compiles for each test anew, and runs what it has compiled a few times.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
xla_flags.take()
# PyTorch's threads wait by spinning: a third of the processor time of some tests.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_configure(config):
    # With pytest-xdist this process hands out the tests and runs none.
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        return
    import keras

    # Two logical CPU devices, so that every test of replicas runs on any machine. TensorFlow takes
    # this only before its first operation, hence here.
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * 2
        )


def pytest_collection_modifyitems(items):
    """Puts the files that take longest first: the short ones level out when the processes end."""
    seconds = collections.Counter()
    for item in items:
        if slow := item.get_closest_marker("slow"):
            seconds[item.path] += slow.args[0] if slow.args else 3
    items.sort(key=lambda item: -seconds[item.path])


def pytest_collection_finish():
    garbage.collect_seldom()
    gc.freeze()  # what was imported is none


@pytest.fixture(scope="module", autouse=True)
def forget_what_was_compiled():
    """JAX takes longer to compile the more it keeps: twice as long after some hundred tests."""
    yield
    if os.environ.get("KERAS_BACKEND") == "jax":
        import jax

        jax.clear_caches()
