"""Runs one process of a tf.data service, which spreads decoding over machines.

One dispatcher, then as many workers as wanted; all must reach the data under the same path:

    machine A:  keras-rms data-service --role=dispatcher --port=5050 --bind=all
    machine B:  keras-rms data-service --role=worker --dispatcher=A:5050 --port=5051 --bind=all
    machine C:  keras-rms data-service --role=worker --dispatcher=A:5050 --port=5051 --bind=all
    training:   keras-rms train --data_service=grpc://A:5050 ...

The service asks for no password, and whoever reaches a port of it can read and write files as the
user who runs it. So without --bind=all only this machine can connect; use --bind=all only in a
network whose other machines you trust.

Each runs until it is stopped (Ctrl-C). For data on s3://, hdfs:// or az:// workers also need
`--filesystem=s3`, `hdfs` or `az`.
"""

import socket
from collections.abc import Callable
from typing import Any

from absl import flags

from pipelines.system import command_help, command_line

command_help.section("Of both roles")
_ROLE = flags.DEFINE_enum("role", None, ["dispatcher", "worker"], "Play this part of the service.")
_PORT = flags.DEFINE_integer(
    "port", 0, "Listen on the port of this number; 0 takes a free one.", 0, 65535
)
_BIND = flags.DEFINE_enum(
    "bind",
    "loopback",
    ["loopback", "all"],
    "Let this machine alone connect (loopback), or every machine that reaches it (all): these can "
    "read and write files as your user, without a password.",
)

command_help.section("Of a worker")
_DISPATCHER = flags.DEFINE_string("dispatcher", None, "Work for the dispatcher at this host:port.")
_HOST = flags.DEFINE_string(
    "host",
    None,
    "Let others reach this worker under this name. By default this machine's name, "
    "and localhost without --bind=all.",
)
_FILESYSTEM = flags.DEFINE_enum(
    "filesystem", None, ["s3", "hdfs", "az"], "Load tensorflow-io for data of this filesystem."
)


def main(arguments: list[str]) -> None:
    if len(arguments) > 1:
        raise ValueError(f"Unknown arguments: {' '.join(arguments[1:])}. See --help.")
    if _ROLE.value is None:
        raise ValueError("--role is missing: dispatcher or worker. See --help.")
    if _ROLE.value == "worker" and not _DISPATCHER.value:
        raise ValueError("--dispatcher=host:port is missing: a worker has to know its dispatcher.")

    # Only now: --help and the errors above need no TensorFlow.
    from pipelines.system import quiet_tensorflow  # noqa: F401  (before what imports TensorFlow)

    # isort: split
    import tensorflow as tf

    from pipelines.system import filesystems

    service = tf.data.experimental.service
    if _ROLE.value == "dispatcher":
        config = service.DispatcherConfig(port=_PORT.value)
        server = _started(service.DispatchServer, config)
        _close_to_others(server.target)
        print(f"Dispatcher: {server.target}", flush=True)
    else:
        if _FILESYSTEM.value:
            filesystems.require(f"{_FILESYSTEM.value}://")
        name = socket.gethostname() if _BIND.value == "all" else "localhost"
        # The dispatcher tells it to the trainings: port 0 would be of no use to them.
        address = f"{_HOST.value or name}:{_PORT.value or _free_port()}"
        config = service.WorkerConfig(
            dispatcher_address=_DISPATCHER.value.removeprefix("grpc://"),
            worker_address=address,
            port=int(address.rpartition(":")[2]),
        )
        server = _started(service.WorkerServer, config)
        _close_to_others(address)
        print(f"Worker: grpc://{address}", flush=True)
    server.join()


def _started(server: Callable, config: Any) -> Any:
    try:
        return server(config, start=True)
    except RuntimeError as error:
        raise ValueError(
            f"The {_ROLE.value} cannot listen on port {config.port}: {error} Give another --port; "
            "0 takes a free one."
        ) from error


def _close_to_others(address: str) -> None:
    if _BIND.value == "all":
        return
    from pipelines.system import loopback

    try:
        loopback.restrict(int(address.rpartition(":")[2]))
    except OSError as error:
        raise ValueError(
            f"This system cannot keep other machines from the port ({error}). Pass --bind=all "
            "where you trust all that reach it."
        ) from error


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    command_line.run(main)
