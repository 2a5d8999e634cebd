"""A name, a folder or a file, as commands take them: where it is, its network, its clips."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import Any

import keras

from keras_rms.models.network_record import options_of, read_record
from keras_rms.models.presets import folders
from keras_rms.models.presets.catalog import PRESETS
from keras_rms.models.presets.conversion import network_file
from keras_rms.models.presets.loading import from_preset
from keras_rms.models.weights import check_archive

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def is_preset(text: str | os.PathLike) -> bool:
    """Whether this is the name of a preset, or a folder of one, here or at Hugging Face."""
    text = os.fspath(text)
    config = os.path.join(text, folders.CONFIG)
    return text in PRESETS or text.startswith(folders.HUGGING_FACE) or os.path.isfile(config)


def local_path(preset: str | os.PathLike) -> Path:
    """The `.keras` file of a preset's name, or the folder of a preset. It is downloaded first.

    Raises:
        ValueError, OSError, ImportError: See `from_preset`.
    """
    text = os.fspath(preset)
    if text not in PRESETS and (text.startswith(folders.HUGGING_FACE) or os.path.isdir(text)):
        return folders.read_folder(text).path
    return network_file(text)


def load_network(path: str | os.PathLike, remedy: str = "") -> keras.Model:
    """The network of a `.keras` file or of a preset folder.

    Args:
        path: The file or folder.
        remedy: A sentence for the error.

    Raises:
        ValueError: If it cannot be read.
        OSError: If the disk is full on which Keras unpacks it.
    """
    if os.path.isdir(path):
        return from_preset(path)
    try:
        check_archive(os.fspath(path))
        return keras.saving.load_model(path, compile=False)
    except Exception as error:  # Keras raises many kinds for a damaged file
        # The file is whole then, and `remedy` may be to delete it.
        if isinstance(error, OSError) and error.errno in _FULL:
            place = tempfile.gettempdir()
            raise OSError(error.errno, f"{error}. Make room to unpack {path}", place) from error
        raise ValueError(
            f"{path} cannot be read as a Keras model ({type(error).__name__}: {error}). {remedy}"
        ) from error


def clip_settings(path: str | os.PathLike) -> dict[str, Any]:
    """What a `.keras` file or a preset folder says of its clips, by `network_record.NAMES`.

    Raises:
        ValueError: If what it says is damaged.
    """
    if not os.path.isdir(path):
        return read_record(path)
    folder = folders.read_folder(path)
    settings: dict[str, Any] = {}
    if folder.names is not None:
        settings["class_names"] = folder.names
    if folder.builder is not None:
        options = options_of(folder.config["config"])
        settings |= {"model": folder.builder, "network_options": options}
    if folder.preprocessor is not None:
        clips = folder.preprocessor
        settings |= {"num_frames": clips.get("num_frames"), "span": clips.get("span") or 0}
        settings["evaluation_crop_size"] = clips.get("crop_size")
        if clips.get("frame_rate") is not None:
            settings["conversion"] = {"fps": clips["frame_rate"]}
    return settings


def weights_path(path: str | os.PathLike) -> Path:
    """The file that the weights of a `.keras` file or a preset folder are in."""
    return Path(path, folders.WEIGHTS) if os.path.isdir(path) else Path(path)
