"""Trainings that are killed, stopped or damaged end where an undisturbed one ends."""

import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import small_dataset
import small_training
from small_training import Options

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    options = Options(str(tmp_path_factory.mktemp("undisturbed")), wide=400_000)
    assert small_training.run(options) == 0, small_training.output(options)
    return small_training.final(options)


def assert_same(state, expected):
    assert state.keys() == expected.keys()
    for name in state:
        np.testing.assert_array_equal(state[name], expected[name], err_msg=name)


def starts(options):
    path = Path(options.work_dir) / "starts.txt"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def logged_step(options):
    path = Path(options.work_dir) / "log.jsonl"
    if not path.exists():
        return 0
    lines = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return small_dataset.json.loads(lines[-1])["step"] if lines else 0


def wait_for(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while not condition() and process.is_alive() and time.monotonic() < end:
        time.sleep(0.001)


def test_twenty_kills_at_random_moments_change_nothing(tmp_path, undisturbed, record_property):
    seed = int.from_bytes(os.urandom(4), "big")
    draw = random.Random(seed)
    # A checkpoint at every step of a few milliseconds, so that many kills fall into a write.
    options = Options(
        str(tmp_path), wide=400_000, checkpoint_every=1, steps_per_call=1, step_seconds=0.01
    )
    lost, kills, unfinished = [], 0, 0
    while kills < 20:
        before = len(starts(options))
        process = small_training.start(options)
        wait_for(lambda before=before: len(starts(options)) > before, process)
        start = starts(options)[-1]
        # A step or two on, so that twenty kills fit into thirty steps.
        wait_for(lambda start=start: logged_step(options) > start, process)
        if kills % 2:
            wait_for(lambda: list(tmp_path.glob("checkpoints/*.unfinished")), process)
        else:
            time.sleep(draw.uniform(0, 0.04))
        process.kill()
        process.join()
        if process.exitcode == 0:
            break
        kills += 1
        unfinished += any(Path(tmp_path, "checkpoints").glob("*.unfinished"))
        reached = logged_step(options)
        newest = max(
            (int(path.stem[5:]) for path in Path(tmp_path, "checkpoints").glob("step_*.npz")),
            default=0,
        )
        lost.append(reached - newest)
    assert small_training.run(options) == 0, small_training.output(options)
    print(f"seed {seed}: {kills} kills, {unfinished} during a write, steps lost: {lost}")
    record_property("steps_lost", lost)
    assert kills >= 15 and unfinished >= 3, f"seed {seed}"
    assert max(lost) <= 1, f"seed {seed}"
    assert_same(small_training.final(options), undisturbed)
    table = (tmp_path / "log.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in table[1:]] == [["1", "10"], ["2", "20"], ["3", "30"]]
    steps = [
        line["step"]
        for line in small_dataset.read_lines(tmp_path / "log.jsonl")
        if line["kind"] == "train"
    ]
    assert steps == list(range(1, 31)), f"seed {seed}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_to_stop_saves_and_exits_with_its_own_status(tmp_path, undisturbed, number):
    options = Options(str(tmp_path), wide=400_000, step_seconds=0.1, checkpoint_every=1000)
    process = small_training.start(options)
    wait_for(lambda: logged_step(options) >= 2, process)
    os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode == 75, small_training.output(options)
    stopped_at = logged_step(options)
    assert stopped_at < 30
    assert small_training.run(options) == 0
    assert starts(options) == [0, stopped_at]
    assert_same(small_training.final(options), undisturbed)


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(tmp_path, undisturbed):
    options = Options(str(tmp_path), wide=400_000, step_seconds=0.1)
    process = small_training.start(options)
    wait_for(lambda: (tmp_path / "checkpoints" / "step_0000000010.npz").exists(), process)
    process.kill()
    process.join()
    newest = sorted((tmp_path / "checkpoints").glob("step_*.npz"))[-1]
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 0xFF
    newest.write_bytes(content)
    assert small_training.run(options) == 0
    assert 0 < starts(options)[1] < int(newest.stem[5:])
    assert f"{newest} is damaged" in small_training.output(options)
    assert_same(small_training.final(options), undisturbed)


def test_an_average_of_the_weights_resumes_exactly(tmp_path):
    whole = Options(str(tmp_path / "whole"), average_decay=0.9, epochs=1)
    assert small_training.run(whole) == 0
    parts = Options(
        str(tmp_path / "parts"), average_decay=0.9, epochs=1, step_seconds=0.2, checkpoint_every=2
    )
    process = small_training.start(parts)
    wait_for(lambda: logged_step(parts) >= 4, process)
    process.kill()
    process.join()
    assert small_training.run(parts) == 0
    assert_same(small_training.final(parts), small_training.final(whole))
    assert any(name.startswith("average/") for name in small_training.final(parts))
