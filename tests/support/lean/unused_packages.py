"""Packages that TensorFlow and Keras import where they are installed, and that nothing here needs.

They take a third of an `import tensorflow`. Hidden, they are as absent as with most users.
"""

import contextlib
import os
import sys

FOLDER = os.path.dirname(os.path.abspath(__file__))
_NAMES = {"jax", "sklearn", "matplotlib.pyplot"} - {os.environ.get("KERAS_BACKEND")}


def hide():
    """Makes imports of them fail."""
    for name in _NAMES:
        sys.modules.setdefault(name, None)


@contextlib.contextmanager
def hidden():
    """While active they are hidden; afterwards they can be imported, whatever was before."""
    hide()
    yield
    for name in _NAMES:
        if sys.modules[name] is None:
            del sys.modules[name]


def hide_in_children():
    """Hides them in the processes that this one starts: see `sitecustomize`."""
    folders = [FOLDER, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(folders))
