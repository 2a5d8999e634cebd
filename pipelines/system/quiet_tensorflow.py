"""Imported first by a command, imports TensorFlow without the dozen lines that its start prints.

Those lines (which CPU instructions it found, that there is no GPU) come before its log level
counts. If the import fails, what it printed is shown after all. Where TF_CPP_MIN_LOG_LEVEL is set,
nothing is hidden.
"""

import os
import sys
import tempfile

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


def _import_quietly() -> None:
    shown = os.dup(2)
    with tempfile.TemporaryFile() as hidden:
        os.dup2(hidden.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
        except BaseException:
            hidden.seek(0)
            os.write(shown, hidden.read())
            raise
        finally:
            os.dup2(shown, 2)
            os.close(shown)


if _LEVEL not in os.environ and "tensorflow" not in sys.modules:
    # Errors that matter are raised as exceptions too; the rest of level 2 is noise on CPUs.
    os.environ[_LEVEL] = "3"
    _import_quietly()
