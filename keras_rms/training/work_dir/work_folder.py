"""What is where in the folder of a run."""

import os
from pathlib import Path

from keras_rms.training.work_dir import checkpoints


class WorkFolder:
    """The places of a run's files; nothing else spells their names.

    Example:

    >>> network = keras.saving.load_model(WorkFolder("runs/rms").model)

    Args:
        path: The folder, which need not exist yet.

    Attributes:
        path: The folder.
        model: The finished network in Keras's own format.
        settings: JSON; see `settings.write`.
        checkpoints: Folder of what `checkpoints.Checkpoints` writes.
        table, lines, events: The logs; see `run_log.RunLog`.
        evaluation: Folder of the results of `keras-rms evaluate`.
        lock: Held while a process trains here; see `lock.lock`.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        self.model = self.path / "model.keras"
        self.settings = self.path / "settings.json"
        self.checkpoints = self.path / "checkpoints"
        self.table = self.path / "log.csv"
        self.lines = self.path / "log.jsonl"
        self.events = self.path / "tensorboard"
        self.evaluation = self.path / "evaluation"
        self.lock = self.path / ".lock"

    def __str__(self) -> str:
        return str(self.path)

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end."""
        return self.model.exists()

    @property
    def begun(self) -> bool:
        """Whether there is something of a run: a checkpoint, or the finished network."""
        return self.finished or bool(checkpoints.paths(self.checkpoints))

    def not_finite(self, step: int, worker: int) -> Path:
        """Where the batch is saved whose loss was not finite."""
        return self.path / f"not_finite_step_{step}_worker_{worker}.npz"
