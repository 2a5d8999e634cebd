"""What compiles the operations of a layer, and what computes them."""

import sys

import keras


def is_compiled_by_xla() -> bool:
    """Whether XLA makes the operations that are called: JAX's always, TensorFlow's where asked."""
    if keras.backend.backend() == "tensorflow":
        # Keras has imported TensorFlow: this package itself does without.
        return sys.modules["tensorflow"].__internal__.get_enclosing_xla_context() is not None
    return keras.backend.backend() == "jax"


def is_on_cpu() -> bool:
    """Whether the backend has no accelerator."""
    # Keras's name of a device begins with its kind on every backend.
    return all("cpu" in device.lower() for device in keras.distribution.list_devices())
