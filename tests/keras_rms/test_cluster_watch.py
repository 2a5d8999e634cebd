"""How a training ends: statuses, messages, and what is done about a worker that is silent."""

import socket
import threading
import time

import pytest
import small_training
import tensorflow as tf

from keras_rms.training import errors
from keras_rms.training.workers import cluster_watch
from keras_rms.training.workers.cluster_watch import Deadline, with_exit_status


def test_a_deadline_ends_what_takes_too_long():
    ended = threading.Event()
    told = []

    def end(message, status):
        told.append((message, status))
        ended.set()

    with Deadline(0.05, lambda: "too long", end):
        assert ended.wait(10)
    assert told == [("too long", 76)]


def test_a_deadline_that_is_met_does_nothing():
    told = []
    with Deadline(0.2, lambda: "too long", lambda *args: told.append(args)):
        pass
    time.sleep(0.4)
    assert not told


def test_a_deadline_must_be_positive():
    with pytest.raises(ValueError, match="seconds=0"):
        Deadline(0, str)


@pytest.mark.parametrize("task", [0, 1, 2])
def test_the_first_worker_watches_all_and_the_others_the_first(task):
    addresses = small_training.free_ports(3)
    ports = [int(address.rpartition(":")[2]) for address in addresses]
    told, ended = [], threading.Event()

    def end(message, status):
        told.append((message, status))
        ended.set()

    servers = [socket.create_server(("127.0.0.1", port)) for port in ports]
    with cluster_watch.PeerWatch(addresses, task, interval=0.02, end=end):
        assert not ended.wait(0.3)
        lost = 2 if task == 0 else 0
        servers[lost].close()
        assert ended.wait(20)
    ((message, status),) = told
    assert status == 76 and f"Worker {addresses[lost]} does not answer" in message
    for server in servers:
        server.close()


def test_a_worker_that_answers_again_is_not_lost():
    addresses = small_training.free_ports(2)
    port = int(addresses[1].rpartition(":")[2])
    told = []
    with cluster_watch.PeerWatch(addresses, 0, 0.2, lambda *args: told.append(args)):
        time.sleep(0.3)  # one look in vain
        with socket.create_server(("127.0.0.1", port)):
            time.sleep(0.6)
        assert not told


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.Preempted("stopped"), 75),
        (errors.NotFinite("stopped", step=3), 77),
    ],
)
def test_each_early_end_has_its_own_status(capsys, error, status):
    def train():
        raise error

    assert with_exit_status(train, lambda text: f"<{text}>") == status
    assert capsys.readouterr().err == "<stopped>\n"


def test_a_whole_training_has_status_0():
    assert with_exit_status(lambda: None) == 0


def test_a_bug_is_not_hidden():
    with pytest.raises(KeyError):
        with_exit_status(lambda: {}["missing"])


def test_a_lost_worker_ends_the_process_at_once(monkeypatch):
    ended = []
    monkeypatch.setattr(cluster_watch, "end_process", lambda *args: ended.append(args))

    def train():
        text = "first line\nCollective ops is aborted by: Connection reset by peer"
        raise tf.errors.UnavailableError(None, None, text)

    with_exit_status(train)
    ((message, status),) = ended
    assert status == 76
    assert "Collective ops is aborted by: Connection reset by peer" in message
    assert "Start the same command on all workers again" in message
