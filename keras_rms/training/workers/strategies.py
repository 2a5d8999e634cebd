"""Which devices a run uses: one, several of this machine, or those of several machines.

Words:
    replica   a device with its copy of the network
    worker    a process of a training on several machines, with all replicas of its machine
    cluster   the workers of a training, as "host:port" of each
    strategy  TensorFlow's object that runs a function on every replica and adds up their results

The strategy is chosen once, before TensorFlow's first operation, because devices can be made and
hidden only until then. All else asks the strategy.
"""

from collections.abc import Sequence

import keras
import tensorflow as tf

from keras_rms.training.workers.cluster import check_gpus_are_divided, describe_cluster
from keras_rms.training.workers.rendezvous import meet


def make_strategy(
    replicas: int = 0,
    cluster: Sequence[str] = (),
    task: int | None = None,
    worker_timeout: float = 600.0,
) -> tf.distribute.Strategy:
    """The strategy for this process; call it before TensorFlow runs its first operation.

    Several machines are recognised from `cluster` and `task`, from the variable TF_CONFIG, or from
    SLURM's variables when `srun` started several tasks, in this order. On the JAX backend this is
    the default strategy, for one device; see `jax_devices` for several.

    Args:
        replicas: Devices of this machine to use. 0 means every GPU, or one CPU device where there
            is no GPU; on a machine without a GPU, a number above 1 makes as many logical CPU
            devices.
        cluster: "host:port" of each worker; the same list on each of them.
        task: This worker's position in `cluster`.
        worker_timeout: Seconds to wait for the other workers.

    Returns:
        The default strategy for one device, else a `MirroredStrategy` or, for several machines, a
        `MultiWorkerMirroredStrategy`.

    Raises:
        ValueError: If there are not as many devices, if several workers would take the same GPUs,
            if the cluster's description is wrong, or if the backend is JAX and there are several
            workers or devices.
        WorkerLost: If the other workers do not appear.
    """
    config = describe_cluster(cluster, task)
    if keras.backend.backend() == "jax":
        if config:
            raise ValueError(
                "Several workers need KERAS_BACKEND=tensorflow. On jax leave out `cluster`, `task` "
                "and TF_CONFIG, and start one process. Received: workers="
                f"{','.join(config['cluster']['worker'])}"
            )
        if replicas > 1:
            raise ValueError(
                "On the JAX backend only training uses several devices. Leave out `replicas`, or "
                f"set KERAS_BACKEND=tensorflow. Received: replicas={replicas}"
            )
        tf.config.set_visible_devices([], "GPU")  # JAX wants its memory
        return tf.distribute.get_strategy()
    if config:
        check_gpus_are_divided(config, len(tf.config.list_physical_devices("GPU")))
    _choose_devices(replicas)
    if config:
        meet(config["cluster"]["worker"], config["task"]["index"], worker_timeout)
        return tf.distribute.MultiWorkerMirroredStrategy()
    names = [device.name for device in tf.config.list_logical_devices(device_kind())]
    return tf.distribute.MirroredStrategy(names) if len(names) > 1 else tf.distribute.get_strategy()


def device_kind() -> str:
    """CPU, GPU or TPU: what the network runs on."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.default_backend().upper()
    return "GPU" if tf.config.list_logical_devices("GPU") else "CPU"


def _choose_devices(replicas: int) -> None:
    if replicas < 0:
        raise ValueError(f"`replicas` must be 0 (all) or more. Received: replicas={replicas}")
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        if replicas > len(gpus):
            raise ValueError(
                f"replicas={replicas} devices were asked for, but this machine has {len(gpus)} "
                "GPU(s). Give at most as many, or hide the GPUs (CUDA_VISIBLE_DEVICES=) to try "
                "several replicas on the CPU."
            )
        tf.config.set_visible_devices(gpus[: replicas or len(gpus)], "GPU")
    elif replicas > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        # Logical devices can be set once only: a second run in one process asks for the same.
        logical = [tf.config.LogicalDeviceConfiguration()] * replicas
        if tf.config.get_logical_device_configuration(cpu) != logical:
            tf.config.set_logical_device_configuration(cpu, logical)


def worker_index(strategy: tf.distribute.Strategy) -> int:
    """This process's position among the workers; 0 on a single machine."""
    return int(getattr(strategy.cluster_resolver, "task_id", None) or 0)


def num_workers(strategy: tf.distribute.Strategy) -> int:
    """Number of processes that train together."""
    return len(worker_addresses(strategy)) or 1


def worker_addresses(strategy: tf.distribute.Strategy) -> list[str]:
    """The "host:port" of every worker; none on a single machine."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return []
    return list(strategy.cluster_resolver.cluster_spec().job_tasks("worker"))


def replica_batch_size(replicas: int, batch_size: int) -> int:
    """Clips of a global batch that each replica gets.

    Raises:
        ValueError: If the batch cannot be divided evenly.
    """
    if batch_size < 1 or batch_size % replicas:
        raise ValueError(
            f"batch_size is the number of clips over all devices and must be a multiple of the "
            f"{replicas} replicas, so that each gets as many. Received: batch_size={batch_size}. "
            f"Try {max(1, batch_size // replicas) * replicas}."
        )
    return batch_size // replicas


def distribute(strategy: tf.distribute.Strategy, data: tf.data.Dataset) -> tf.data.Dataset:
    """Gives each replica of this worker its part of the worker's batches.

    Args:
        strategy: The training's own.
        data: This worker's batches of (clips, labels), of one known size.
    """
    local = strategy.num_replicas_in_sync // num_workers(strategy)
    if local > 1:
        # The pipeline makes a worker's batch whole; here it is cut for the devices.
        data = data.rebatch(data.element_spec[1].shape[0] // local, drop_remainder=True)
    return strategy.distribute_datasets_from_function(lambda context: data)


def check_same_on_all_workers(strategy: tf.distribute.Strategy, name: str, value: float) -> None:
    """Raises ValueError unless every worker calls it with the same number."""
    if num_workers(strategy) == 1:
        return

    @tf.function(autograph=False)
    def agree() -> tf.Tensor:
        return strategy.run(mean)

    def mean() -> tf.Tensor:
        replica = tf.distribute.get_replica_context()
        # float64 holds a checksum of 32 bits exactly, and a mean of equal ones too.
        own = tf.identity(tf.constant(value, tf.float64))
        return replica.all_reduce(tf.distribute.ReduceOp.MEAN, own)

    agreed = float(strategy.experimental_local_results(agree())[0])
    if agreed != value:
        raise ValueError(
            f"The workers do not agree on the {name}: it is {value:g} here and {agreed:g} on "
            "average. The work folder and the data must be the same folders, on storage that all "
            "workers share, and all must be started with the same flags."
        )
