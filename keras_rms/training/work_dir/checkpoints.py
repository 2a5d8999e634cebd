"""Checkpoints of a run: written whole or not at all, read by name, checked when read."""

import json
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from keras_rms.training.weight_names import AVERAGE, STATISTICS
from keras_rms.training.work_dir.whole_files import saving, write_whole

FILE = "step_{:010d}.npz"
BEST = "best.npz"
_NUMBER = re.compile(r"step_(\d{10})\.npz")
_HOST = "host.json"
# What the names of a model's variables, and of their averages, begin with.
WEIGHT = "weight/"


def model_state(model: keras.Model) -> dict[str, keras.Variable]:
    """Every variable that the future of a training depends on, by name.

    Beside the weights these are the states of the layers' random generators, which Keras keeps out
    of `.keras` and `.weights.h5` files and names by order of creation.

    Raises:
        ValueError: If two variables have one name.
    """
    named: dict[str, keras.Variable] = {}
    for variable in model.weights:
        _add(named, f"{WEIGHT}{variable.path}", variable)
    for layer in leaves(model):
        weights = {id(weight) for weight in layer.weights}
        states = [variable for variable in layer.variables if id(variable) not in weights]
        for i, state in enumerate(states):
            _add(named, f"random/{layer.path}/{i}", state)
    return named


def leaves(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The layers of a model and of the models inside it."""
    if not isinstance(layer, keras.Model):
        return [layer]
    return [leaf for inner in layer.layers for leaf in leaves(inner)]


def _is_statistic(name: str) -> bool:
    return name.rpartition("/")[2] in STATISTICS


def _add(named: dict, name: str, variable: keras.Variable) -> None:
    if name in named:
        raise ValueError(f"Two variables of the model are both named {name}; rename a layer.")
    named[name] = variable


class Checkpoints:
    """The checkpoints of one work folder.

    A file is written under another name, flushed to the disk and renamed, so that a kill at any
    moment leaves the older ones and never half a file under a checkpoint's name. Each array carries
    a checksum, and a file that does not pass it is skipped with a warning.

    Args:
        folder: Where the files are; made when the first is saved.
        state: Variables by name; see `model_state` and `MomentumSGD.state`.
        keep: How many of the newest files remain.

    Raises:
        ValueError: If `keep` is below 1.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        state: Mapping[str, keras.Variable],
        keep: int = 3,
    ) -> None:
        if keep < 1:
            raise ValueError(f"`keep` must be at least 1. Received: keep={keep}")
        self.folder = Path(folder)
        self.state = dict(state)
        self.keep = keep

    def save(self, step: int, host: dict, best: bool = False) -> Path:
        """Writes the state after `step` steps together with `host`, plain data as in JSON.

        Args:
            step: Names the file; one that exists is replaced.
            host: What the loop itself has to remember.
            best: Whether this is the best state so far, which is then kept beside the newest.

        Raises:
            OSError: If the disk is full or the folder cannot be written; what was there remains.
        """
        arrays = {n: keras.ops.convert_to_numpy(v.value) for n, v in self.state.items()}
        arrays[_HOST] = np.frombuffer(json.dumps({**host, "step": step}).encode(), np.uint8)
        path = self.folder / FILE.format(step)
        with saving(f"The checkpoint of step {step} in {self.folder}"):
            self.folder.mkdir(parents=True, exist_ok=True)
            # First the best: of a kill in between, a repeated validation is all that is left.
            for each in (self.folder / BEST, path) if best else (path,):
                write_whole(each, lambda file: np.savez(file, **arrays))
        for old in paths(self.folder)[: -self.keep]:
            old.unlink(missing_ok=True)
        return path

    def restore_newest(self) -> dict | None:
        """Puts the newest undamaged checkpoint into the variables.

        Returns:
            The `host` it was saved with, "step" added; None if there is no checkpoint.

        Raises:
            ValueError: If the checkpoint belongs to another model, or every file is damaged.
        """
        files = paths(self.folder)
        for path in reversed(files):
            try:
                arrays = read(path)
            except Exception as error:  # what damage raises depends on where in the file it is
                logging.warning(
                    "The checkpoint %s is damaged (%s: %s); going back to the one before it.",
                    path,
                    type(error).__name__,
                    error,
                )
                continue
            position = host_of(arrays)
            del arrays[_HOST]
            self.assign(self._with_averaged_statistics(arrays, path), path)
            return position
        if files:
            raise ValueError(
                f"All {len(files)} checkpoints in {self.folder} are damaged. Restore one from a "
                "backup, or remove the folder to start again from the first step."
            )
        return None

    def _with_averaged_statistics(
        self, arrays: dict[str, np.ndarray], path: Path
    ) -> dict[str, np.ndarray]:
        """Older versions averaged the weights and not the statistics of batch normalisation."""
        names = [name.removeprefix(AVERAGE) for name in self.state if name.startswith(AVERAGE)]
        lacking = [name for name in names if f"{AVERAGE}{name}" not in arrays]
        running = {name: arrays.get(f"{WEIGHT}{name}") for name in lacking if _is_statistic(name)}
        begun = {f"{AVERAGE}{name}": v for name, v in running.items() if v is not None}
        if begun:
            logging.warning(
                "The checkpoint %s was written by a version that averaged the weights only. The "
                "averages of batch normalisation's statistics begin here: validations are too low "
                "until some 1 / (1 - average_decay) steps are taken.",
                path,
            )
        return arrays | begun

    def assign(self, arrays: Mapping[str, np.ndarray], path: Path) -> None:
        """Sets every variable; raises ValueError if `arrays` are those of another model."""
        wanted = {name: tuple(variable.shape) for name, variable in self.state.items()}
        found = {name: array.shape for name, array in arrays.items()}
        if wanted != found:
            raise ValueError(
                f"The checkpoint {path} belongs to another model: {difference(wanted, found)}. "
                "Train with the settings that it was made with, or choose another work_dir."
            )
        for name, variable in self.state.items():
            variable.assign(arrays[name])


def paths(folder: str | os.PathLike) -> list[Path]:
    """The numbered checkpoints in a folder, oldest first."""
    if not os.path.isdir(folder):
        return []
    return sorted(path for path in Path(folder).iterdir() if _NUMBER.fullmatch(path.name))


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Every array of a checkpoint; each one's checksum is verified while it is read."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def host_of(arrays: Mapping[str, np.ndarray]) -> dict:
    """What `Checkpoints.save` was given as `host`, "step" added, of the arrays that `read` gave."""
    return json.loads(arrays[_HOST].tobytes())


def evaluated_weights(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights that are validated and kept, by their paths: the averaged where there are."""
    return _below(WEIGHT, arrays) | _below(AVERAGE, arrays)


def _below(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name[len(prefix) :]: a for name, a in arrays.items() if name.startswith(prefix)}


def difference(wanted: Mapping[str, tuple], found: Mapping[str, tuple]) -> str:
    """The first things in which two tables of shapes differ, in words."""
    shapes = [
        f"{name} has shape {found[name]} and not {wanted[name]}"
        for name in wanted
        if name in found and wanted[name] != found[name]
    ]
    missing = [f"it lacks {name}" for name in wanted if name not in found]
    extra = [f"it holds {name}, which the model lacks" for name in found if name not in wanted]
    all_of_them = shapes + missing + extra
    more = f", and {len(all_of_them) - 3} more" if len(all_of_them) > 3 else ""
    return "; ".join(all_of_them[:3]) + more
