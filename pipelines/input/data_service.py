"""Spreading the input pipeline over more machines by the tf.data service."""

import re
import socket

import tensorflow as tf

from pipelines.input import service_watch


def distribute(
    batches: tf.data.Dataset, address: str | None, expected: int | None = None
) -> tf.data.Dataset:
    """Have a pipeline run by the workers of a tf.data service; unchanged if `address` is None.

    The workers share out the elements of the pipeline's source, so that each is made once in all.
    Which of them is ready first decides the order in which they arrive.

    Args:
        batches: A dataset that needs no Python and no variable.
        address: The dispatcher, `grpc://host:port`.
        expected: Rows of all batches together; `None` if they never end.

    Returns:
        The batches, watched over: if rows are missing at the end that is an error, and if a process
        of the service is lost and no batch comes any more, this process ends. See `service_watch`.

    Raises:
        ValueError: If the address is of another form or nobody answers at it.
    """
    if address is None:
        return batches
    match = re.fullmatch(r"grpc://([^:/]+):(\d+)", address)
    if not match:
        raise ValueError(
            "`data_service` must be the dispatcher's address, e.g. grpc://10.0.0.5:5050. Received: "
            f"data_service={address}"
        )
    host, port = match.groups()
    # TensorFlow itself tries for an hour before it says that nobody is there.
    try:
        socket.create_connection((host, int(port)), timeout=service_watch.CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"No dispatcher of the tf.data service answers at {address} ({error}). Start one with "
            "`keras-rms data-service --role=dispatcher --port=5050`. Received: "
            f"data_service={address}"
        ) from error
    shared = batches.apply(
        tf.data.experimental.service.distribute(
            processing_mode=tf.data.experimental.service.ShardingPolicy.DYNAMIC, service=address
        )
    )
    return service_watch.watched(shared, address, expected)
