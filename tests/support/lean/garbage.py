"""How often Python looks for garbage in tests and in the processes that they start."""

import gc


def collect_seldom():
    """A twentieth of the time of tests that build networks goes by on it, with Python's own."""
    gc.set_threshold(10_000, 10, 10)
