"""Meeting of all workers before TensorFlow waits for them, which it does without end or message."""

import contextlib
import json
import socket
import time
from collections.abc import Sequence

from keras_rms.training.errors import WorkerLost

_RETRY_SECONDS = 0.2
_ANSWER_SECONDS = 5.0


def meet(addresses: Sequence[str], task: int, seconds: float) -> None:
    """Returns on every worker once all of them have called it.

    Worker 0 listens at its own address, which TensorFlow takes over afterwards; the others report
    there.

    Args:
        addresses: "host:port" of every worker.
        task: This worker's position.
        seconds: How long to wait.

    Raises:
        WorkerLost: If somebody is missing after that time; says who.
        ValueError: If `seconds` is not above 0, another process has the port, or the workers were
            started with different lists.
    """
    if not seconds > 0:
        raise ValueError(f"`worker_timeout` must be above 0. Received: worker_timeout={seconds}")
    end = time.monotonic() + seconds
    if task == 0:
        _receive(list(addresses), end, seconds)
    else:
        _report(list(addresses), task, end, seconds)


def _receive(addresses: list[str], end: float, seconds: float) -> None:
    host, port = _split(addresses[0])
    arrived: dict[int, socket.socket] = {}
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(_server(host, port))
        except OSError as error:
            raise ValueError(
                f"Worker 0 cannot listen at {addresses[0]} ({error.strerror}). Choose a free port, "
                "or stop the process that has it."
            ) from error
        while len(arrived) < len(addresses) - 1:
            # 0 would mean not to wait at all.
            server.settimeout(max(end - time.monotonic(), 0.001))
            try:
                connection, _ = server.accept()
            except TimeoutError:
                missing = [a for i, a in enumerate(addresses) if i and i not in arrived]
                raise _missing(", ".join(missing), seconds) from None
            stack.enter_context(connection)
            hello = _read(connection)
            if hello is None:
                continue
            # Told before it raises, or the other one would wait out its whole time.
            if hello["addresses"] != addresses:
                _write(connection, {"go": False, "addresses": addresses})
                raise ValueError(
                    f"Worker {hello['task']} was started with another list of workers: "
                    f"{','.join(hello['addresses'])} and not {','.join(addresses)}."
                )
            arrived[hello["task"]] = connection
        for connection in arrived.values():
            _write(connection, {"go": True})
        # The side that closes first keeps the port busy for a while; it must not be this one.
        for connection in arrived.values():
            with contextlib.suppress(OSError):
                connection.recv(1)


def _server(host: str, port: int) -> socket.socket:
    """Listens on every interface, because a machine often knows itself by another name."""
    if ":" not in host:
        return socket.create_server(("", port))
    return socket.create_server(
        ("", port), family=socket.AF_INET6, dualstack_ipv6=socket.has_dualstack_ipv6()
    )


def _report(addresses: list[str], task: int, end: float, seconds: float) -> None:
    while (left := end - time.monotonic()) > 0:
        try:
            with socket.create_connection(
                _split(addresses[0]), min(left, _ANSWER_SECONDS)
            ) as chief:
                _write(chief, {"task": task, "addresses": addresses})
                # The answer comes when all are there, which may take as long as is left.
                chief.settimeout(left)
                answer = _read_line(chief)
        except OSError:
            answer = None
        if answer and answer["go"]:
            return
        if answer:
            raise ValueError(
                f"Worker 0 was started with another list of workers: "
                f"{','.join(answer['addresses'])} and not {','.join(addresses)}."
            )
        time.sleep(_RETRY_SECONDS)
    raise _missing(addresses[0], seconds)


def _missing(who: str, seconds: float) -> WorkerLost:
    return WorkerLost(
        f"The workers did not meet within {seconds:.0f} seconds: nothing was heard from {who}. "
        "Start the same command on every machine, each with its own task, check that the "
        "addresses and ports are right and not blocked, or allow more time by `worker_timeout`."
    )


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _write(connection: socket.socket, message: dict) -> None:
    connection.sendall(json.dumps(message).encode() + b"\n")


def _read(connection: socket.socket) -> dict | None:
    """A worker's hello; None for a stranger, such as a scanner of ports."""
    connection.settimeout(_ANSWER_SECONDS)
    try:
        hello = _read_line(connection)
        return hello if hello and {"task", "addresses"} <= hello.keys() else None
    except OSError:
        return None


def _read_line(connection: socket.socket) -> dict | None:
    text = b""
    while not text.endswith(b"\n"):
        part = connection.recv(4096)
        if not part:
            return None
        text += part
    try:
        message = json.loads(text)
    except ValueError:
        return None
    return message if isinstance(message, dict) else None
