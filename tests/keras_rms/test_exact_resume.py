"""Trainings that are killed, stopped or damaged end where an undisturbed one ends."""

import os
import random
import signal
import time

import keras
import numpy as np
import pytest
import small_dataset
from small_training import final, output, run, start, starts, training

from keras_rms.training.work_dir import checkpoints

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    each = training(tmp_path_factory.mktemp("undisturbed"), width=400_000)
    assert run(each) == 0, output(each)
    return final(each)


def assert_same(state, expected):
    assert state.keys() == expected.keys()
    for name in state:
        np.testing.assert_array_equal(state[name], expected[name], err_msg=name)


def logged_step(folder):
    path = folder / "log.jsonl"
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
    each = training(
        tmp_path, width=400_000, checkpoint_every=1, steps_per_call=1, step_seconds=0.01
    )
    folder = tmp_path / "checkpoints"
    lost, kills, unfinished = [], 0, 0
    while kills < 20:
        before = len(starts(each))
        process = start(each)
        wait_for(lambda before=before: len(starts(each)) > before, process)
        begun = starts(each)[-1]
        # A step or two on, so that twenty kills fit into thirty steps.
        wait_for(lambda begun=begun: logged_step(tmp_path) > begun, process)
        if kills % 2:
            wait_for(lambda: list(folder.glob("unfinished.*")), process)
        else:
            time.sleep(draw.uniform(0, 0.04))
        process.kill()
        process.join()
        if process.exitcode == 0:
            break
        kills += 1
        unfinished += any(folder.glob("unfinished.*"))
        reached = logged_step(tmp_path)
        newest = max((int(path.stem[5:]) for path in folder.glob("step_*.npz")), default=0)
        lost.append(reached - newest)
    assert run(each) == 0, output(each)
    print(f"seed {seed}: {kills} kills, {unfinished} during a write, steps lost: {lost}")
    record_property("steps_lost", lost)
    assert kills >= 15 and unfinished >= 3, f"seed {seed}"
    assert max(lost) <= 1, f"seed {seed}"
    assert_same(final(each), undisturbed)
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
    each = training(tmp_path, width=400_000, step_seconds=0.1, checkpoint_every=1000)
    process = start(each)
    wait_for(lambda: logged_step(tmp_path) >= 2, process)
    os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode == 75, output(each)
    stopped_at = logged_step(tmp_path)
    assert stopped_at < 30
    assert run(each) == 0
    assert starts(each) == [0, stopped_at]
    assert_same(final(each), undisturbed)


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(tmp_path, undisturbed):
    each = training(tmp_path, width=400_000, step_seconds=0.1)
    process = start(each)
    wait_for(lambda: (tmp_path / "checkpoints" / "step_0000000010.npz").exists(), process)
    process.kill()
    process.join()
    newest = sorted((tmp_path / "checkpoints").glob("step_*.npz"))[-1]
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 0xFF
    newest.write_bytes(content)
    assert run(each) == 0
    assert 0 < starts(each)[1] < int(newest.stem[5:])
    assert f"{newest} is damaged" in output(each)
    assert_same(final(each), undisturbed)


def test_an_average_of_the_weights_resumes_exactly(tmp_path):
    options = {"average_decay": 0.9, "epochs": 1, "learning_rate": 1.0, "validation_seconds": 0.01}
    whole = training(tmp_path / "whole", **options)
    assert run(whole) == 0
    parts = training(tmp_path / "parts", **options, step_seconds=0.2, checkpoint_every=2)
    process = start(parts)
    wait_for(lambda: logged_step(tmp_path / "parts") >= 4, process)
    process.kill()
    process.join()
    assert run(parts) == 0
    found = final(parts)
    assert_same(found, final(whole))
    # What was validated, what is the best so far and what is kept are one network.
    best = checkpoints.read(tmp_path / "parts" / "checkpoints" / "best.npz")
    averaged = {n.removeprefix("average/"): a for n, a in best.items() if "average/" in n}
    assert {"bn/moving_mean", "bn/moving_variance", "bn/gamma", "conv/kernel"} <= averaged.keys()
    assert_same({n.removeprefix("model/"): a for n, a in found.items() if "model/" in n}, averaged)
    assert (averaged["bn/moving_mean"] != best["weight/bn/moving_mean"]).all()
    network = keras.saving.load_model(tmp_path / "parts" / "model.keras")
    chances = keras.ops.softmax(network(np.zeros((3, 4, 5, 6, 3), np.uint8)))
    loss = -np.log(np.diag(keras.ops.convert_to_numpy(chances))).mean()
    [epoch] = [
        x
        for x in small_dataset.read_lines(tmp_path / "parts" / "log.jsonl")
        if x["kind"] == "epoch"
    ]
    assert epoch["validation_loss"] == pytest.approx(loss, rel=1e-5)
