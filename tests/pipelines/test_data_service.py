"""The same batches from a tf.data service with two workers."""

import socket

import command_runner
import numpy as np
import pytest
import tensorflow as tf
from coded_videos import coded_video, write_folder

from pipelines.input import evaluation_dataset, training_stream

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
