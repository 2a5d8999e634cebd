"""Ending a worker with a message where TensorFlow would wait without end for another."""

import os
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from keras_rms.training.errors import LOST_WORKER, TrainingStopped, WorkerLost


class Deadline:
    """Ends the process if what is inside the `with` takes too long.

    TensorFlow waits forever for a worker that is frozen, in calls that Python cannot interrupt.

    Example:

    >>> with Deadline(600, lambda: "The other workers did not answer within ten minutes."):
    ...     train_some_steps()

    Args:
        seconds: How long it may take.
        message: Makes the paragraph to print.
        end: Takes that paragraph and the exit status; for tests.

    Raises:
        ValueError: If `seconds` is not above 0.
    """

    def __init__(
        self,
        seconds: float,
        message: Callable[[], str],
        end: Callable[[str, int], None] | None = None,
    ) -> None:
        if not seconds > 0:
            raise ValueError(f"`seconds` must be above 0. Received: seconds={seconds}")
        self._seconds = seconds
        self._message = message
        self._end = end or end_process

    def __enter__(self) -> None:
        self._timer = threading.Timer(self._seconds, self._expire)
        # A process that ends otherwise must not wait for it.
        self._timer.daemon = True
        self._timer.start()

    def __exit__(self, *exception: object) -> None:
        self._timer.cancel()

    def _expire(self) -> None:
        self._end(self._message(), WorkerLost.exit_code)


def answered_within(seconds: float, workers: int, step: int) -> AbstractContextManager:
    """The `Deadline` of what waits for the other workers; for one worker, nothing.

    Args:
        seconds: How long they may take.
        workers: How many there are with this one.
        step: Training steps taken, to tell the user.
    """
    if workers == 1:
        return nullcontext()
    return Deadline(
        seconds,
        lambda: (
            f"After step {step} the other workers did not answer for {seconds:.0f} seconds "
            "(`worker_timeout`). Start the same command on all workers again: training continues "
            "from the newest checkpoint."
        ),
    )


class PeerWatch:
    """Ends the process if another worker is gone while this one works alone, as in a validation.

    TensorFlow tells Python that a worker is lost only when the next exchange with it fails. The
    first worker looks after all others and these after the first, so that all end soon.

    Example:

    >>> with PeerWatch(["host0:2222", "host1:2222"], task=1):
    ...     validate(model)

    Args:
        addresses: "host:port" of every worker, where TensorFlow listens.
        task: This worker's position.
        interval: Seconds between two looks; three in vain are enough.
        end: Takes a paragraph and the exit status; for tests.
    """

    _LOOKS = 3

    def __init__(
        self,
        addresses: Sequence[str],
        task: int,
        interval: float = 5.0,
        end: Callable[[str, int], None] | None = None,
    ) -> None:
        # Not each after each: sixty workers would open thousands of connections.
        self._watched = list(addresses[1:] if task == 0 else addresses[:1])
        self._interval = interval
        self._end = end or end_process
        self._over = threading.Event()

    def __enter__(self) -> None:
        threading.Thread(target=self._watch, daemon=True).start()

    def __exit__(self, *exception: object) -> None:
        self._over.set()

    def _watch(self) -> None:
        in_vain = 0
        while not self._over.wait(self._interval):
            gone = [address for address in self._watched if not self._listens(address)]
            # One look in vain may be a busy moment of the network.
            in_vain = in_vain + 1 if gone else 0
            if in_vain == self._LOOKS:
                self._end(
                    f"Worker {', '.join(gone)} does not answer any more. Start the same command on "
                    "all workers again: training continues from the newest checkpoint.",
                    WorkerLost.exit_code,
                )
                return

    def _listens(self, address: str) -> bool:
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), self._interval).close()
        except OSError:
            return False
        return True


def end_process(message: str, status: int) -> None:
    """Prints and ends at once, without the exit handlers, which would wait for lost workers."""
    print(message, file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(status)


def with_exit_status(train: Callable[[], object], paragraph: Callable[[str], str] = str) -> int:
    """Runs a training; a `TrainingStopped` or a lost worker becomes a message and a status.

    Args:
        train: Takes nothing.
        paragraph: Wraps the lines of a message.

    Returns:
        The exit status for the process: 0 after a whole training.
    """
    stop: TrainingStopped
    try:
        train()
    except LOST_WORKER as error:
        stop = WorkerLost.because_of(error)
    except TrainingStopped as early:
        stop = early
    else:
        return 0
    message = paragraph(str(stop))
    # At once: TensorFlow's exit handlers would wait for the worker that is gone.
    if isinstance(stop, WorkerLost):
        end_process(message, stop.exit_code)
    print(message, file=sys.stderr)
    return stop.exit_code
