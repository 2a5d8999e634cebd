"""A preset -> the `.keras` file of its network, made once and kept in Keras's cache."""

from pathlib import Path
from typing import Any

import keras

from keras_rms.checkpoints.importing import SOURCES, import_checkpoint
from keras_rms.models.network_record import add_record, options_of
from keras_rms.models.presets import downloads
from keras_rms.models.presets.catalog import Preset, preset_of
from keras_rms.models.presets.class_names import class_names
from keras_rms.whole_files import whole_file

# Part of the files' names: a version that converts otherwise does not take those of an older one.
VERSION = 2
_STEMS = ("stem_conv", "slow_stem_conv", "fast_stem_conv")


def network_file(name: str) -> Path:
    """The `.keras` file of a preset, which is downloaded and converted if it is not there.

    The network takes uint8 clips of any height and width, and the file notes how they are made.

    Raises:
        ValueError: If there is no preset of that name, or the publisher's file is not as expected.
        OSError: If it cannot be downloaded or stored.
    """
    preset = preset_of(name)
    path = downloads.cache_folder() / f"{name}-{VERSION}.keras"
    if not path.exists():
        try:
            _make(name, preset, path)
        except FileNotFoundError:
            # Another process was faster, and has removed the checkpoint.
            if not path.exists():
                raise
    return path


def _make(name: str, preset: Preset, path: Path) -> None:
    checkpoint, sha256 = downloads.downloaded(name, preset)
    try:
        network = _converted(preset, checkpoint)
    except ValueError as error:
        aside = downloads.set_aside(checkpoint)
        raise ValueError(
            f"What {preset.address} gave is not the checkpoint of the preset {name}. {error} It is "
            f"set aside as {aside}. Call this again to download it anew."
        ) from error
    try:
        with whole_file(path, shared=True) as unfinished:
            network.save(unfinished)
            add_record(unfinished, clip_settings(preset))
    except OSError as error:
        raise OSError(
            f"The network of the preset {name} could not be stored as {path} ({error}). Make room, "
            "or set the environment variable KERAS_HOME to another folder, and call this again: "
            "the download is kept."
        ) from error
    downloads.remember(preset, checkpoint, sha256)
    checkpoint.unlink(missing_ok=True)


def clip_settings(preset: Preset) -> dict[str, Any]:
    """How the clips of a preset are made, in the words of a run's settings.json."""
    settings: dict[str, Any] = {
        "model": preset.architecture,
        "class_names": list(class_names(preset.dataset)),
        "num_frames": preset.num_frames,
        "evaluation_crop_size": preset.crop_size,
        "span": preset.span or 0,
        "network_options": options_of(builder_arguments(preset)),
    }
    if preset.span and preset.source == "PyTorchVideo":
        settings["conversion"] = {"fps": 30, "short_side": 256}
    return settings


def builder_arguments(preset: Preset) -> dict[str, Any]:
    """What the builder of a preset's architecture has to be told to compute what it computes."""
    habits = next(source for source in SOURCES if source.NAME == preset.source)
    return {
        **habits.arguments(preset.architecture),
        "num_classes": len(class_names(preset.dataset)),
        "width": preset.width,
        "input_shape": (preset.num_frames, None, None, 3),
        "include_preprocessing": preset.normalization,
    }


def _converted(preset: Preset, checkpoint: Path) -> keras.Model:
    wanted = builder_arguments(preset)
    # What is kept must not depend on who happens to need it first.
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        imported = import_checkpoint(
            preset.architecture,
            checkpoint,
            input_shape=wanted["input_shape"],
            include_preprocessing=preset.normalization,
        )
    finally:
        keras.config.set_dtype_policy(policy)
    if imported.source != preset.source or imported.arguments != wanted:
        raise ValueError(
            f"It is of {imported.source}, built with {imported.arguments}, where {preset.source} "
            f"and {wanted} are expected."
        )
    if preset.channels == "BGR":
        _take_rgb(imported.model)
    return imported.model


def _take_rgb(network: keras.Model) -> None:
    """Turns a network of BGR into one of RGB: exact, as the colours are normalised alike."""
    for layer in network.layers:
        if layer.name in _STEMS:
            layer.kernel.assign(layer.kernel.numpy()[..., ::-1, :])
