"""Imported first by a command, imports TensorFlow with oneDNN and without the lines of its start.

Those dozen lines (which CPU instructions it found, that there is no GPU) come before its log level
counts. If the import fails, what it printed is shown after all. Where TF_CPP_MIN_LOG_LEVEL is set,
nothing is hidden. For oneDNN see `onednn.chosen`. A backend that is not installed is named.
"""

import contextlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator

from pipelines.system import onednn

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    shown = os.dup(2)
    with tempfile.TemporaryFile() as hidden:
        os.dup2(hidden.fileno(), 2)
        try:
            yield
        except BaseException:
            hidden.seek(0)
            os.write(shown, hidden.read())
            raise
        finally:
            os.dup2(shown, 2)
            os.close(shown)


def _import() -> None:
    with contextlib.ExitStack() as around:
        around.enter_context(onednn.chosen(sys.argv))
        if _LEVEL not in os.environ:
            # Errors that matter are raised as exceptions too; the rest of level 2 is noise on CPUs.
            os.environ[_LEVEL] = "3"
            around.enter_context(_quietly())
        import tensorflow  # noqa: F401

        onednn.is_on()  # TensorFlow keeps its first answer


def _check_backend() -> None:
    """Ends the command with a paragraph where Keras would end it with the trace of an import."""
    backend = os.environ.get("KERAS_BACKEND")
    if backend in ("jax", "torch") and importlib.util.find_spec(backend) is None:
        from pipelines.system.command_line import FAILURE, paragraph

        said = (
            f"error: KERAS_BACKEND={backend} asks for a package that is not installed. Install it "
            f"(pip install {backend}), or unset KERAS_BACKEND to use TensorFlow."
        )
        print(paragraph(said), file=sys.stderr)
        sys.exit(FAILURE)


_check_backend()
if "tensorflow" not in sys.modules:
    _import()
