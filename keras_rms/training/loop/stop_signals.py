"""Hearing SIGTERM and Ctrl-C without dying of them."""

import signal
from collections.abc import Callable


class StopSignals:
    """While active, SIGTERM and a first Ctrl-C call `handle`; a second Ctrl-C interrupts at once.

    Example:

    >>> with StopSignals(lambda: print("stopping after this step")):
    ...     train()

    Args:
        handle: Takes nothing; runs between two instructions of the main thread.
    """

    def __init__(self, handle: Callable[[], None]) -> None:
        self._handle = handle
        self._before: dict = {}

    def __enter__(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                self._before[number] = signal.signal(number, self._received)
            except ValueError:  # not the main thread, which alone may listen
                return

    def _received(self, number: int, frame: object) -> None:
        self._handle()
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
