"""Functions that are run again for their gradient, in which a generator would draw other numbers.

`tf.recompute_grad`, `torch.utils.checkpoint`, `jax.checkpoint`, and `keras.remat` and
`keras.RematScope`, which stand for them, save memory: what a function computed is thrown away, and
computed again when the gradient is. A generator that draws in there has moved on by then, so that
the gradient would be that of other numbers. What JAX traces cannot move a generator on at all.
`stateless_call` takes the generators' states as arguments, the same ones both times.
"""

import sys
from types import FrameType
from typing import Any

import keras

# Of the files, the functions that run what is run again; `None` for all of them.
_RUNNERS = {
    "tensorflow/python/ops/custom_gradient.py": ("inner", "inner_recompute_grad"),
    "torch/utils/checkpoint.py": None,
}


def check_draw(state: keras.Variable) -> None:
    """Raises a `ValueError` where the pass for the gradient would draw other numbers.

    Args:
        state: Of the generator that is about to draw.

    Raises:
        ValueError: If a recomputed function, or one that JAX traces, is about to move the variable
            itself on, and not a value that `stateless_call` was given.
    """
    with keras.StatelessScope(initialize_variables=False) as scope:
        in_stateless_call = scope.original_scope is not None
    if in_stateless_call or not (_is_traced_by_jax(state.value) or _is_recomputed()):
        return
    raise ValueError(
        "A random layer cannot draw inside of a function that is traced or recomputed: the pass "
        "for the gradient would draw other numbers. Give the function the random state from "
        "outside: `layer.stateless_call(trainable_variables, non_trainable_variables, inputs, "
        "training=True)` works in tf.recompute_grad, torch.utils.checkpoint and JAX's "
        "transformations. A whole model built in keras.RematScope('full') is such a function too: "
        "name single layers with mode='list_of_layers'. "
        f"Received: the state {state.path!r}"
    )


def _is_traced_by_jax(value: Any) -> bool:
    """Whether what is computed of the variable is known to a trace only."""
    if keras.backend.backend() != "jax":
        return False
    # Keras has imported JAX: this package itself does without.
    return isinstance(value * 1, sys.modules["jax"].core.Tracer)


def _is_recomputed() -> bool:
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        code = frame.f_code
        for file, names in _RUNNERS.items():
            if code.co_filename.endswith(file) and (names is None or code.co_name in names):
                return True
        frame = frame.f_back
    return False
