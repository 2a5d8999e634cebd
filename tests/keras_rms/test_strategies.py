"""Which machines and devices a training finds in flags and variables."""

import json
import os

import keras
import pytest
import tensorflow as tf
from replicas import mirrored_strategy

from keras_rms.training.workers import cluster, strategies

ADDRESSES = ["one:2222", "two:2222", "three:2222"]


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("TF_CONFIG", "SLURM_"))]:
        monkeypatch.delenv(name)
    # What a test leaves in it is taken back.
    monkeypatch.setenv("TF_CONFIG", "")
    monkeypatch.delenv("TF_CONFIG")


def tf_config(workers, index, kind="worker"):
    return json.dumps({"cluster": {"worker": workers}, "task": {"type": kind, "index": index}})


def test_a_list_of_addresses_becomes_tf_config():
    strategies.describe_cluster(ADDRESSES, 1)
    assert json.loads(os.environ["TF_CONFIG"]) == json.loads(tf_config(ADDRESSES, 1))


def test_addresses_of_ipv6_have_brackets():
    addresses = ["[::1]:2222", "[fe80::1%eth0]:2222", "two.example-host_b:2222"]
    assert strategies.describe_cluster(addresses, 1)["cluster"]["worker"] == addresses


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
    # TensorFlow's own strategies fail on an empty one.
    monkeypatch.setenv("TF_CONFIG", "")
    assert strategies.describe_cluster([], None) is None
    assert "TF_CONFIG" not in os.environ


def set_slurm(monkeypatch, nodes="n[1-2]", tasks="1(x2)", total=2, **others):
    """What srun sets for its second task, as its manual says."""
    variables = {
        "SLURM_JOB_ID": "41",
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NODELIST": nodes,
        "SLURM_STEP_TASKS_PER_NODE": tasks,
        "SLURM_STEP_NUM_TASKS": str(total),
        "SLURM_PROCID": "1",
        **others,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("nodes", "tasks", "expected"),
    [
        ("a[08-10],b", "1(x4)", ["a08", "a09", "a10", "b"]),
        ("gpu[1,3-4]", "1(x3)", ["gpu1", "gpu3", "gpu4"]),
        ("x-1,x-2", "2(x2)", ["x-1", "x-1", "x-2", "x-2"]),
        ("n[1-2]", "2,1", ["n1", "n1", "n2"]),
    ],
)
def test_slurm_is_recognised(monkeypatch, nodes, tasks, expected):
    set_slurm(monkeypatch, nodes, tasks, len(expected))
    config = strategies.describe_cluster([], None)
    workers = config["cluster"]["worker"]
    assert [worker.split(":")[0] for worker in workers] == expected
    assert len(set(workers)) == len(workers) and config["task"]["index"] == 1


def test_jobs_and_steps_that_share_a_node_have_their_own_ports(monkeypatch):
    clusters = []
    for variables in ({}, {"SLURM_JOB_ID": "42"}, {"SLURM_STEP_ID": "1"}):
        set_slurm(monkeypatch, "n1", "8", 8, **variables)
        clusters += strategies.describe_cluster([], None)["cluster"]["worker"]
        monkeypatch.delenv("TF_CONFIG")
    assert len(set(clusters)) == 3 * 8


def test_the_script_of_sbatch_alone_is_one_machine(monkeypatch):
    # It has the job's variables, but nobody has started its other tasks.
    for name, value in (("NTASKS", "4"), ("PROCID", "0"), ("JOB_NODELIST", "n[1-4]")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert strategies.describe_cluster([], None) is None
    set_slurm(monkeypatch, "n1", "1", 1, SLURM_PROCID="0")
    assert strategies.describe_cluster([], None) is None


@pytest.mark.parametrize(
    "variables",
    [
        {"SLURM_STEP_NUM_TASKS": "two"},
        {"SLURM_PROCID": "2"},
        {"SLURM_STEP_NODELIST": "n[1-x]"},
        {"SLURM_STEP_NODELIST": "rack[1-2]n[1-2]"},
        {"SLURM_STEP_TASKS_PER_NODE": "3"},
        {"SLURM_STEP_TASKS_PER_NODE": "2(x2)"},
    ],
)
def test_slurm_s_variables_must_make_sense(monkeypatch, variables):
    set_slurm(monkeypatch, **variables)
    with pytest.raises(ValueError, match=r"Give `cluster` \(host:port"):
        strategies.describe_cluster([], None)
    set_slurm(monkeypatch)
    monkeypatch.delenv("SLURM_STEP_NODELIST")
    with pytest.raises(ValueError, match="SLURM_STEP_NODELIST"):
        strategies.describe_cluster([], None)


@pytest.mark.parametrize(
    ("cluster", "task", "message"),
    [
        (["one", "two:2"], 0, "Received: one"),
        (["one:65536", "two:2"], 0, "1 to 65535. Received: one:65536"),
        (["one:1", "one:1"], 0, "twice"),
        (["::1:5", "two:2"], 0, r"brackets, as in \[::1\]:12345, .* Received: ::1:5"),
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
        ("[]", "must be JSON like"),
        (json.dumps({"cluster": {"worker": ADDRESSES}}), "must be JSON like"),
        (tf_config("one:1,two:2", 0), "must be JSON like"),
        (tf_config(ADDRESSES, "first"), "must be JSON like"),
        (tf_config([1, 2], 0), "Received: 1"),
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


def test_what_jax_leaves_to_tensorflow(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    assert strategies.make_strategy(1).num_replicas_in_sync == 1
    with pytest.raises(ValueError, match=r"only training uses several.*Received: replicas=2"):
        strategies.make_strategy(2)
    with pytest.raises(ValueError, match=f"`cluster`, `task`.*workers={ADDRESSES[0]}"):
        strategies.make_strategy(cluster=ADDRESSES, task=0)


def test_more_gpus_than_there_are(monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["one"])
    with pytest.raises(ValueError, match="has 1 GPU"):
        strategies.make_strategy(2)


@pytest.mark.parametrize(
    ("variables", "gpus"),
    [
        ({}, 4),
        ({"SLURM_GPUS_ON_NODE": "4", "CUDA_VISIBLE_DEVICES": "0,1,2,3"}, 4),
        ({"SLURM_GPUS_ON_NODE": "1", "CUDA_VISIBLE_DEVICES": "0"}, 1),
        ({"SLURM_GPUS_ON_NODE": "(null)"}, 1),
    ],
)
def test_workers_that_would_take_the_same_gpus_are_refused(monkeypatch, variables, gpus):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["gpu"] * gpus)
    set_slurm(monkeypatch, "n[1-2]", "1,2", 3, **variables)
    with pytest.raises(ValueError, match=rf"2 workers run on n2.*\({gpus} seen by worker 1\)"):
        strategies.make_strategy()


@pytest.mark.parametrize(
    ("hosts", "variables", "gpus"),
    [
        (["n1", "n2"], {}, 4),
        (["n1", "n1"], {}, 0),
        (["n1", "n1"], {"CUDA_VISIBLE_DEVICES": "1"}, 1),
        (["n1", "n1", "n2"], {"SLURM_GPUS_ON_NODE": "2", "CUDA_VISIBLE_DEVICES": "0"}, 1),
        (["n1", "n2", "n2"], {"SLURM_GPUS_ON_NODE": "4"}, 4),
    ],
)
def test_workers_with_gpus_of_their_own_are_taken(monkeypatch, hosts, variables, gpus):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    workers = [f"{host}:{port}" for port, host in enumerate(hosts, 2222)]
    cluster.check_gpus_are_divided(json.loads(tf_config(workers, 0)), gpus)


def test_a_batch_must_divide_evenly():
    assert strategies.replica_batch_size(2, 6) == 3
    with pytest.raises(ValueError, match=r"Received: batch_size=7\. Try 6"):
        strategies.replica_batch_size(2, 7)


def test_replicas_get_consecutive_parts_of_a_batch():
    strategy = mirrored_strategy()
    data = tf.data.Dataset.range(12).map(lambda i: (i * 10, i)).batch(4, drop_remainder=True)
    batch = next(iter(strategies.distribute(strategy, data)))
    clips, labels = (strategy.experimental_local_results(part) for part in batch)
    assert [part.numpy().tolist() for part in labels] == [[0, 1], [2, 3]]
    assert [part.numpy().tolist() for part in clips] == [[0, 10], [20, 30]]


def test_one_process_agrees_with_itself():
    strategies.check_same_on_all_workers(tf.distribute.get_strategy(), "step", 3)
