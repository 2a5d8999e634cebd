"""Weights files, matched by the names of the layers."""

import contextlib
import io
import json
import math
import os
import zipfile
from collections.abc import Collection, Iterator
from typing import Any

import h5py
import keras
import ml_dtypes
import numpy as np

from keras_rms.foreign_files import Allowance, TooLargeError, foreign_kind

_ARCHIVED = "model.weights.h5"
_CONFIG = "config.json"
_HDF5_ENDINGS = (".weights.h5", ".h5")
# Groups of a file lie within each other as attributes of layers do: a handful.
_MAX_DEPTH = 16
_MAX_NAME = 1000

# A RuntimeError is zipfile's answer to entries that are encrypted or of another version of zip.
_OF_ARCHIVES = (OSError, RuntimeError, zipfile.BadZipFile, TooLargeError)


def load_weights(model: keras.Model, path: str, skip: Collection[str] = ()) -> None:
    """Loads a `.keras` or `.weights.h5` file into a network, pairing layers by name.

    `keras.Model.load_weights` pairs layers by their order in the graph, which RMS layers in one of
    two parallel pathways change. Names stay what they are, so one file serves a network with RMS at
    any place and its twin without. A `.keras` file also tells the settings that give the same
    weights another meaning, such as the epsilon of batch normalisation: they have to be the same.

    Example:

    >>> network = keras_rms.models.SlowOnly(depth=18, width=8)
    >>> network.save_weights("slow_only.weights.h5")
    >>> load_weights(keras_rms.models.SlowOnly(18, width=8, rms=None), "slow_only.weights.h5")

    Args:
        model: A functional model.
        path: Of a file that Keras wrote for a network with the same layer names.
        skip: Names of layers that are left as they are, such as that of a new classifier.

    Raises:
        ValueError: If the file cannot be read as one of the two kinds, or if a layer with weights
            is missing, left over, or of another shape, or if a setting differs; the message names
            it.
    """
    path = os.fspath(path)
    with contextlib.closing(_opened(path)) as file:
        found = _saved_datasets(file, path)
        saved = {name: datasets for name, datasets in found.items() if name not in skip}
        check_arrays([dataset for datasets in saved.values() for dataset in datasets], path)
        wanted: dict[str, list[keras.Variable]] = {}
        for layer in model.layers:
            if layer.name not in skip:
                wanted |= _own_weights(layer, layer.name)
        _check_names(model, wanted, saved, path)
        if path.endswith(".keras"):
            _check_settings(model, path)
        for name, variables in wanted.items():
            _check_shapes(name, variables, saved[name], path)
        for name, variables in wanted.items():
            for variable, dataset in zip(variables, saved[name]):
                variable.assign(_values(dataset))


def read_weights(path: str) -> dict[str, list[np.ndarray]]:
    """The weights that a `.keras` or `.weights.h5` file holds for each layer, by its name.

    Raises:
        ValueError: If the file cannot be read as one of the two kinds, or holds more than ten times
            its size.
    """
    with contextlib.closing(_opened(os.fspath(path))) as file:
        saved = _saved_datasets(file, path)
        check_arrays([dataset for datasets in saved.values() for dataset in datasets], path)
        return {name: [_values(d) for d in datasets] for name, datasets in saved.items()}


def _own_weights(layer: keras.Layer, name: str) -> dict[str, list[keras.Variable]]:
    """The weights of the layer and of the layers that are its attributes, by `layer/attribute`."""
    held: dict[str, list[keras.Variable]] = {}
    for attribute, value in vars(layer).items():
        if isinstance(value, keras.Layer):
            # Keras files a layer that is an attribute in a group of its own, below its owner's.
            held |= _own_weights(value, f"{name}/{attribute}")
    of_others = {id(variable) for variables in held.values() for variable in variables}
    own = [variable for variable in layer.weights if id(variable) not in of_others]
    return held | ({name: own} if own else {})


def _opened(path: str) -> h5py.File:
    if not os.path.isfile(path):
        raise ValueError(f"`weights` must be the path of a file. Received: weights={path!r}")
    check_kind(path)
    try:
        if path.endswith(".weights.h5"):
            return h5py.File(path, "r")
        if path.endswith(".keras"):
            with zipfile.ZipFile(path) as archive:
                return h5py.File(io.BytesIO(Allowance(path).read_entry(archive, _ARCHIVED)), "r")
    except (KeyError, *_OF_ARCHIVES) as error:
        raise ValueError(
            f"`weights` must be a file that Keras wrote; {path} cannot be read as one ({error})."
        ) from error
    raise ValueError(
        f"`weights` must be the path of a .keras or .weights.h5 file. Received: weights={path!r}"
    )


def check_kind(path: str) -> None:
    """Raises a `ValueError` that says what a file is, if its first bytes are not Keras's."""
    kind = foreign_kind(path)
    if kind is not None and not (path.endswith(_HDF5_ENDINGS) and "HDF5" in kind.name):
        raise ValueError(
            f"{path} cannot be read as weights of Keras: it is {kind.name}. {kind.remedy}."
        )


def check_archive(path: str) -> None:
    """Raises a `ValueError` if a `.keras` file unfolds to more than ten times its size.

    `keras.saving.load_model` reads its entries whole. For files of others, before it is called.
    """
    check_kind(path)
    try:
        allowance = Allowance(path)
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                allowance.take_entry(entry)
        with contextlib.closing(_opened(path)) as file:
            check_arrays(_all_datasets(file), path)
    except _OF_ARCHIVES as error:
        raise ValueError(f"{path} cannot be read as a file of Keras ({error}).") from error


def check_arrays(datasets: list[h5py.Dataset], path: Any) -> None:
    """Compares what arrays will take with the size of their file, before one is read.

    Raises:
        ValueError: If it is more than ten times, or if one does not hold numbers.
    """
    allowance = Allowance(os.fspath(path))
    for dataset in datasets:
        # Text of any length is filed elsewhere and counts as a pointer here.
        if dataset.dtype.kind not in "biufV" or dataset.dtype.fields is not None:
            raise ValueError(f"Not a weights file of Keras: {dataset.name} holds no numbers.")
        # A compressed chunk is unfolded whole, and may be larger than the array.
        size = math.prod(dataset.shape or ()) * dataset.dtype.itemsize
        chunk = math.prod(dataset.chunks or (0,)) * dataset.dtype.itemsize
        try:
            allowance.take(max(size, chunk))
        except TooLargeError as error:
            raise ValueError(f"{path} cannot be read as weights of Keras: {error}.") from error


def _all_datasets(group: h5py.Group, depth: int = 0) -> list[h5py.Dataset]:
    """Of all that `group` holds, a text apart, which Keras files beside the weights."""
    found: list[h5py.Dataset] = []
    _check_depth(group, depth)
    for key in group:
        link = group.get(key, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise ValueError(f"Not a weights file of Keras: no entry {group.name}/{key}.")
        child = group[key]
        if isinstance(child, h5py.Group):
            found += _all_datasets(child, depth + 1)
        elif isinstance(child, h5py.Dataset):
            found.append(child)
    return found


def _check_depth(group: h5py.Group, depth: int) -> None:
    # A group that is linked to twice could be met a million times.
    if depth > _MAX_DEPTH or (depth and h5py.h5o.get_info(group.id).rc > 1):
        raise ValueError(f"Not a weights file of Keras: {group.name} lies within itself or twice.")


def _saved_datasets(file: h5py.File, path: str) -> dict[str, list[h5py.Dataset]]:
    """What a file holds for each layer, in the order of the layer's weights, by the same names."""
    saved: dict[str, list[h5py.Dataset]] = {}
    layers = hard_entry(file, "layers", h5py.Group)
    for key in layers:
        name = _layer_name(hard_entry(layers, f"{key}/vars", h5py.Group))
        if name is None:
            raise ValueError(
                f"{path} does not hold the names of its layers: it was written by another version "
                "of Keras. Load it with `load_weights` of a network built with the same arguments."
            )
        saved |= _datasets_below(layers[key], name)
    return saved


def _layer_name(group: h5py.Group) -> str | None:
    if "name" not in group.attrs:
        return None
    # Many layers can be named by one long text.
    is_text = group.attrs.get_id("name").shape == ()
    name = group.attrs["name"] if is_text else None
    if not isinstance(name, str) or len(name) > _MAX_NAME:
        raise ValueError(f"Not a weights file of Keras: {group.name} has no name of a layer.")
    return name


def _datasets_below(group: h5py.Group, name: str, depth: int = 1) -> dict[str, list[h5py.Dataset]]:
    saved: dict[str, list[h5py.Dataset]] = {}
    _check_depth(group, depth)
    for key in group:
        child = hard_entry(group, key, h5py.Group)
        if key != "vars":
            saved |= _datasets_below(child, f"{name}/{key}", depth + 1)
            continue
        # Random layers file the state of their generators too, under a name and not a number.
        numbers = sorted((k for k in child if k.isdigit()), key=int)
        if numbers:
            saved[name] = [hard_entry(child, k, h5py.Dataset) for k in numbers]
    return saved


def hard_entry(group: h5py.Group, path: str, kind: type) -> h5py.HLObject:
    """An entry of the file itself: a link to another file is refused."""
    for part in path.split("/"):
        link = group.get(part, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise ValueError(f"Not a weights file of Keras: no entry {group.name}/{part}.")
        group = group[part]
    is_foreign = kind is h5py.Dataset and (group.external or group.is_virtual)
    if not isinstance(group, kind) or is_foreign:
        raise ValueError(f"Not a weights file of Keras: {group.name} is of another kind.")
    return group


def _check_settings(model: keras.Model, path: str) -> None:
    for difference in differing_settings(model, path):
        raise ValueError(
            f"The network in {path} computes something else with its weights: {difference}. Build "
            "the network with the arguments that it was built with, or load the file with "
            "keras.saving.load_model."
        )


def differing_settings(model: keras.Model, path: str) -> Iterator[str]:
    """What gives the same weights another meaning in the network of a `.keras` file.

    Args:
        model: A functional model.
        path: Of a file that holds a network with layers of the same names.
    """
    with zipfile.ZipFile(path) as archive:
        content = Allowance(path).read_entry(archive, _CONFIG)
    try:
        theirs = _settings(json.loads(content)["config"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} does not describe a network of Keras ({error!r}).") from error
    for setting, ours in _settings(model.get_config()).items():
        # A layer that only one of the two has gives no weights another meaning.
        if theirs.get(setting, ours) != ours:
            yield f"its {setting} is {theirs[setting]}, that of {model.name} {ours}"


def _settings(config: dict) -> dict[str, Any]:
    """Epsilons, normalisation, rule of the slow pathway's frames, order of joined features."""
    found = {}
    for layer in config.get("layers", ()):
        name = layer["name"]
        for key in ("epsilon", "rule", "scale", "offset"):
            if key in layer["config"]:
                found[f"{key} of {name}"] = layer["config"][key]
        if layer["class_name"] == "Concatenate":
            found[f"order of {name}"] = _sources(layer["inbound_nodes"])
    return found


def _sources(node: Any) -> list[str]:
    """The names of the layers that a serialised call takes its tensors from, in order."""
    if isinstance(node, dict) and "keras_history" in node:
        return [node["keras_history"][0]]
    children = node.values() if isinstance(node, dict) else node
    return [s for x in children if isinstance(x, (dict, list, tuple)) for s in _sources(x)]


def _check_names(model: keras.Model, wanted: dict, saved: dict, path: str) -> None:
    missing = sorted(set(wanted) - set(saved))
    left_over = sorted(set(saved) - set(wanted))
    if missing or left_over:
        raise ValueError(
            f"The weights in {path} do not fit the network {model.name}. "
            f"Layers that the file lacks: {', '.join(missing) or 'none'}. "
            f"Layers that the network lacks: {', '.join(left_over) or 'none'}."
        )


def _check_shapes(name: str, variables: list, datasets: list, path: str) -> None:
    expected = [tuple(variable.shape) for variable in variables]
    received = [dataset.shape for dataset in datasets]
    if received != expected:
        raise ValueError(
            f"The weights of layer {name} in {path} have shapes {received}, the network's "
            f"{expected}. Build it with the `num_classes` and `width` of the file."
        )


def _values(dataset: h5py.Dataset) -> np.ndarray:
    # HDF5 has no bfloat16 and hands out two bytes without a meaning.
    if dataset.attrs.get("dtype") == "bfloat16":
        return np.asarray(dataset).view(ml_dtypes.bfloat16).astype("float32")
    return np.asarray(dataset)
