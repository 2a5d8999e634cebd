"""Which machines train together: as listed, from TF_CONFIG, or from SLURM's variables.

TF_CONFIG is an environment variable, TensorFlow's own form of it: {"cluster": {"worker":
["host:port", ...]}, "task": {"type": "worker", "index": 0}}. The other two ways are brought into
that form here, and TensorFlow reads it.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence

_PORTS_OF_A_JOB = 16  # on one node: a task for each GPU of the largest machines


def describe_cluster(cluster: Sequence[str], task: int | None) -> dict | None:
    """Puts the cluster into TF_CONFIG, where TensorFlow looks for it.

    Args:
        cluster, task: See `make_strategy`.

    Returns:
        The content of TF_CONFIG, or None for a single machine.

    Raises:
        ValueError: If `cluster` or `task` is wrong, or TF_CONFIG cannot be read.
    """
    if not os.environ.get("TF_CONFIG"):
        # Empty is not unset for TensorFlow, which would try to read it.
        os.environ.pop("TF_CONFIG", None)
    config: dict | None
    if cluster:
        config = _from_list(list(cluster), task)
    elif task is not None:
        raise ValueError(f"task={task} says which worker this is, but no cluster was given.")
    elif "TF_CONFIG" in os.environ:
        config = _from_variable(os.environ["TF_CONFIG"])
    else:
        config = _from_slurm(os.environ)
    if config is None or len(config["cluster"]["worker"]) < 2:
        return None
    os.environ["TF_CONFIG"] = json.dumps(config)
    return config


def check_gpus_are_divided(config: dict, gpus: int) -> None:
    """Refuses workers of one machine that would each take all its GPUs.

    Args:
        config: The content of TF_CONFIG.
        gpus: How many this process sees.

    Raises:
        ValueError: If several workers run on this machine, and nothing gives each its own GPUs.
    """
    workers, index = config["cluster"]["worker"], config["task"]["index"]
    hosts = [address.rpartition(":")[0] for address in workers]
    here = hosts.count(hosts[index])
    # SLURM shows a task all GPUs of the step unless it binds them, so that numbers have to tell.
    of_step = os.environ.get("SLURM_GPUS_ON_NODE", "")
    if of_step.isdecimal():
        divided = here * gpus <= int(of_step)
    else:
        divided = "CUDA_VISIBLE_DEVICES" in os.environ
    if here > 1 and gpus and not divided:
        raise ValueError(
            f"{here} workers run on {hosts[index]}, and each would take all its GPUs "
            f"({gpus} seen by worker {index}). Start one worker on a machine, which trains on all "
            "its GPUs (SLURM: --ntasks-per-node=1), or give each its own (SLURM: "
            "--gpus-per-task=1; else CUDA_VISIBLE_DEVICES)."
        )


def _from_list(cluster: list[str], task: int | None) -> dict:
    for address in cluster:
        # Without brackets nobody can tell the last group of an IPv6 address from a port.
        port = re.fullmatch(r"(?:[^:\[\]]+|\[[0-9A-Fa-f:.%\w]+\]):(\d+)", str(address))
        if not port or not 0 < int(port[1]) < 65536:
            raise ValueError(
                "`cluster` must be host:port,host:port,... with IPv6 addresses in brackets, as in "
                f"[::1]:12345, and a port for each, 1 to 65535. Received: {address}"
            )
    if len(set(cluster)) != len(cluster):
        raise ValueError(f"cluster names an address twice. Received: cluster={','.join(cluster)}")
    if task is None or not 0 <= task < len(cluster):
        raise ValueError(
            f"`task` must be this worker's position in the cluster, 0 to {len(cluster) - 1}. "
            f"Received: task={task}"
        )
    return {"cluster": {"worker": cluster}, "task": {"type": "worker", "index": task}}


def _from_variable(text: str) -> dict | None:
    try:
        config = json.loads(text)
        workers = config.get("cluster", {}).get("worker", [])
        if not workers:
            return None
        index, kind = int(config["task"]["index"]), config["task"]["type"]
        if not isinstance(workers, list):
            raise TypeError("`worker` must be a list")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            'The variable TF_CONFIG must be JSON like {"cluster": {"worker": ["host:port", ...]}, '
            f'"task": {{"type": "worker", "index": 0}}}}. Received: TF_CONFIG={text}'
        ) from error
    if kind != "worker" or set(config["cluster"]) != {"worker"}:
        raise ValueError(
            "TF_CONFIG must name workers only: training has no parameter servers and the first "
            f"worker does the chief's work. Received: TF_CONFIG={text}"
        )
    return _from_list(list(workers), index)


def _from_slurm(variables: Mapping[str, str]) -> dict | None:
    """Reads what `srun` says of its own tasks; `sbatch` sets other variables, for its script."""
    if variables.get("SLURM_STEP_NUM_TASKS", "1") == "1":
        return None
    try:
        total, task = int(variables["SLURM_STEP_NUM_TASKS"]), int(variables["SLURM_PROCID"])
        nodes = _expand_nodes(variables["SLURM_STEP_NODELIST"])
        tasks = _expand_counts(variables["SLURM_STEP_TASKS_PER_NODE"])
        if len(nodes) != len(tasks) or sum(tasks) != total or not 0 <= task < total:
            raise ValueError("the numbers of nodes and tasks do not agree")
        # Jobs, and steps of a job, that share a node must not meet on one port.
        job, step = (int(variables.get(f"SLURM_{name}_ID", "0")) for name in ("JOB", "STEP"))
    except (KeyError, ValueError) as error:
        seen = {name: text for name, text in variables.items() if name.startswith("SLURM_STEP_")}
        raise ValueError(
            f"SLURM's variables do not describe the tasks that srun started ({error!r}). Give "
            f"`cluster` (host:port,...) and `task` instead. Received: {seen}"
        ) from error
    # A block for each, since neighbours in number often share a node; all of them are below the
    # ports that Linux gives to others, from 32768 on.
    first = 20000 + _PORTS_OF_A_JOB * (job + 101 * step) % 12000
    cluster = [f"{node}:{first + i}" for node, count in zip(nodes, tasks) for i in range(count)]
    return _from_list(cluster, task)


def _expand_nodes(text: str) -> list[str]:
    """SLURM's short form of host names, written out: "a[1-2,07],b" -> a1, a2, a07, b."""
    names = []
    for prefix, ranges, plain in re.findall(r"([^,\[\]]+)\[([^\]]+)\]|([^,\[\]]+)", text):
        if plain:
            names.append(plain)
        for part in ranges.split(",") if ranges else ():
            first, _, last = part.partition("-")
            for number in range(int(first), int(last or first) + 1):
                names.append(f"{prefix}{number:0{len(first)}d}")
    return names


def _expand_counts(text: str) -> list[int]:
    """SLURM's short form of tasks per node, written out: "2(x3),1" -> 2, 2, 2, 1."""
    counts = []
    for count, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", text):
        counts += [int(count)] * int(times or 1)
    return counts
