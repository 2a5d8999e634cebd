"""Starting from the weights of another training, with a new head where the classes differ.

The head is the last dense layer, which gives the logits. Its rows are of classes, so that it is of
use for the same classes in the same order only: their number alone says nothing.
"""

import contextlib
import dataclasses
import json
import os
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_rms import arguments
from keras_rms.models.presets.catalog import near_names
from keras_rms.models.presets.opening import clip_settings, is_preset, load_network, local_path
from keras_rms.models.weights import differing_settings
from keras_rms.training.recipe import Recipe
from keras_rms.training.work_dir import checkpoints
from keras_rms.training.work_dir.work_folder import WorkFolder

HEADS = ("auto", "keep", "new")


@dataclasses.dataclass(frozen=True)
class Initialised:
    """What became of the weights.

    Attributes:
        new: Names of the weights that were left as they are: those of a new head, or none.
        why: What became of the head and why, a sentence or two.
    """

    new: list[str]
    why: str


def weights_file(source: str | os.PathLike) -> Path:
    """The file that a training starts from.

    Call it outside of a strategy: the network of a preset may have to be built.

    Args:
        source: A `.keras` file, a checkpoint (`.npz`), or the work folder of a training, whose
            `model.keras` or else newest checkpoint is taken. Of a training with averaged weights
            it is these, as they are what is validated and what `model.keras` holds. Or a preset:
            its name, its folder or `"hf://USER/NAME"`. It is downloaded, and its folder returned
            where it is one. A file or folder of a preset's name comes first.

    Raises:
        ValueError: If there is nothing to load.
        OSError, ImportError: If a preset cannot be downloaded.
    """
    path = Path(source)
    if path.is_dir() and is_preset(path):
        return path
    if not path.exists():
        if is_preset(source):
            return local_path(source)
        near = near_names(str(source))
        raise ValueError(
            f"There is nothing to start from: {source} does not exist"
            + (f", nor a preset of that name. Near names: {', '.join(near)}." if near else ".")
        )
    if not path.is_dir():
        return path
    folder = WorkFolder(path)
    if folder.finished:
        return folder.model
    paths = checkpoints.paths(folder.checkpoints)
    if not paths:
        raise ValueError(
            f"{source} holds neither {folder.model.name} nor checkpoints. Give the work folder of "
            "a training, a preset's folder, a .keras file or a checkpoint."
        )
    return paths[-1]


def with_options_of_network(
    recipe: Recipe, folder: WorkFolder, source: str | os.PathLike | None
) -> Recipe:
    """The recipe of a network that computes with the weights of `source` what its own does.

    A run that has begun keeps what it began with: what it started from may be gone.

    Args:
        recipe: What is asked for. If it has `network_options`, these stay.
        folder: Of the run.
        source: See `weights_file`; None for weights that are new.

    Raises:
        ValueError, OSError, ImportError: See `weights_file`.
    """
    if recipe.network_options is not None:
        return recipe
    if folder.begun:
        known = _noted(folder.settings)
    else:
        known = {} if source is None else _noted(weights_file(source))
    return dataclasses.replace(recipe, network_options=known.get("network_options"))


def initialise_from(
    model: keras.Model,
    source: str | os.PathLike,
    class_names: Sequence[str] | None = None,
    head: str = "auto",
) -> Initialised:
    """Copies weights by name; those of the head keep their initial values for other classes.

    Where a `.keras` file says that its network computes something else with them, for instance with
    another epsilon in its batch normalisation, a warning names it: training adapts to that.

    Args:
        model: The network to set, of the same architecture up to the number of classes.
        source: See `weights_file`.
        class_names: Those of the training to come; None if nobody knows.
        head: "keep" takes the head, "new" leaves it, and "auto" takes it if its classes have the
            same names in the same order, or if their names are not known and their number is the
            same. Names are known of a `.keras` file that notes them, and in a work folder.

    Raises:
        ValueError: If there is nothing to load, the weights are of another architecture, or a head
            of another number of classes shall be kept.
    """
    arguments.validate_choice("head", head, HEADS)
    path = weights_file(source)
    found = _weights(path)
    of_head = head_weights(model)
    shapes = {name: array.shape for name, array in found.items()}
    wanted = {weight.path: tuple(weight.shape) for weight in model.weights}
    resized = any(shapes.get(name) != wanted[name] for name in of_head)
    is_new, why = _decide(head, resized, class_names, _noted(path).get("class_names"))
    if resized and not is_new:
        raise ValueError(
            f"The head of {path} is of another number of classes and cannot be kept. Give "
            f"init_head=new, or leave it out. Received: init_head={head!r}"
        )
    left = [name for name in wanted if is_new and name in of_head]
    for name in left:
        shapes[name] = wanted[name]
    if shapes != wanted:
        raise ValueError(
            f"The weights in {path} are of another network: "
            f"{checkpoints.difference(wanted, shapes)}. Give the same model and width that "
            f"they were trained with{_model(path)}; only the number of classes may differ."
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
    return Initialised(left, why)


def clips_note(path: str | os.PathLike, num_frames: int, span: object) -> str:
    """A sentence where a network saw other clips than it is to be trained on, or nothing."""
    known = _noted(Path(path))
    before, now = (known.get("num_frames"), known.get("span")), (num_frames, span)
    if None in (*before, *now) or before == now:
        return ""
    spread = f"over {before[1]}" if before[1] else "in even parts of the whole video"
    return (
        f" Its network saw clips of {before[0]} frames {spread}, and these are of {now[0]} over "
        f"{now[1]}: num_frames and span change that."
    )


def _decide(
    head: str, resized: bool, now: Sequence[str] | None, before: Sequence[str] | None
) -> tuple[bool, str]:
    """Whether the head is made anew, and why."""
    if head != "auto":
        return (
            head == "new",
            f"The head is {'new' if head == 'new' else 'kept'}, as init_head says.",
        )
    if resized:
        return True, "The head is new: its classes are of another number."
    if now is None or before is None:
        return False, (
            "The head is kept: the names of its classes are not known, but they are as many. If "
            "they are others, or in another order, start again with init_head=new."
        )
    if list(now) == list(before):
        return False, "The head is kept: its classes are the same."
    return True, (
        "The head is new: its classes are others, or in another order. init_head=keep would keep "
        "it."
    )


def _noted(path: Path) -> dict[str, Any]:
    """The settings that a file or preset folder notes, or else the work folder it lies in."""
    if path.is_dir() or path.suffix == ".keras":
        with contextlib.suppress(OSError, zipfile.BadZipFile):  # what loads it says what it is
            noted = clip_settings(path)
            if noted.get("class_names") or noted.get("network_options") or path.is_dir():
                return noted
    in_checkpoints = path.parent.name == WorkFolder(path.parent).checkpoints.name
    settings = WorkFolder(path.parent.parent if in_checkpoints else path.parent).settings
    try:
        return dict(json.loads(settings.read_text()))
    except (OSError, ValueError, TypeError):
        return {}


def _model(path: Path) -> str:
    name = _noted(path).get("model")
    return f" (model={name})" if name else ""


def head_weights(model: keras.Model) -> set[str]:
    """Paths of the weights of the last dense layer, which gives the logits."""
    dense = [layer for layer in checkpoints.leaves(model) if isinstance(layer, keras.layers.Dense)]
    return {weight.path for weight in dense[-1].weights} if dense else set()


def _weights(path: Path) -> Mapping[str, np.ndarray]:
    if path.suffix not in (".keras", ".npz") and not path.is_dir():
        raise ValueError(f"Weights are read from .keras and .npz files. Received: {path}")
    try:
        if path.suffix == ".npz":
            return checkpoints.evaluated_weights(checkpoints.read(path))
        # A model of its own, which stays out of the strategy that trains.
        loaded = load_network(path)
        return {w.path: keras.ops.convert_to_numpy(w.value) for w in loaded.weights}
    except Exception as error:
        raise ValueError(f"{path} could not be read ({type(error).__name__}: {error}).") from error
