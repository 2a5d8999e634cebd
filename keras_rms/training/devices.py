"""What a run computes on, and whether it can carry out a recipe."""

import contextlib
import dataclasses
import os

import keras
import tensorflow as tf

from keras_rms.training.recipe import Recipe
from keras_rms.training.running import Running
from keras_rms.training.workers import jax_devices, strategies

BACKENDS = ("tensorflow", "jax")


@dataclasses.dataclass(frozen=True)
class Devices:
    """The devices of this process and of the other workers.

    Attributes:
        strategy: See `make_strategy`.
        backend: One of `BACKENDS`.
        kind: CPU, GPU or TPU.
        worker: This process's position among the workers.
        workers: How many processes train together.
        replicas: Devices of all workers together.
        onednn: Whether TensorFlow uses oneDNN on CPUs.
        distribution: Of several devices on the JAX backend; see `jax_devices`.
    """

    strategy: tf.distribute.Strategy
    backend: str
    kind: str
    worker: int
    workers: int
    replicas: int
    onednn: bool
    distribution: keras.distribution.DataParallel | None = None

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes the run's files and tells the user."""
        return self.worker == 0

    @property
    def trains_on_tensorflow_cpus(self) -> bool:
        """Whether TensorFlow does the work, on CPUs."""
        return (self.backend, self.kind) == ("tensorflow", "CPU")

    @property
    def share_one_batch(self) -> bool:
        """Whether batch normalisation sees the clips of all devices, whatever the recipe."""
        return self.backend == "jax" or self.replicas == 1

    def data_parallel(self) -> contextlib.AbstractContextManager:
        """While active, Keras distributes what it makes and computes; only JAX needs it."""
        return self.distribution.scope() if self.distribution else contextlib.nullcontext()

    def check(self, recipe: Recipe, jit_compile: bool, deterministic: bool = False) -> None:
        """Raises ValueError if a recipe cannot be carried out here."""
        # Before the network is built, which takes a while.
        share = strategies.replica_batch_size(self.replicas, recipe.batch_size)
        if share % recipe.accumulation:
            raise ValueError(
                f"`accumulation` must divide the {share} clips of each replica. "
                f"Received: accumulation={recipe.accumulation}"
            )
        if self.backend == "jax":
            self._check_on_jax(recipe.precise_bn_steps, deterministic)
        if self.trains_on_tensorflow_cpus:
            self._check_on_tensorflow_cpus(recipe.precision, jit_compile)

    def _check_on_jax(self, precise_bn_steps: int, deterministic: bool) -> None:
        if precise_bn_steps:
            raise ValueError(
                "`precise_bn_steps` needs KERAS_BACKEND=tensorflow. Received: "
                f"precise_bn_steps={precise_bn_steps}"
            )
        if deterministic and self.kind != "CPU":
            raise ValueError(
                f"On a {self.kind} `deterministic` needs KERAS_BACKEND=tensorflow: on jax XLA "
                "alone decides in which order it adds. Leave it out; what XLA has for this is in "
                f"its own XLA_FLAGS. Received: deterministic={deterministic}"
            )

    def _check_on_tensorflow_cpus(self, precision: str, jit_compile: bool) -> None:
        if jit_compile and self.replicas > 1:
            raise ValueError(
                "XLA does not run under several CPU replicas. Leave `jit_compile` out. "
                f"Received: jit_compile={jit_compile}"
            )
        if precision == "mixed_float16":
            raise ValueError(
                "On CPUs TensorFlow computes in float16 many times slower than in float32, and "
                f"lacks a part of it. `precision` must be float32. Received: precision={precision}"
            )
        if precision == "mixed_bfloat16" and self.onednn:
            # Seen with TensorFlow 2.21 in one to five steps of a hundred.
            raise ValueError(
                "On CPUs TensorFlow's oneDNN now and then gives a gradient of NaN for a 3D "
                "convolution in bfloat16, and here it is on. Leave the environment variable "
                "TF_ENABLE_ONEDNN_OPTS unset, and the command turns oneDNN off, or set it to 0 "
                "before TensorFlow is imported. Else `precision` must be float32. Received: "
                f"precision={precision}, "
                f"TF_ENABLE_ONEDNN_OPTS={os.environ.get('TF_ENABLE_ONEDNN_OPTS', '')}"
            )


def take_devices(running: Running) -> Devices:
    """Finds the devices and the other workers; before TensorFlow runs its first operation.

    Raises:
        ValueError: If there are no such devices, or the backend cannot train.
        WorkerLost: If the other workers do not appear.
    """
    backend = keras.backend.backend()
    if backend not in BACKENDS:
        raise ValueError(f"Training runs on tensorflow or jax. Received: KERAS_BACKEND={backend}")
    if running.deterministic:
        _make_deterministic()
    on_jax = backend == "jax"
    strategy = strategies.make_strategy(
        0 if on_jax else running.replicas, running.cluster, running.task, running.worker_timeout
    )
    distribution = jax_devices.data_parallel(running.replicas) if on_jax else None
    return Devices(
        strategy,
        backend,
        strategies.device_kind(),
        strategies.worker_index(strategy),
        strategies.num_workers(strategy),
        distribution.device_mesh.devices.size if distribution else strategy.num_replicas_in_sync,
        _onednn_is_on(),
        distribution,
    )


def _onednn_is_on() -> bool:
    # TensorFlow has no public way to ask.
    from tensorflow.python.util import _pywrap_util_port

    return _pywrap_util_port.IsMklEnabled()


def _make_deterministic() -> None:
    tf.config.experimental.enable_op_determinism()
    # Even so, the last digit of sums depends on the threads, and on how TensorFlow rewrites its
    # graphs, which differs from process to process.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
