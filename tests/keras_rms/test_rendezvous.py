"""Meeting of the workers: all or a message that says who is missing or wrong."""

import socket
import threading
import time

import pytest
from small_training import free_ports

from keras_rms.training.errors import WorkerLost
from keras_rms.training.workers.rendezvous import meet


def meet_all(calls):
    """Runs `meet` for each (addresses, task, seconds) at once; returns what each raised."""
    raised = [None] * len(calls)

    def run(i, call):
        try:
            meet(*call)
        except Exception as error:
            raised[i] = error

    threads = [threading.Thread(target=run, args=(i, call)) for i, call in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return raised


def test_three_workers_meet_in_any_order():
    addresses = free_ports(3)
    arrived = []

    def late():
        time.sleep(0.5)
        arrived.append(time.monotonic())
        meet(addresses, 0, 30)

    first = threading.Thread(target=late)
    first.start()
    assert meet_all([(addresses, 1, 30), (addresses, 2, 30)]) == [None, None]
    assert time.monotonic() >= arrived[0]  # they waited
    first.join()
    with socket.create_server(("", int(addresses[0].rpartition(":")[2]))):
        pass  # the port is TensorFlow's now


def test_who_is_missing_is_named_on_both_sides():
    addresses = free_ports(3)
    first, second = meet_all([(addresses, 0, 1.5), (addresses, 1, 1.5)])
    assert isinstance(first, WorkerLost) and isinstance(second, WorkerLost)
    assert f"nothing was heard from {addresses[2]}." in str(first)
    assert f"nothing was heard from {addresses[0]}." in str(second)


def test_workers_with_different_lists_are_told():
    one, two, three = free_ports(3)
    first, second = meet_all([((one, two), 0, 20), ((one, three), 1, 20)])
    for error, theirs, own in ((first, three, two), (second, two, three)):
        assert isinstance(error, ValueError)
        assert f"another list of workers: {one},{theirs} and not {one},{own}." in str(error)


def test_strangers_are_ignored():
    addresses = free_ports(2)
    port = int(addresses[0].rpartition(":")[2])

    def knock():
        for message in (b"", b"GET / HTTP/1.1\n", b'{"task": 1}\n', b"[1]\n"):
            for _ in range(100):
                try:
                    with socket.create_connection(("127.0.0.1", port)) as connection:
                        connection.sendall(message)
                    break
                except OSError:
                    time.sleep(0.02)
        meet(addresses, 1, 20)

    stranger = threading.Thread(target=knock)
    stranger.start()
    meet(addresses, 0, 20)
    stranger.join()


def test_a_port_that_is_taken_is_named():
    addresses = free_ports(2)
    with socket.create_server(("", int(addresses[0].rpartition(":")[2]))):
        with pytest.raises(ValueError, match=f"cannot listen at {addresses[0]}"):
            meet(addresses, 0, 5)


def test_the_time_must_be_positive():
    with pytest.raises(ValueError, match="worker_timeout=0"):
        meet(["a:1", "b:1"], 0, 0)


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_addresses_of_ipv6_in_brackets():
    addresses = [f"[::1]:{address.rpartition(':')[2]}" for address in free_ports(2)]
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("the loopback of IPv6 is off")
    assert meet_all([(addresses, 0, 20), (addresses, 1, 20)]) == [None, None]
    with socket.create_server(("", int(addresses[0].rpartition(":")[2]))):
        with pytest.raises(ValueError, match=r"cannot listen at \[::1\]:"):
            meet(addresses, 0, 5)
