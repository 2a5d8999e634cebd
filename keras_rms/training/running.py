"""How a training is carried out."""

import dataclasses
import os

from keras_rms import arguments
from keras_rms.training.work_dir.initial_weights import HEADS


@dataclasses.dataclass(frozen=True)
class Running:
    """Where a run leaves its files and what it runs on; may change each time that it is continued.

    Example:

    >>> running = Running("runs/rms", replicas=2)

    Attributes:
        work_dir: Folder of all results, on storage that all workers share.
        init_from: Work folder, `.keras` file, checkpoint, or name or folder of a preset whose
            weights to start from. It is used before the first step only and may be gone later.
        init_head: Whether to take its last layer too; see `initialise_from`.
        replicas, cluster, task, worker_timeout: See `make_strategy`, and `data_parallel` in
            `workers.jax_devices` for `replicas` on the JAX backend.
        checkpoint_every: Steps from one checkpoint to the next, beside those at an epoch's end.
        keep_checkpoints: How many of the newest checkpoints remain, beside the best.
        steps_per_call: Steps from one log line to the next; 0 for as many as take about a second.
        jit_compile: Whether XLA compiles the forward and backward pass.
        deterministic: Whether the run can be repeated bit by bit, at some cost in speed.

    Raises:
        ValueError: If a value is out of range; names it.
    """

    work_dir: str | os.PathLike
    init_from: str | os.PathLike | None = None
    init_head: str = "auto"
    replicas: int = 0
    cluster: tuple[str, ...] = ()
    task: int | None = None
    worker_timeout: float = 600.0
    checkpoint_every: int = 500
    keep_checkpoints: int = 3
    steps_per_call: int = 0
    jit_compile: bool = False
    deterministic: bool = False

    def __post_init__(self) -> None:
        for name in ("checkpoint_every", "keep_checkpoints"):
            arguments.positive_integer(name, getattr(self, name))
        for name in ("replicas", "steps_per_call"):
            arguments.validate_count(name, getattr(self, name))
        arguments.validate_choice("init_head", self.init_head, HEADS)
        arguments.validate_positive("worker_timeout", self.worker_timeout)
