"""A network with weights in one line."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import keras

from keras_rms.checkpoints.importing import CLASSIFIER
from keras_rms.models.catalog import build
from keras_rms.models.presets import conversion, folders
from keras_rms.models.presets.catalog import PRESETS, preset_of
from keras_rms.models.presets.class_names import class_names
from keras_rms.models.weights import load_weights

if TYPE_CHECKING:
    from keras_rms.random_mean_scaling import RandomMeanScaling

# What the arguments of a builder may be beside those that make the network what it is.
OPTIONS = (
    "dropout",
    "include_preprocessing",
    "include_top",
    "name",
    "residual_drop",
    "rms_pathways",
    "rms_position",
    "rms_stages",
    "seed",
)
# Of these a preset folder does not keep any: they hold no weights, or start anew.
_NOT_KEPT = ("name", "residual_drop", "rms_pathways", "rms_position", "rms_stages", "seed")


def from_preset(
    preset: str | os.PathLike,
    *,
    num_classes: int | None = None,
    rms: str | RandomMeanScaling | None = None,
    input_shape: tuple | None = None,
    **options: Any,
) -> keras.Model:
    """A network with published weights, or with those of a folder.

    A name is downloaded from its publisher once, converted, and kept in Keras's cache
    (`~/.keras/models/keras_rms`, or below `KERAS_HOME`); no network is needed afterwards. The
    checksum of the first download is remembered, and a change refused. The network takes uint8 RGB
    clips of any height and width, and normalises them as its publisher does.

    Example:

    >>> network = keras_rms.models.SlowOnly(18, num_classes=2, width=8)
    >>> keras_rms.models.save_to_preset(network, "my_preset")
    >>> keras_rms.models.from_preset("my_preset", num_classes=5).output_shape
    (None, 5)

    Args:
        preset: A name of `keras_rms.models.presets.PRESETS`, a folder of `save_to_preset`, or
            `"hf://USER/NAME"` of Hugging Face. A name comes before a folder of that name.
        num_classes: The preset's by default. With another number the classifier starts anew.
        rms: As for `SlowOnly`, to fine-tune with RMS. It holds no weights.
        input_shape: (time, height, width, 3), the preset's by default.
        **options: Of the builder: `include_top`, `include_preprocessing`, `dropout`, `seed`,
            `name`, `rms_position`, `rms_stages`, `rms_pathways`, `residual_drop`.

    Returns:
        A functional `keras.Model`, from clips to logits.

    Raises:
        ValueError: If there is no such preset (near names are listed), a file is missing, damaged
            or changed, or an argument is none of those above.
        OSError: If it cannot be downloaded or stored.
        ImportError: If huggingface_hub is needed and not installed.

    Reference:
        The publishers' own tables; see `keras_rms/models/presets/catalog.py`.
    """
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise ValueError(
            f"`from_preset` takes `num_classes`, `rms`, `input_shape` and {', '.join(OPTIONS)}: "
            f"the rest belongs to the preset. Received: {', '.join(unknown)}"
        )
    if input_shape is not None:
        options["input_shape"] = tuple(input_shape)
    if not is_folder(preset):
        found = preset_of(os.fspath(preset))
        arguments = conversion.builder_arguments(found)
        path = str(conversion.network_file(os.fspath(preset)))
        return _built(found.architecture, arguments, path, num_classes, rms, options)
    folder = folders.read_folder(preset)
    network = _of_folder(folder, num_classes, rms, options)
    outputs = network.output_shape[-1]
    is_whole = num_classes is None and options.get("include_top", True)
    if folder.names is not None and is_whole and len(folder.names) != outputs:
        raise ValueError(
            f"{folder.path / folders.NAMES} has {len(folder.names)} names, but the network "
            f"{outputs} outputs: the files are of different presets."
        )
    return network


def is_folder(preset: str | os.PathLike) -> bool:
    """Whether a preset is a folder, here or at Hugging Face, and not a name."""
    text = os.fspath(preset)
    return text not in PRESETS and (text.startswith(folders.HUGGING_FACE) or os.path.isdir(text))


def names_of(preset: str | os.PathLike) -> list[str] | None:
    """The names of the classes of a preset, in the order of its outputs; None if not known.

    Raises:
        ValueError, ImportError: See `from_preset`.
    """
    if is_folder(preset):
        return folders.read_folder(preset).names
    return list(class_names(preset_of(os.fspath(preset)).dataset))


def preprocessor_config(preset: str | os.PathLike) -> dict[str, Any]:
    """The arguments of a preset's `VideoPreprocessor`.

    Raises:
        ValueError: If the folder does not hold them. Beside that see `from_preset`.
    """
    if not is_folder(preset):
        found = preset_of(os.fspath(preset))
        return {
            "num_frames": found.num_frames,
            "span": found.span,
            "crop_size": found.crop_size,
            "frame_rate": conversion.clip_settings(found).get("conversion", {}).get("fps"),
        }
    folder = folders.read_folder(preset)
    if folder.preprocessor is None:
        raise ValueError(
            f"{os.fspath(preset)} does not say how clips are made: it lacks "
            f"{folders.PREPROCESSOR}. Make a `VideoPreprocessor` yourself, or save the preset "
            "with one."
        )
    return folder.preprocessor


def _of_folder(
    folder: folders.Folder, num_classes: int | None, rms: Any, options: dict[str, Any]
) -> keras.Model:
    path = str(folder.path / folders.WEIGHTS)
    if folder.builder is not None:
        kept = folder.config["config"]
        try:
            return _built(folder.builder, kept, path, num_classes, rms, options)
        except TypeError as error:
            raise ValueError(
                f"{folder.path / folders.CONFIG} holds arguments that {folder.builder} does not "
                f"take ({error}). Another version of keras_rms may have written it."
            ) from error
    if rms is not None or options:
        given = sorted([*options, *(["rms"] if rms is not None else [])])
        raise ValueError(
            f"The network of {folder.path} is kept as a whole, not as a builder's arguments: load "
            "it without them, and use `keras_rms.insert_before` for RMS. Received: "
            f"{', '.join(given)}"
        )
    return _whole(folder, path, num_classes)


def _built(
    name: str,
    kept: dict[str, Any],
    path: str,
    num_classes: int | None,
    rms: Any,
    options: dict[str, Any],
) -> keras.Model:
    """The network of a builder with the weights of a file."""
    arguments = {**kept, **options}
    if options.get("include_preprocessing") is True:
        arguments["include_preprocessing"] = kept.get("include_preprocessing") or True
    is_new = num_classes not in (None, kept.get("num_classes"))
    if is_new:
        arguments["num_classes"] = num_classes
    network = build(name, rms=rms, **arguments)
    has_head = arguments.get("include_top", True) and not is_new
    _load(network, path, () if has_head else (CLASSIFIER,))
    known = {key: value for key, value in arguments.items() if key not in _NOT_KEPT}
    folders.note_builder(network, name, known)
    return network


def _whole(folder: folders.Folder, path: str, num_classes: int | None) -> keras.Model:
    """The network of a whole model's config with the weights of a file."""
    head = None
    if num_classes is not None:
        layers = folder.config["config"].get("layers", [])
        dense = [layer for layer in layers if layer["class_name"] == "Dense"]
        if not dense:
            raise ValueError(
                f"{folder.path} holds no network that ends in a dense layer: its classes cannot be "
                f"changed. Received: num_classes={num_classes}"
            )
        if dense[-1]["config"]["units"] != num_classes:
            dense[-1]["config"]["units"] = num_classes
            head = dense[-1]["config"]["name"]
            folder.config.pop("build_config", None)
            dense[-1].pop("build_config", None)
    try:
        network = keras.saving.deserialize_keras_object(folder.config, safe_mode=True)
    except Exception as error:  # Keras raises many kinds for a damaged config
        raise ValueError(
            f"{folder.path / folders.CONFIG} does not describe a network of Keras "
            f"({type(error).__name__}: {error})."
        ) from error
    _load(network, path, (head,) if head else ())
    return network


def _load(network: keras.Model, path: str, skip: tuple[str, ...]) -> None:
    try:
        load_weights(network, path, skip)
    except ValueError as error:
        raise ValueError(
            f"{error} If {path} is damaged, delete it: a preset of a name is then downloaded anew."
        ) from error
