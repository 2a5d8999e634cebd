"""Weights files, matched by the names of the layers."""

import contextlib
import io
import os
import zipfile

import h5py
import keras
import ml_dtypes
import numpy as np

_ARCHIVED = "model.weights.h5"


def load_weights(model: keras.Model, path: str) -> None:
    """Loads a `.keras` or `.weights.h5` file into a network, pairing layers by name.

    `keras.Model.load_weights` pairs layers by their order in the graph, which RMS layers in one of
    two parallel pathways change. Names stay what they are, so one file serves a network with RMS at
    any place and its twin without.

    Example:

    >>> network.save_weights("slow_only.weights.h5")
    >>> load_weights(SlowOnly(rms=None), "slow_only.weights.h5")

    Args:
        model: A functional model without nested models.
        path: Of a file that Keras wrote for a network with the same layer names.

    Raises:
        ValueError: If the file cannot be read as one of the two kinds, or if a layer with weights
            is missing, left over, or of another shape; the message names it.
    """
    with contextlib.closing(_opened(os.fspath(path))) as file:
        saved = _saved_layers(file, path)
        # Random layers file the state of their generators too, which is no weight.
        wanted = {layer.name: layer for layer in model.layers if layer.weights}
        _check_names(model, wanted, saved, path)
        for name, layer in wanted.items():
            _check_shapes(layer, saved[name], path)
        for name, layer in wanted.items():
            layer.set_weights([_values(dataset) for dataset in saved[name]])


def _opened(path: str) -> h5py.File:
    if not os.path.isfile(path):
        raise ValueError(f"`weights` must be the path of a file. Received: weights={path!r}")
    try:
        if path.endswith(".weights.h5"):
            return h5py.File(path, "r")
        if path.endswith(".keras"):
            with zipfile.ZipFile(path) as archive:
                return h5py.File(io.BytesIO(archive.read(_ARCHIVED)), "r")
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"`weights` must be a file that Keras wrote; {path} cannot be read as one ({error})."
        ) from error
    raise ValueError(
        f"`weights` must be the path of a .keras or .weights.h5 file. Received: weights={path!r}"
    )


def _saved_layers(file: h5py.File, path: str) -> dict[str, list[h5py.Dataset]]:
    """The datasets of each layer, in the order of its weights, by the layer's name."""
    saved = {}
    for key in _checked(file, "layers", h5py.Group):
        variables = _checked(file, f"layers/{key}/vars", h5py.Group)
        if "name" not in variables.attrs:
            raise ValueError(
                f"{path} does not hold the names of its layers: it was written by another version "
                "of Keras. Load it with `load_weights` of a network built with the same arguments."
            )
        indices = sorted((k for k in variables if k.isdigit()), key=int)
        datasets = [_checked(variables, k, h5py.Dataset) for k in indices]
        if datasets:
            saved[variables.attrs["name"]] = datasets
    return saved


def _checked(group: h5py.Group, path: str, kind: type) -> h5py.HLObject:
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


def _check_names(model: keras.Model, wanted: dict, saved: dict, path: str) -> None:
    missing = sorted(set(wanted) - set(saved))
    left_over = sorted(set(saved) - set(wanted))
    if missing or left_over:
        raise ValueError(
            f"The weights in {path} do not fit the network {model.name}. "
            f"Layers that the file lacks: {', '.join(missing) or 'none'}. "
            f"Layers that the network lacks: {', '.join(left_over) or 'none'}."
        )


def _check_shapes(layer: keras.Layer, datasets: list, path: str) -> None:
    expected = [tuple(weight.shape) for weight in layer.weights]
    received = [dataset.shape for dataset in datasets]
    if received != expected:
        raise ValueError(
            f"The weights of layer {layer.name} in {path} have shapes {received}, the network's "
            f"{expected}. Build it with the `num_classes` and `width` of the file."
        )


def _values(dataset: h5py.Dataset) -> np.ndarray:
    if dataset.attrs.get("dtype") == "bfloat16":
        return np.asarray(dataset).view(ml_dtypes.bfloat16).astype("float32")
    return np.asarray(dataset)
