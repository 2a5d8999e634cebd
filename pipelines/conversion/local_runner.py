"""Convert shards on this machine, several at a time."""

import concurrent.futures
import threading
from collections.abc import Callable, Iterator

from pipelines.conversion import shard_conversion
from pipelines.conversion.conversion_plan import ShardTask


class _StoppedError(Exception):
    """Another shard failed or the user stopped: this one ends early."""


def run(
    tasks: Iterator[tuple[int, ShardTask]], workers: int, after_video: Callable[[], None]
) -> Iterator[tuple[int, shard_conversion.ShardReport]]:
    """Converts shards in threads; each waits for a decoding process of its own.

    Args:
        tasks: Numbered tasks; at most `workers` are taken ahead.
        workers: Shards converted at the same time.
        after_video: Called after each video, from one thread at a time.

    Yields:
        The number of a shard and its report, as they get finished.
    """
    stop = threading.Event()
    lock = threading.Lock()

    def watched() -> None:
        with lock:
            after_video()
        if stop.is_set():
            raise _StoppedError

    running: dict[concurrent.futures.Future, int] = {}
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        try:
            while True:
                while len(running) < workers and (task := next(tasks, None)) is not None:
                    running[pool.submit(shard_conversion.convert_shard, task[1], watched)] = task[0]
                if not running:
                    return
                finished, _ = concurrent.futures.wait(
                    running, return_when=concurrent.futures.FIRST_COMPLETED
                )
                for future in finished:
                    yield running.pop(future), future.result()
        finally:
            # Here too when the caller stops: the pool waits for its threads, which end after the
            # video under way.
            stop.set()
