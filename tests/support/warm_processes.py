"""Processes that have imported TensorFlow already, because that takes five seconds each time.

They are forked from a server that has imported the packages below, used nothing of them, and knows
nothing of this project: what a command forgets to import is missed here as in a fresh process.
"""

import multiprocessing
import os
from multiprocessing import forkserver
from unittest import mock

_PACKAGES = ["absl.app", "tensorflow", "keras", "numpy", "h5py", "av", "PIL.Image", "tqdm"]
_PACKAGES += ["matplotlib.figure", "scipy.stats", "sklearn.metrics"]


def context():
    """Of multiprocessing; its `Process` is forked from the server."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(_PACKAGES)
    # What `quiet_tensorflow` does before a command imports TensorFlow.
    with mock.patch.dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3"):
        forkserver.ensure_running()
    return server
