"""oneDNN, TensorFlow's library of fast operations on CPUs: the commands turn it on.

TensorFlow turns it on by itself only on processors with AVX-512 VNNI or AMX. Without it 3D
convolutions and their gradients take ten times as long. TensorFlow reads the variable once, while
it is imported, so that the choice is made before.

The exception is bfloat16: there oneDNN (seen with TensorFlow 2.21) now and then gives a gradient of
NaN for a 3D convolution, in one to five steps of a hundred.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence

from absl import flags

VARIABLE = "TF_ENABLE_ONEDNN_OPTS"
_UNSAFE_PRECISION = "mixed_bfloat16"


@contextlib.contextmanager
def chosen(arguments: Sequence[str]) -> Iterator[None]:
    """While active, the variable is set as the command needs it, unless the user has set it.

    Import TensorFlow inside. Afterwards the variable is as it was: a command that this one starts
    chooses for itself.

    Args:
        arguments: The command line, the program's name first.
    """
    if os.environ.get(VARIABLE):
        yield
        return
    os.environ[VARIABLE] = "0" if _precision(arguments) == _UNSAFE_PRECISION else "1"
    try:
        yield
    finally:
        del os.environ[VARIABLE]


def is_on() -> bool:
    """Whether TensorFlow, which has to be imported by then, uses oneDNN."""
    # TensorFlow has no public way to ask.
    from tensorflow.python.util import _pywrap_util_port

    return _pywrap_util_port.IsMklEnabled()


def chosen_for(precision: str) -> str | None:
    """A line for the user of a training on CPUs, if the precision has decided that oneDNN is off.

    Args:
        precision: The value of --precision.
    """
    if precision != _UNSAFE_PRECISION or os.environ.get(VARIABLE):
        return None
    return "oneDNN is off: on CPUs it now and then gives a gradient of NaN in bfloat16."


def _precision(arguments: Sequence[str]) -> str | None:
    """The value of --precision, also from a --flagfile, before the command has defined its own."""
    values = flags.FlagValues()
    flags.DEFINE_string("precision", None, "", flag_values=values)
    values.set_gnu_getopt()
    try:
        values(list(arguments), known_only=True)
    except flags.Error:  # the command itself will say what is wrong
        return None
    return values.precision
