"""Whether a tf.data service gives what it promised, and whether anybody of it is lost.

TensorFlow's client waits for ever for a worker or dispatcher that has died, and where a worker died
and came back it ends as if all had been given. So what arrives is counted, and while nothing does,
the processes of the service are asked whether they are there.
"""

import os
import socket
import sys
import threading
import time
import weakref

import grpc
import tensorflow as tf

CONNECT_S = 10
PATIENCE_S = 60.0
_GIVEN_UP_AFTER = 10  # times the patience, if everybody answers all the same
_INCOMPLETE = "The tf.data service gave only"


def watched(
    batches: tf.data.Dataset, address: str, expected: int | None, patience: float = PATIENCE_S
) -> tf.data.Dataset:
    """The same batches, counted and waited for with patience.

    Args:
        batches: What the service gives; batches of a known shape.
        address: The dispatcher, `grpc://host:port`.
        expected: Rows of all batches together; `None` if they never end.
        patience: Seconds without an awaited batch after which the service is looked at. If one of
            its processes is lost, this process ends with status 1: nothing else ends the wait.

    Returns:
        A dataset that raises `tf.errors.InvalidArgumentError` at its end if rows are missing.
    """
    with tf.device("CPU:0"):
        since = tf.Variable(0.0, dtype=tf.float64)  # when the awaited batch was asked for, or 0
        rows = tf.Variable(0, dtype=tf.int64)

    def ask(number: tf.Tensor) -> tf.Tensor:
        rows.assign(tf.where(number == 0, tf.zeros([], tf.int64), rows))
        since.assign(tf.timestamp())
        return number

    def receive(batch: tuple) -> object:
        since.assign(tf.zeros([], tf.float64))
        rows.assign_add(tf.shape(tf.nest.flatten(batch)[0], tf.int64)[0])
        return batch

    def end(_: tf.Tensor) -> tf.Tensor:
        since.assign(tf.zeros([], tf.float64))
        told = [
            _INCOMPLETE,
            rows,
            "of",
            expected,
            "videos (with the rows that fill the last batch)",
        ]
        with tf.control_dependencies([tf.debugging.Assert(rows == expected, told)]):
            return tf.constant(False)

    spec = batches.element_spec
    asked = tf.data.Dataset.counter().map(ask)
    # The number that was asked for is left out again.
    received = tf.data.Dataset.zip((asked, batches)).map(lambda _, batch: receive(batch))
    if expected is not None:
        # An element that is never given, made after the last one.
        last = tf.data.Dataset.range(1).filter(end).map(lambda _: _empty(spec))
        received = received.concatenate(last)
    arguments = (weakref.ref(since), address, patience)
    threading.Thread(target=_look, args=arguments, daemon=True).start()
    return received


def _empty(spec: object) -> object:
    return tf.nest.map_structure(lambda part: tf.zeros(part.shape, part.dtype), spec)


def incomplete(error: tf.errors.OpError) -> str | None:
    """What an error of `watched` at the end says, in words; `None` for any other error."""
    if _INCOMPLETE not in error.message:
        return None
    text = error.message[error.message.index(_INCOMPLETE) :].splitlines()[0]
    for mark in "[]":
        text = text.replace(mark, "")
    return (
        f"{text.rstrip()}: a worker was lost on the way, even if it came back. A result without "
        "the others would be none. Run the same command again."
    )


def _look(waiting: weakref.ref, address: str, patience: float) -> None:
    """Ends the process if a batch is awaited in vain, until the dataset is gone."""
    while (since := waiting()) is not None:
        asked = float(since.numpy())
        del since
        waited = time.time() - asked if asked else 0.0
        if waited > patience:
            lost = lost_of(address)
            if not lost and waited > _GIVEN_UP_AFTER * patience:
                lost = "all its processes answer, but none gives a batch"
            if lost:
                _end(
                    f"error: The tf.data service at {address} has given no batch for "
                    f"{waited:.0f} s: {lost}. Start what is lost again (keras-rms data-service) "
                    "and run the same command: it continues where it can."
                )
                return
        time.sleep(patience / 10)


def lost_of(address: str) -> str:
    """Names what of a service does not answer; empty if all do."""
    target = address.removeprefix("grpc://")
    if not _answers(target):
        return f"its dispatcher at {target} does not answer"
    try:
        workers = _workers(target)
    except grpc.RpcError as error:
        return f"its dispatcher at {target} does not answer ({error.code().name})"
    if not workers:
        return "it has no worker"
    silent = [worker for worker in workers if not _answers(worker)]
    names = ", ".join(silent)
    return f"{len(silent)} of its {len(workers)} workers do not answer: {names}" if silent else ""


def _workers(dispatcher: str) -> list[str]:
    with grpc.insecure_channel(dispatcher) as channel:
        ask = channel.unary_unary("/tensorflow.data.DispatcherService/GetWorkers")
        answer = ask(b"", timeout=CONNECT_S)
    # TensorFlow ships no class for this answer: a list of messages whose first field is the
    # address. A ClusterDef is a list of messages whose first field is a name.
    return [worker.name for worker in tf.train.ClusterDef.FromString(answer).job]


def _answers(target: str) -> bool:
    host, _, port = target.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
    except (OSError, ValueError):
        return False
    return True


def _end(message: str) -> None:
    # The thread that waits does so inside TensorFlow, where no exception reaches it.
    print(message, file=sys.stderr, flush=True)
    os._exit(1)
