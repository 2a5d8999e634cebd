"""The same batches from a tf.data service with two workers."""

import contextlib
import socket
import threading

import command_runner
import numpy as np
import pytest
import tensorflow as tf
from coded_videos import coded_video, write_folder

from pipelines.input import damage, evaluation_dataset, service_watch, training_stream
from pipelines.system import loopback

NUM_VIDEOS = 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("data")
    videos = [coded_video(f"{n}", n, 4) for n in range(NUM_VIDEOS)]
    write_folder(path, videos, class_names=[str(n) for n in range(NUM_VIDEOS)])
    return str(path)


@pytest.fixture(scope="module")
def address():
    service = tf.data.experimental.service
    dispatcher = service.DispatchServer()
    host = dispatcher.target.removeprefix("grpc://")
    workers = [
        service.WorkerServer(service.WorkerConfig(dispatcher_address=host)) for _ in range(2)
    ]
    yield dispatcher.target
    del workers


def fingerprint(batch):
    return tuple(np.asarray(part).tobytes() for part in batch)


@pytest.mark.slow
@pytest.mark.parametrize("start_step", [0, 7])
def test_training_batches_are_the_same_and_come_once(folder, address, start_step):
    options = {"batch_size": 2, "crop_size": 16, "seed": 0, "start_step": start_step}
    alone = training_stream(folder, **options).take(200)
    places = {fingerprint(batch): n for n, batch in enumerate(alone.as_numpy_iterator())}
    assert len(places) == 200
    shared = training_stream(folder, data_service=address, **options).take(20)
    found = [places[fingerprint(batch)] for batch in shared.as_numpy_iterator()]
    assert len(set(found)) == 20
    # In about their order: neither worker runs far ahead of what is asked for.
    assert max(found) < 100


@pytest.mark.slow
def test_every_video_is_evaluated_once(folder, address):
    options = {"batch_size": 4, "crop_size": 16, "num_clips": 2}
    shared = evaluation_dataset(folder, "train", data_service=address, **options)
    alone = evaluation_dataset(folder, "train", **options)

    def rows(dataset):
        return sorted(
            (int(batch["index"][row]), batch["views"][row].tobytes())
            for batch in dataset.as_numpy_iterator()
            for row in range(4)
            if batch["mask"][row]
        )

    found = rows(shared)
    assert [index for index, _ in found] == list(range(NUM_VIDEOS))
    assert found == rows(alone)


def test_bad_addresses_are_explained(folder):
    for address in ("localhost:5050", "grpc://host", "http://a:1"):
        with pytest.raises(ValueError, match=f"Received: data_service={address}"):
            training_stream(folder, batch_size=1, data_service=address)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"grpc://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(ValueError, match="No dispatcher"):
            training_stream(folder, batch_size=1, data_service=address)


def test_a_service_cannot_count_damage(folder, address):
    with pytest.raises(ValueError, match="damaged cannot be counted"):
        training_stream(
            folder,
            batch_size=1,
            on_damage="skip",
            damaged=tf.Variable(0, dtype=tf.int64),
            data_service=address,
        )


def start(*arguments, **options):
    """A process of scripts/data_service.py and the address that it prints."""
    process = command_runner.start(None, "scripts/data_service.py", *arguments, **options)
    process.wait_for(lambda: "\n" in process.stdout)
    return process, process.stdout.splitlines()[0].split()[-1]


@pytest.mark.slow
def test_the_script_runs_dispatcher_and_workers(folder):
    processes = []
    try:
        dispatcher, address = start("--role=dispatcher", cold=True)
        processes.append(dispatcher)
        host = f"--dispatcher={address.removeprefix('grpc://')}"
        for _ in range(2):
            worker, _ = start("--role=worker", host, "--host=localhost")
            processes.append(worker)
        dataset = evaluation_dataset(
            folder, "train", batch_size=2, crop_size=16, num_clips=1, data_service=address
        )
        seen = np.concatenate([b["index"][b["mask"]] for b in dataset.as_numpy_iterator()])
        assert sorted(seen) == list(range(NUM_VIDEOS))
    finally:
        for process in processes:
            process.end()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "--role is missing"), (["--role=worker"], "--dispatcher=host:port is missing")],
)
def test_the_script_explains_missing_flags(arguments, message):
    done = command_runner.run("scripts/data_service.py", *arguments, status=1)
    assert message in done.stderr and "Traceback" not in done.stderr


def test_the_script_explains_a_port_that_is_taken():
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        words = ["scripts/data_service.py", "--role=dispatcher", f"--port={port}"]
        ended = command_runner.run(*words, status=1)
    assert f"The dispatcher cannot listen on port {port}" in ended.error


def services(workers=2):
    service = tf.data.experimental.service
    dispatcher = service.DispatchServer()
    host = dispatcher.target.removeprefix("grpc://")
    config = service.WorkerConfig(dispatcher_address=host)
    return dispatcher, [service.WorkerServer(config) for _ in range(workers)]


def short_of(expected):
    """What the service gives ends after 3 batches of 2, of which `expected` rows were promised."""
    rows = {"index": tf.range(6), "views": tf.zeros((6, 1, 4))}
    batches = tf.data.Dataset.from_tensor_slices(rows).batch(2, drop_remainder=True)
    return service_watch.watched(batches, "grpc://nobody:1", expected)


def test_less_than_was_promised_is_an_error_that_says_how_much():
    whole = short_of(6)
    for _ in range(2):  # each iteration counts anew
        assert [list(batch["index"]) for batch in whole] == [[0, 1], [2, 3], [4, 5]]
    batches = iter(short_of(8))
    assert len([next(batches) for _ in range(3)]) == 3
    with pytest.raises(ValueError, match=r"The tf\.data service gave only 6 of 8 videos"):
        with damage.explained("data"):
            next(batches)


@pytest.mark.parametrize("lost", ["worker", "workers", "dispatcher"])
def test_a_wait_for_a_lost_process_ends_and_names_it(folder, monkeypatch, lost):
    """A stopped server is what a dead one is to its client, except that its port is closed."""
    said, dead = threading.Event(), []
    messages = []

    def end(message):
        messages.append(message)
        said.set()

    monkeypatch.setattr(service_watch, "_end", end)
    dispatcher, workers = services()
    address = dispatcher.target
    assert service_watch.lost_of(address) == ""
    monkeypatch.setattr(service_watch, "_answers", lambda target: target not in dead)
    names = service_watch._workers(address.removeprefix("grpc://"))
    endless = tf.data.Dataset.from_generator(
        lambda: iter(said.wait, True), output_signature=tf.TensorSpec([], bool)
    )
    watched = service_watch.watched(endless.batch(1), address, None, patience=0.2)
    waiting = threading.Thread(target=lambda: list(watched.take(1)), daemon=True)
    waiting.start()
    assert not said.wait(1)  # slow is not lost
    dead += {"worker": names[:1], "workers": names, "dispatcher": [address[7:]]}[lost]
    assert said.wait(10)
    expected = {
        "worker": f"1 of its 2 workers do not answer: {names[0]}",
        "workers": "2 of its 2 workers do not answer",
        "dispatcher": f"its dispatcher at {address[7:]} does not answer",
    }
    assert expected[lost] in messages[0] and "run the same command" in messages[0]
    del workers


@pytest.mark.slow
def test_an_evaluation_of_which_a_worker_is_killed_ends(folder):
    """Really killed, and seen by TensorFlow's own client, which would wait for ever."""
    code = (
        "import sys; from pipelines.input import evaluation_dataset, service_watch\n"
        "watched = service_watch.watched\n"
        "service_watch.watched = lambda *given: watched(*given, patience=2)\n"
        f"data = evaluation_dataset({folder!r}, 'train', batch_size=1, crop_size=16, "
        "data_service=sys.argv[1])\n"
        "for number, _ in enumerate(data):\n"
        "    print(number, flush=True)\n"
        "    sys.stdin.readline(); import time; time.sleep(0 if number else 3)\n"
    )
    dispatcher, address = start("--role=dispatcher")
    worker, name = start("--role=worker", f"--dispatcher={address}")
    client = command_runner.start(None, "-c", code, address)
    try:
        client.wait_for(lambda: "0\n" in client.stdout)
        worker.end()
        assert client.status(60) == 1
        silent = f"1 of its 1 workers do not answer: {name.removeprefix('grpc://')}"
        assert silent in client.error
    finally:
        for process in (client, worker, dispatcher):
            process.end()


def own_address():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        with contextlib.suppress(OSError):
            probe.connect(("192.0.2.1", 9))  # sends nothing
            return probe.getsockname()[0]
    return "127.0.0.1"


def connects(host, port):
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(own_address().startswith("127."), reason="This machine has no other address.")
def test_other_machines_reach_a_port_only_where_told():
    """Of a socket as TensorFlow's, which takes IPv4 and IPv6."""
    with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        port = server.getsockname()[1]
        hosts = ("127.0.0.1", "::1", own_address())
        assert [connects(host, port) for host in hosts] == [True] * 3
        loopback.restrict(port)
        assert [connects(host, port) for host in hosts] == [True, True, False]


@pytest.mark.slow
@pytest.mark.skipif(own_address().startswith("127."), reason="This machine has no other address.")
@pytest.mark.parametrize("bind", ["loopback", "all"])
def test_other_machines_reach_the_dispatcher_only_if_told(bind):
    dispatcher, address = start("--role=dispatcher", f"--bind={bind}")
    try:
        port = int(address.rpartition(":")[2])
        assert connects("127.0.0.1", port)
        assert connects(own_address(), port) == (bind == "all")
    finally:
        dispatcher.end()


def test_a_system_that_cannot_close_a_port_is_no_reason_to_leave_it_open():
    with socket.socket() as free, pytest.raises(OSError, match="no socket of this process"):
        free.bind(("", 0))
        loopback.restrict(free.getsockname()[1])
