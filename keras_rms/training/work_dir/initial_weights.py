"""Starting from the weights of another training, with a new head where the classes differ."""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from keras_rms.models.weights import check_archive, differing_settings
from keras_rms.training.work_dir import checkpoints
from keras_rms.training.work_dir.work_folder import WorkFolder


def initialise_from(model: keras.Model, source: str | os.PathLike) -> list[str]:
    """Copies weights by name; the classifier's keep their initial values if its shape differs.

    Where a `.keras` file says that its network computes something else with them, for instance with
    another epsilon in its batch normalisation, a warning names it: training adapts to that.

    Args:
        model: The network to set, of the same architecture up to the number of classes.
        source: A `.keras` file, a checkpoint (`.npz`), or the work folder of a training, whose
            `model.keras` or else newest checkpoint is taken. Of a training with averaged weights
            it is these, as they are what is validated and what `model.keras` holds.

    Returns:
        The names of the weights that were left as they are: those of a new head, or none.

    Raises:
        ValueError: If there is nothing to load, or the weights are of another architecture.
    """
    path = _find(Path(source))
    found = _weights(path)
    head = _head(model)
    shapes = {name: array.shape for name, array in found.items()}
    wanted = {weight.path: tuple(weight.shape) for weight in model.weights}
    left = [name for name in wanted if name in head and shapes.get(name) != wanted[name]]
    for name in left:
        shapes[name] = wanted[name]
    if shapes != wanted:
        raise ValueError(
            f"The weights in {path} are of another network: "
            f"{checkpoints.difference(wanted, shapes)}. Give the same model and width that "
            "they were trained with; only the number of classes may differ."
        )
    if path.suffix == ".keras" and (differences := list(differing_settings(model, str(path)))):
        warnings.warn(
            f"The network in {path} differs from the one to train: {differences[0]}"
            + (f", and {len(differences) - 1} more." if len(differences) > 1 else "."),
            stacklevel=2,
        )
    for weight in model.weights:
        if weight.path not in left:
            weight.assign(found[weight.path])
    return left


def _head(model: keras.Model) -> set[str]:
    """Names of the weights of the last dense layer, which gives the logits."""
    dense = [layer for layer in checkpoints.leaves(model) if isinstance(layer, keras.layers.Dense)]
    return {weight.path for weight in dense[-1].weights} if dense else set()


def _find(source: Path) -> Path:
    if not source.exists():
        raise ValueError(f"There is nothing to start from: {source} does not exist.")
    if not source.is_dir():
        return source
    folder = WorkFolder(source)
    if folder.finished:
        return folder.model
    paths = checkpoints.paths(folder.checkpoints)
    if not paths:
        raise ValueError(
            f"{source} holds neither {folder.model.name} nor checkpoints. Give the work folder of "
            "a training, a .keras file or a checkpoint."
        )
    return paths[-1]


def _weights(path: Path) -> Mapping[str, np.ndarray]:
    if path.suffix not in (".keras", ".npz"):
        raise ValueError(f"Weights are read from .keras and .npz files. Received: {path}")
    try:
        if path.suffix == ".npz":
            return checkpoints.evaluated_weights(checkpoints.read(path))
        # A model of its own, which stays out of the strategy that trains.
        check_archive(str(path))
        loaded = keras.saving.load_model(path, compile=False)
        return {w.path: keras.ops.convert_to_numpy(w.value) for w in loaded.weights}
    except Exception as error:
        raise ValueError(f"{path} could not be read ({type(error).__name__}: {error}).") from error
