"""Which machines and devices a training finds in flags and variables."""

import json

import pytest
import tensorflow as tf
from small_training import mirrored_strategy

from keras_rms.training import strategies

ADDRESSES = ["one:2222", "two:2222", "three:2222"]


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in ("TF_CONFIG", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_JOB_NODELIST"):
        monkeypatch.delenv(name, raising=False)


def tf_config(workers, index, kind="worker"):
    return json.dumps({"cluster": {"worker": workers}, "task": {"type": kind, "index": index}})


def test_a_list_of_addresses_becomes_tf_config(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "")
    strategies.describe_cluster(ADDRESSES, 1)
    import os

    assert json.loads(os.environ["TF_CONFIG"]) == json.loads(tf_config(ADDRESSES, 1))


def test_tf_config_is_read(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", tf_config(ADDRESSES, 2))
    config = strategies.describe_cluster([], None)
    assert config["cluster"]["worker"] == ADDRESSES and config["task"]["index"] == 2


def test_one_machine_is_no_cluster(monkeypatch):
    assert strategies.describe_cluster([], None) is None
    monkeypatch.setenv("TF_CONFIG", tf_config(ADDRESSES[:1], 0))
    assert strategies.describe_cluster([], None) is None
    monkeypatch.setenv("TF_CONFIG", "{}")
    assert strategies.describe_cluster([], None) is None


@pytest.mark.parametrize(
    ("nodes", "tasks", "expected"),
    [
        ("a[08-10],b", "1(x4)", ["a08", "a09", "a10", "b"]),
        ("gpu[1,3-4]", "1", ["gpu1", "gpu3", "gpu4"]),
        ("x-1,x-2", "2(x2)", ["x-1", "x-1", "x-2", "x-2"]),
        ("n[1-2]", "2,1", ["n1", "n1", "n2"]),
    ],
)
def test_slurm_is_recognised(monkeypatch, nodes, tasks, expected):
    variables = {
        "SLURM_NTASKS": str(len(expected)),
        "SLURM_PROCID": "1",
        "SLURM_JOB_ID": "41",
        "SLURM_JOB_NODELIST": nodes,
        "SLURM_STEP_TASKS_PER_NODE": tasks,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TF_CONFIG", "")
    config = strategies.describe_cluster([], None)
    workers = config["cluster"]["worker"]
    assert [worker.split(":")[0] for worker in workers] == expected
    assert len(set(workers)) == len(workers) and config["task"]["index"] == 1


@pytest.mark.parametrize(
    ("cluster", "task", "message"),
    [
        (["one", "two:2"], 0, "Received: one"),
        (["one:1", "one:1"], 0, "twice"),
        (ADDRESSES, None, "0 to 2. Received: task=None"),
        (ADDRESSES, 3, "Received: task=3"),
        ([], 1, "no cluster was given"),
    ],
)
def test_wrong_addresses_and_tasks(cluster, task, message):
    with pytest.raises(ValueError, match=message):
        strategies.describe_cluster(cluster, task)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must be JSON like"),
        (json.dumps({"cluster": {"worker": ADDRESSES}}), "must be JSON like"),
        (tf_config(ADDRESSES, 0, "ps"), "workers only"),
    ],
)
def test_a_wrong_tf_config(monkeypatch, text, message):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match=message):
        strategies.describe_cluster([], None)


def test_devices_of_this_machine():
    # The tests run with two logical CPU devices; see conftest.py.
    assert strategies.make_strategy(2).num_replicas_in_sync == 2
    with pytest.raises(ValueError, match="replicas=-1"):
        strategies.make_strategy(-1)


def test_more_gpus_than_there_are(monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["one"])
    with pytest.raises(ValueError, match="has 1 GPU"):
        strategies.make_strategy(2)


def test_a_batch_must_divide_evenly():
    strategy = mirrored_strategy()
    assert strategies.replica_batch_size(strategy, 6) == 3
    with pytest.raises(ValueError, match=r"Received: batch_size=7\. Try 6"):
        strategies.replica_batch_size(strategy, 7)


def test_replicas_get_consecutive_parts_of_a_batch():
    strategy = mirrored_strategy()
    data = tf.data.Dataset.range(12).map(lambda i: (i * 10, i)).batch(4, drop_remainder=True)
    batch = next(iter(strategies.distribute(strategy, data)))
    clips, labels = (strategy.experimental_local_results(part) for part in batch)
    assert [part.numpy().tolist() for part in labels] == [[0, 1], [2, 3]]
    assert [part.numpy().tolist() for part in clips] == [[0, 10], [20, 30]]


def test_one_process_agrees_with_itself():
    strategies.check_same_on_all_workers(tf.distribute.get_strategy(), "step", 3)
