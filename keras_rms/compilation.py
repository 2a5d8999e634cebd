"""What compiles the operations of a layer."""

import sys


def is_compiled_by_xla() -> bool:
    """Whether TensorFlow, whose backend has to be in use, is tracing for XLA."""
    # Keras has imported TensorFlow: this package itself does without.
    return sys.modules["tensorflow"].__internal__.get_enclosing_xla_context() is not None
