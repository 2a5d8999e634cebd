"""A published checkpoint -> the Keras network with its weights."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_rms.checkpoints import mmaction2, pyslowfast, pytorchvideo
from keras_rms.checkpoints.key_map import is_of_detection
from keras_rms.checkpoints.reading import StoredTensor, open_tensors
from keras_rms.models.catalog import BUILDERS, build
from keras_rms.models.network import USUAL, Preprocessing
from keras_rms.models.network_record import options_of

SOURCES = (pytorchvideo, pyslowfast, mmaction2)
# Networks of which these sources publish weights.
FAMILIES = ("slow_only", "slow_fast", "ip_csn", "ir_csn")
CLASSIFIER = "head_dense"
SHOWN = 5
_USUAL_SPAN = 64  # frames: 8x8, 4x16, 32x2


class Imported(NamedTuple):
    """A network with the weights of a checkpoint, and what is to be known about it.

    Attributes:
        model: The network, without RMS.
        source: Name of the project whose checkpoint it is.
        arguments: What its builder was told beside the name.
        normalization: Of the frames `x`, 0 to 255, in the project.
        has_classifier: Whether the classifier is the checkpoint's, not a new one.
    """

    model: keras.Model
    source: str
    arguments: dict[str, Any]
    normalization: str
    has_classifier: bool

    @property
    def clip_settings(self) -> dict[str, Any]:
        """How the project evaluates it, in the words of a run's settings.json, as far as is known.

        Published video networks are evaluated on crops of 256 pixels.
        """
        settings: dict[str, Any] = {"evaluation_crop_size": 256}
        if options := options_of(self.arguments):
            settings["network_options"] = options
        frames = self.model.input_shape[1]
        if frames is not None:
            settings |= {"num_frames": frames, "span": max(_USUAL_SPAN, 2 * frames)}
        if self.source != mmaction2.NAME:
            settings["normalization"] = dict(USUAL)
            settings["conversion"] = {"fps": 30, "short_side": 256}
        return settings


def import_checkpoint(
    name: str,
    path: str | os.PathLike,
    *,
    num_classes: int | None = None,
    input_shape: tuple | None = None,
    include_preprocessing: Preprocessing = False,
) -> Imported:
    """Builds a network and gives it the weights of a published checkpoint.

    The source is told from the names of the parameters: PyTorchVideo, PySlowFast (of PyTorch or
    Caffe2) or mmaction2. The network is built to compute what the source's does: with its epsilon
    of batch normalisation, its choice of the slow pathway's frames, its lateral connections and the
    order of its features. Every parameter is accounted for.

    Example:

    ```python
    from keras_rms.checkpoints import import_checkpoint
    model = import_checkpoint("slow_only_50", "SLOW_8x8_R50.pyth").model
    model.save("slow_only_50.keras")
    ```

    Args:
        name: Of a SlowOnly, SlowFast or CSN network, as in `keras_rms.models.list()`.
        path: Of the checkpoint.
        num_classes: The checkpoint's by default. With another number the classifier starts anew.
        input_shape: (time, height, width, channels), the builder's default if `None`.
        include_preprocessing: See `SlowOnly`.

    Returns:
        An `Imported`.

    Raises:
        ValueError: If the file is not such a checkpoint, or if a parameter is missing, left over or
            of a wrong shape; the message names it.

    Reference:
        The projects' own checkpoints; see `keras_rms.checkpoints.pytorchvideo`, `pyslowfast` and
        `mmaction2` for the names.
    """
    names = [known for known in BUILDERS if known.startswith(FAMILIES)]
    if name not in names:
        raise ValueError(
            "`name` must be a network that these sources publish weights of: "
            f"{', '.join(names)}. Received: name={name!r}"
        )
    with open_tensors(path) as tensors:
        source = _source(tensors, path)
        paths = {k: v for k, v in source.paths(tensors).items() if not is_of_detection(k)}
        found = _found(paths, path)
        classes = _num_classes(tensors, found, num_classes, path)
        has_classifier = num_classes in (None, classes)
        arguments = {
            **source.arguments(name),
            "num_classes": classes if num_classes is None else num_classes,
            "width": _rows(tensors, found, _stem(found), path),
        }
        _check_size(path, arguments["width"], classes or 0)
        if input_shape is not None:
            arguments["input_shape"] = tuple(input_shape)
        if include_preprocessing:
            arguments["include_preprocessing"] = include_preprocessing
        model = build(name, rms=None, **arguments)
        values = {place: tensors[name] for place, name in found.items()}
        left_over = [name for name, place in paths.items() if place is None]
        if not has_classifier:
            values = {k: v for k, v in values.items() if not k.startswith(f"{CLASSIFIER}/")}
        _assign(model, values, found, left_over, has_classifier, f"{path} ({source.NAME})", name)
    return Imported(model, source.NAME, arguments, source.NORMALIZATION, has_classifier)


def _source(tensors: Mapping[str, StoredTensor], path: Any) -> ModuleType:
    for source in SOURCES:
        if source.recognizes(tensors):
            return source
    names = ", ".join(list(tensors)[:3])
    raise ValueError(
        f"{path} is no checkpoint of {', '.join(source.NAME for source in SOURCES)}: its "
        f"parameters have other names ({names}, ...)."
    )


def _found(paths: Mapping[str, str | None], path: Any) -> dict[str, str]:
    """From each place in the network, `layer/variable`, to the name of its parameter."""
    found: dict[str, str] = {}
    for name, place in paths.items():
        if place in found:
            raise ValueError(f"{path} holds a parameter twice: {found[place]} and {name}.")
        if place is not None:
            found[place] = name
    return found


def _stem(found: Mapping[str, str]) -> str:
    return "slow_stem_conv/kernel" if "slow_stem_conv/kernel" in found else "stem_conv/kernel"


def _num_classes(
    tensors: Mapping[str, StoredTensor], found: Mapping[str, str], wanted: int | None, path: Any
) -> int | None:
    """The checkpoint's number of classes; `None` where its classifier is of no use here."""
    if f"{CLASSIFIER}/bias" in found:
        return _rows(tensors, found, f"{CLASSIFIER}/bias", path)
    heads = [name for name in tensors if is_of_detection(name)]
    if not heads and wanted is None:
        raise ValueError(
            f"{path} lacks the parameter for {CLASSIFIER}/bias: it has no classifier. Give "
            "`num_classes`, and a new one is made."
        )
    if heads and wanted is None:
        raise ValueError(
            f"{path} is of a network that finds actions in boxes: its classifier ({heads[0]}) sees "
            "boxes, not whole clips. Give `num_classes`, and a new one takes its place."
        )
    return None


def _rows(tensors: Mapping, found: Mapping[str, str], place: str, path: Any) -> int:
    """The first size of the parameter that belongs to a place in the network."""
    if place not in found or not tensors[found[place]].shape:
        raise ValueError(f"{path} lacks the parameter for {place}: it is not a whole network.")
    return int(tensors[found[place]].shape[0])


def _check_size(path: Any, width: int, classes: int) -> None:
    """Refuses a file that is too small for the network that it calls for, before that is built.

    The smallest of these networks have 3,000 parameters times the square of the first layer's
    channels, and 8 features for each of them; half precision takes two bytes for a number.
    """
    if os.path.getsize(path) < 2 * (1000 * width**2 + 8 * width * classes):
        raise ValueError(
            f"{path} is too small for a network whose first layer has {width} channels and whose "
            f"last has {classes} classes. It is no whole checkpoint: download it again."
        )


def _assign(
    model: keras.Model,
    stored: Mapping[str, StoredTensor],
    found: Mapping[str, str],
    left_over: Sequence[str],
    has_classifier: bool,
    file: str,
    name: str,
) -> None:
    """Sets every weight of the model; names and shapes are compared before a number is read."""
    variables = {
        f"{layer.name}/{variable.name}": variable
        for layer in model.layers
        if has_classifier or layer.name != CLASSIFIER
        for variable in layer.weights
    }
    wrong = [
        f"{found[place]} is {stored[place].shape}, the network's {_torch_shape(variable.shape)}"
        for place, variable in variables.items()
        if place in stored and stored[place].shape != _torch_shape(variable.shape)
    ]
    _refuse_any(
        {
            "missing (by their names here)": [place for place in variables if place not in stored],
            "left over": [
                *left_over,
                *(found[place] for place in stored if place not in variables),
            ],
            "of a wrong shape": wrong,
        },
        file,
        name,
    )
    arrays = {place: _keras_layout(stored[place].read()) for place in variables}
    damaged = [found[place] for place, array in arrays.items() if not np.isfinite(array).all()]
    _refuse_any({"not finite": damaged}, file, name)
    for place, variable in variables.items():
        variable.assign(arrays[place])


def _refuse_any(complaints: Mapping[str, Sequence[str]], file: str, name: str) -> None:
    if any(complaints.values()):
        listed = "; ".join(f"{what}: {_some(items)}" for what, items in complaints.items() if items)
        raise ValueError(
            f"{file} does not fit {name}. Parameters {listed}. Nothing was imported. Is it the "
            "checkpoint of another network?"
        )


def _keras_layout(value: np.ndarray) -> np.ndarray:
    """From (out, in, time, height, width) to (time, height, width, in, out), of whatever rank."""
    value = np.asarray(value, np.float32)
    return np.transpose(value, (*range(2, value.ndim), 1, 0)) if value.ndim > 1 else value


def _torch_shape(shape: Sequence[int]) -> tuple[int, ...]:
    return (shape[-1], shape[-2], *shape[:-2]) if len(shape) > 1 else tuple(shape)


def _some(items: Sequence[str]) -> str:
    more = len(items) - SHOWN
    return ", ".join(items[:SHOWN]) + (f" and {more} more" if more > 0 else "")
