"""Two processes on the loopback train as one, and end when one of them is lost."""

import os
import signal
import time
from pathlib import Path

import command_runner
import numpy as np
import pytest
import small_dataset
from small_dataset import read_lines
from small_training import final, free_ports, memory, output, run, start, starts, training

pytestmark = pytest.mark.slow


def start_two(folder, **options):
    cluster = free_ports(2)
    both = [training(folder, cluster=cluster, task=task, **options) for task in (0, 1)]
    return both, [start(each) for each in both]


def join(processes, seconds=240):
    for process in processes:
        process.join(seconds)
    return [process.exitcode for process in processes]


def losses(folder):
    return [line["loss"] for line in read_lines(Path(folder) / "log.jsonl")]


def assert_close(state, expected, tolerance):
    assert state.keys() == expected.keys()
    for name in state:
        np.testing.assert_allclose(
            state[name], expected[name], rtol=tolerance, atol=tolerance, err_msg=name
        )


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    each = training(tmp_path_factory.mktemp("alone"), rms="none", epochs=2)
    assert run(each) == 0, output(each)
    return each


def test_two_workers_equal_one_with_the_whole_batch(tmp_path, alone):
    both, processes = start_two(tmp_path, rms="none", sync_bn=True, epochs=2)
    assert join(processes) == [0, 0], output(both[0])
    np.testing.assert_allclose(losses(tmp_path), losses(alone.running.work_dir), rtol=1e-5)
    assert_close(memory(both[0], 0), memory(both[1], 1), 0)
    assert_close(final(both[0]), final(alone), 1e-5)


def test_two_replicas_equal_one_with_the_whole_batch(tmp_path, alone):
    each = training(tmp_path, replicas=2, rms="none", sync_bn=True, epochs=2)
    assert run(each) == 0, output(each)
    np.testing.assert_allclose(losses(tmp_path), losses(alone.running.work_dir), rtol=1e-5)
    assert_close(final(each), final(alone), 1e-5)


def test_a_killed_worker_ends_the_other_and_both_resume(tmp_path):
    whole = tmp_path / "whole"
    both, processes = start_two(whole)
    assert join(processes) == [0, 0], output(both[0])
    parts = tmp_path / "parts"
    both, processes = start_two(parts, step_seconds=0.1)
    checkpoint = parts / "checkpoints" / "step_0000000008.npz"
    end = time.monotonic() + 120
    while not checkpoint.exists() and processes[0].is_alive() and time.monotonic() < end:
        time.sleep(0.05)
    processes[1].kill()
    killed = time.monotonic()
    processes[0].join(120)
    seconds = time.monotonic() - killed
    assert processes[0].exitcode == 76, output(both[0])
    assert seconds < 60
    message = output(both[0])
    assert "Another worker stopped after step" in message and "Traceback" not in message
    again, processes = start_two(parts)
    assert join(processes) == [0, 0], output(again[0])
    assert starts(again[0])[1] >= 8
    assert_close(final(again[0]), final(training(whole)), 1e-6)
    for worker in (0, 1):
        assert_close(memory(again[0], worker), memory(training(whole), worker), 1e-6)


def test_a_worker_killed_in_a_validation_ends_the_other(tmp_path):
    """When the workers exchange nothing, and it takes longer than anybody wants to wait."""
    both, processes = start_two(tmp_path, epochs=1, validation_seconds=90)
    end = time.monotonic() + 120
    while len(list(tmp_path.glob("validating_*"))) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    processes[0].kill()
    started = time.monotonic()
    processes[1].join(85)
    assert processes[1].exitcode == 76, output(both[1])
    assert time.monotonic() - started < 60
    message = output(both[1])
    assert f"Worker {both[0].running.cluster[0]} does not answer any more" in message
    assert "Start the same command on all workers again" in message and "Traceback" not in message


def test_a_request_to_stop_one_worker_stops_both_at_one_step(tmp_path):
    both, processes = start_two(tmp_path, step_seconds=0.1, checkpoint_every=1000)
    log = tmp_path / "log.jsonl"
    end = time.monotonic() + 120
    while not (log.exists() and log.read_text()) and time.monotonic() < end:
        time.sleep(0.05)
    os.kill(processes[1].pid, signal.SIGTERM)
    assert join(processes) == [75, 75], output(both[0])
    saved = sorted((tmp_path / "checkpoints").glob("step_*.npz"))
    assert f"after step {int(saved[-1].stem[5:])}," in output(both[1])


def test_a_frozen_worker_ends_the_other_after_the_time_allowed(tmp_path):
    both, processes = start_two(tmp_path, step_seconds=0.1, worker_timeout=30)
    log = tmp_path / "log.jsonl"
    end = time.monotonic() + 120
    while not (log.exists() and log.read_text()) and time.monotonic() < end:
        time.sleep(0.05)
    os.kill(processes[1].pid, signal.SIGSTOP)
    try:
        processes[0].join(90)
        assert processes[0].exitcode == 76, output(both[0])
        assert "Traceback" not in output(both[0])
    finally:
        processes[1].kill()


def test_a_validation_may_take_longer_than_workers_wait_for_each_other(tmp_path):
    both, processes = start_two(tmp_path, epochs=1, validation_seconds=16, worker_timeout=15)
    assert join(processes) == [0, 0], output(both[0])


def test_an_absent_worker_is_named(tmp_path):
    cluster = free_ports(2)
    each = training(tmp_path, cluster=cluster, task=0, worker_timeout=3)
    assert run(each) == 76
    assert f"nothing was heard from {cluster[1]}." in output(each)


def test_the_command_trains_on_two_workers(tmp_path):
    data = small_dataset.make_dataset(tmp_path / "data")
    flags = [f"--data={data}", f"--work_dir={tmp_path / 'run'}", *command_runner.SMALL_TRAINING]
    flags.append(f"--cluster={','.join(free_ports(2))}")
    workers = [
        command_runner.start(None, "scripts/train.py", *flags, f"--task={task}") for task in (0, 1)
    ]
    for worker in workers:
        assert worker.status() == 0, worker.stderr
    # The second worker has nothing to say and writes nothing that the first does.
    assert "epoch 1/1 done" in workers[0].stdout and not workers[1].stdout
    rows = (tmp_path / "run" / "log.csv").read_text().splitlines()
    assert [row.split(",")[1] for row in rows[1:]] == ["3"]
    assert len(list((tmp_path / "run" / "tensorboard").glob("events.*"))) == 1
    assert (tmp_path / "run" / "model.keras").exists()
