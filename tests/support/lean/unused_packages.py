"""Packages that TensorFlow and Keras import where they are installed, for what nothing here uses.

They take almost half of an `import keras`. To the two they are absent, as with most users; others
can import them.
"""

import os
import sys

FOLDER = os.path.dirname(os.path.abspath(__file__))
_NAMES = {"jax", "matplotlib", "matplotlib.pyplot", "sklearn"} - {os.environ.get("KERAS_BACKEND")}


class _Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        """Called for each module that is imported for the first time."""
        if name in _NAMES and _importer().split(".")[0] in ("keras", "tensorflow"):
            raise ModuleNotFoundError(f"{name} is hidden.", name=name)


def _importer():
    frame = sys._getframe(2)
    while "importlib" in (name := frame.f_globals.get("__name__", "")):
        frame = frame.f_back
    return name


def hide():
    """In this process."""
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)


def hide_in_children():
    """In the processes that this one starts: see `sitecustomize`."""
    folders = [FOLDER, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(folders))
