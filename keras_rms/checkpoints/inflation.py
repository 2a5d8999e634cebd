"""A 2D ResNet of keras.applications -> a video network that starts from its weights."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

import h5py
import keras
import numpy as np

from keras_rms.checkpoints.importing import Imported
from keras_rms.models.catalog import BUILDERS, build
from keras_rms.models.network import MEAN, STDDEV
from keras_rms.models.weights import check_arrays, check_kind, hard_entry, read_weights

SOURCE = "keras.applications"
NORMALIZATION = f"(x / 255 - {MEAN}) / {STDDEV}"
BATCH_NORM_EPSILON = 1.001e-5
# keras.applications.resnet takes BGR of 0 to 255 less these means, given here as RGB.
IMAGE_MEAN = (123.68, 116.779, 103.939)
STAGES = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
SHOWN = 5
MAX_NAMES = 1000


def inflate(
    name: str,
    path: str | os.PathLike,
    *,
    num_classes: int = 400,
    input_shape: tuple | None = None,
) -> Imported:
    """Builds a SlowOnly or SlowFast network whose slow pathway starts from a 2D ResNet.

    The 2D network is `keras.applications.ResNet50` or `ResNet101`. What becomes of its weights:

    - A kernel is repeated over time and divided by its length: a clip that stands still gives what
      the image gives, but for the frames that see the zeros beyond the clip's ends.
    - The biases of convolutions go into the moving means behind them, and the difference between
      its epsilon of 1.001e-5 and the network's into the moving variances. Both are exact.
    - The first kernel is rewritten for RGB normalised as `(x / 255 - 0.45) / 0.225`; the 2D network
      takes BGR less the mean colour. This is exact but for the image's border, where the zeros of
      the padding now stand for grey.
    - Kernels for what lateral connections add to the slow pathway start as zeros. They learn from
      the first step on, the fast pathway and the lateral connections from the second.
    - The classifier and the fast pathway start anew.

    Keras puts the stride of a stage on its first 1x1 convolution, these networks on the 3x3 one,
    with the same kernels: from res3 on the features are others than the 2D network's, sampled
    between the same filters at another place, and need the fine-tuning that follows anyway.

    Example:

    ```python
    from keras_rms.checkpoints import inflate
    keras.applications.ResNet50().save_weights("resnet50.weights.h5")
    model = inflate("slow_only_50", "resnet50.weights.h5", num_classes=200).model
    ```

    Args:
        name: Of a SlowOnly or SlowFast network of bottlenecks, as in `keras_rms.models.list()`.
        path: Of a `.keras` or `.weights.h5` file of such a ResNet, with or without its top, or of
            the `.h5` that keras.applications downloads.
        num_classes: Number of logits.
        input_shape: (time, height, width, channels), the builder's default if `None`.

    Returns:
        An `Imported`, without a classifier.

    Raises:
        ValueError: If the network has no 2D counterpart, the file cannot be read, or a layer is
            missing, left over or of a wrong shape; the message names it.

    Reference:
        - Carreira and Zisserman, "Quo Vadis, Action Recognition?", CVPR 2017, section 2.4.1.
    """
    depth, prefix = _counterpart(name)
    layers = _read(os.fspath(path))
    found = _paired(layers, depth, path)
    arguments: dict[str, Any] = {"num_classes": num_classes}
    if input_shape is not None:
        arguments["input_shape"] = tuple(input_shape)
    model = build(name, rms=None, **arguments)
    _check(model, layers, found, prefix, path)
    for layer, unit in found.items():
        conv = model.get_layer(f"{prefix}{unit[0]}")
        kernel, bias = layers[f"{layer}_conv"]
        if layer == "conv1":
            kernel, bias = _for_own_normalization(kernel, bias)
        conv.kernel.assign(inflated(kernel, conv.kernel.shape))
        _assign_norm(model.get_layer(f"{prefix}{unit[1]}"), layers[f"{layer}_bn"], bias)
    return Imported(model, SOURCE, arguments, NORMALIZATION, has_classifier=False)


def inflated(kernel: np.ndarray, shape: tuple) -> np.ndarray:
    """A 2D kernel as a 3D one of that shape; channels that it has none for get zeros.

    Example:

    >>> inflated(np.ones((1, 1, 2, 1)), (2, 1, 1, 3, 1)).ravel().tolist()
    [0.5, 0.5, 0.0, 0.5, 0.5, 0.0]
    """
    time, channels = shape[0], kernel.shape[2]
    values = np.zeros(shape, np.float32)
    values[:, :, :, :channels] = kernel / time
    return values


def _counterpart(name: str) -> tuple[int, str]:
    """The depth of the 2D network and the prefix of the layers that take its weights."""
    known = {
        known: (depth, "slow_" if known.startswith("slow_fast") else "")
        for known in BUILDERS
        for depth in STAGES
        if known.startswith((f"slow_only_{depth}", f"slow_fast_{depth}_"))
    }
    if name not in known:
        raise ValueError(
            "`name` must be a network with the bottlenecks of keras.applications.ResNet50 or "
            f"ResNet101: {', '.join(known)}. Received: name={name!r}"
        )
    return known[name]


def _read(path: str) -> dict[str, list[np.ndarray]]:
    """The weights of every layer of a file that has some, by the layer's name."""
    if path.endswith((".keras", ".weights.h5")):
        return read_weights(path)
    if not path.endswith(".h5") or not os.path.isfile(path):
        raise ValueError(
            "`path` must be a .keras, .weights.h5 or .h5 file of a 2D ResNet. "
            f"Received: path={path!r}"
        )
    check_kind(path)
    try:
        with h5py.File(path, "r") as file:
            return _read_legacy(file, path)
    except (OSError, KeyError) as error:
        raise ValueError(f"{path} cannot be read as a weights file of Keras ({error}).") from error


def _read_legacy(file: h5py.File, path: str) -> dict[str, list[np.ndarray]]:
    """The layout of Keras 2, in which keras.applications publishes its weights."""
    if "model_weights" in file:
        file = hard_entry(file, "model_weights", h5py.Group)
    layers = {}
    for layer in _texts(file, "layer_names"):
        group = hard_entry(file, layer, h5py.Group)
        names = _texts(group, "weight_names")
        if names:
            layers[layer] = [hard_entry(group, n, h5py.Dataset) for n in names]
    check_arrays([dataset for datasets in layers.values() for dataset in datasets], path)
    return {layer: [np.asarray(dataset) for dataset in ds] for layer, ds in layers.items()}


def _texts(group: h5py.Group, attribute: str) -> list[str]:
    # Many names can stand for one long text; ResNet101 has 345 layers.
    if math.prod(group.attrs.get_id(attribute).shape) > MAX_NAMES:
        raise KeyError(f"{attribute} of more than {MAX_NAMES} names")
    values = group.attrs[attribute]
    return [value if isinstance(value, str) else value.decode() for value in values]


def _paired(layers: Mapping, depth: int, path: Any) -> dict[str, tuple[str, str]]:
    """From each unit of the 2D network to the names of its convolution and its BN here."""
    found = {"conv1": ("stem_conv", "stem_bn")}
    for stage, blocks in enumerate(STAGES[depth], start=2):
        for block in range(blocks):
            for unit in range(0 if block == 0 else 1, 4):
                here = f"res{stage}_block{block}"
                names = (f"{here}_conv{unit}", f"{here}_bn{unit}")
                if unit == 0:
                    names = (f"{here}_shortcut_conv", f"{here}_shortcut_bn")
                found[f"conv{stage}_block{block + 1}_{unit}"] = names
    wanted = {f"{unit}_{role}" for unit in found for role in ("conv", "bn")}
    complaints = {
        "lacks": sorted(wanted - set(layers)),
        "has beside them": sorted(set(layers) - wanted - {"predictions"}),
    }
    if any(complaints.values()):
        listed = "; it ".join(
            f"{what}: {_some(names)}" for what, names in complaints.items() if names
        )
        raise ValueError(
            f"{path} does not hold the layers of keras.applications.ResNet{depth}. It {listed}."
        )
    return found


def _check(model: keras.Model, layers: Mapping, found: Mapping, prefix: str, path: Any) -> None:
    """Compares every shape before anything is assigned."""
    wrong = []
    for layer, (conv, _) in found.items():
        _, height, width, channels, filters = model.get_layer(f"{prefix}{conv}").kernel.shape
        # The lateral connections' channels are the last ones, and not the 2D network's.
        channels -= _lateral_channels(model, f"{prefix}{conv}")
        expected = {
            f"{layer}_conv": [(height, width, channels, filters), (filters,)],
            f"{layer}_bn": [(filters,)] * 4,
        }
        for name, shapes in expected.items():
            received = [weight.shape for weight in layers[name]]
            if received != shapes:
                wrong.append(f"{name} has {received}, the network {shapes}")
    if wrong:
        raise ValueError(f"{path} does not fit {model.name}: {_some(wrong)}.")


def _lateral_channels(model: keras.Model, conv: str) -> int:
    source = model.get_layer(conv).input._keras_history.operation
    if not isinstance(source, keras.layers.Concatenate):
        return 0
    return source.input[1].shape[-1]


def _for_own_normalization(kernel: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first convolution for RGB normalised as `NORMALIZATION`, of one for centred BGR."""
    kernel = kernel[:, :, ::-1].astype("float64")
    offset = 255 * MEAN - np.array(IMAGE_MEAN)
    return kernel * (255 * STDDEV), bias + np.einsum("hwco,c->o", kernel, offset)


def _assign_norm(norm: keras.Layer, weights: list[np.ndarray], bias: np.ndarray) -> None:
    gamma, beta, mean, variance = weights
    norm.gamma.assign(gamma)
    norm.beta.assign(beta)
    norm.moving_mean.assign(mean - bias)
    norm.moving_variance.assign(variance + (BATCH_NORM_EPSILON - norm.epsilon))


def _some(items: list[str]) -> str:
    more = len(items) - SHOWN
    return ", ".join(items[:SHOWN]) + (f" and {more} more" if more > 0 else "")
