"""Set-up shared by all tests."""

import os

import keras

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def pytest_configure(config):
    # Two logical CPU devices, so that every test of replicas runs on any machine. TensorFlow takes
    # this only before its first operation, hence here.
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * 2
        )
