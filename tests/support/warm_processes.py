"""Processes that have imported TensorFlow already, because that takes five seconds each time.

They are forked from a server that has imported the packages below, used nothing of them, and knows
nothing of this project: what a command forgets to import is missed here as in a fresh process.
"""

import functools
import multiprocessing
import os
from multiprocessing import forkserver
from unittest import mock

_PACKAGES = ["absl.app", "tensorflow", "keras", "numpy", "h5py", "av", "PIL.Image", "tqdm"]
_PACKAGES += ["matplotlib.figure", "scipy.stats", "sklearn.metrics"]
context = multiprocessing.get_context("forkserver")


def start(target, arguments, variables=None):
    """Starts a process that calls `target`.

    Args:
        target: A function of a module.
        arguments: Its arguments.
        variables: Changes of the environment that the packages read while they are imported. Each
            choice has a server of its own.
    """
    process = context.Process(target=target, args=arguments, daemon=True)
    connect = _server(frozenset((variables or {}).items())).connect_to_new_process
    with mock.patch.object(forkserver, "connect_to_new_process", connect):
        process.start()
    return process


@functools.cache
def _server(variables):
    server = forkserver.ForkServer()
    server.set_forkserver_preload(_PACKAGES)
    # What `quiet_tensorflow` does before a command imports TensorFlow.
    with mock.patch.dict(os.environ, dict(variables), TF_CPP_MIN_LOG_LEVEL="3"):
        server.ensure_running()
    return server
