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

    def weights(self, which: str | None = None) -> Path:
        """The file of a run's weights.

        Args:
            which: `"last"`, `"best"`, or None: see `open_run`.

        Raises:
            ValueError: If there is none.
        """
        best = self.checkpoints / checkpoints.BEST
        newest = checkpoints.paths(self.checkpoints)[-1:]
        last = [self.model] if self.finished else newest
        places = {"last": last, "best": [best], None: last if self.finished else [best, *newest]}
        for path in places[which]:
            if path.exists():
                return path
        if which == "best" and self.begun:
            raise ValueError(
                f"{self} has no {best.name}: its training has had no validation. Give "
                "--weights=last, for those of its newest step."
            )
        raise ValueError(
            f"{self} has no {self.model.name} and no checkpoint: its training has not come to its "
            "first. Run the command that started it again."
        )

    def not_finite(self, step: int, worker: int) -> Path:
        """Where the batch is saved whose loss was not finite."""
        return self.path / f"not_finite_step_{step}_worker_{worker}.npz"
