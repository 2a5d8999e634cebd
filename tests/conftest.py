"""Set-up shared by all tests."""

import os

from pipelines.system import onednn

# Before TensorFlow is imported, here and in every process that the tests start.
os.environ.setdefault(onednn.VARIABLE, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# isort: split
import keras


def pytest_configure(config):
    # Two logical CPU devices, so that every test of replicas runs on any machine. TensorFlow takes
    # this only before its first operation, hence here.
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * 2
        )
