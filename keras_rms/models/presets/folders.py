"""A preset as a folder, in the layout of KerasHub: to keep, to share, to load again."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras

from keras_rms.models.catalog import BUILDERS
from keras_rms.models.presets.preprocessor import VideoPreprocessor
from keras_rms.version import __version__
from keras_rms.whole_files import whole_file

CONFIG = "config.json"
WEIGHTS = "model.weights.h5"
METADATA = "metadata.json"
PREPROCESSOR = "preprocessor.json"
NAMES = "assets/class_names.json"
HUGGING_FACE = "hf://"
# Marks a config that holds the arguments of a builder of `keras_rms.models`.
MODULE = "keras_rms.models"
_BUILT_WITH = "_keras_rms_built_with"
_LARGEST = 1 << 26  # bytes of a JSON file


class Folder(NamedTuple):
    """What a preset folder says beside its weights.

    Attributes:
        path: Of the folder.
        config: Of the network: a builder and its arguments, or a whole Keras model.
        names: Of the classes, or None.
        preprocessor: Arguments of a `VideoPreprocessor`, or None.
    """

    path: Path
    config: dict[str, Any]
    names: list[str] | None
    preprocessor: dict[str, Any] | None

    @property
    def builder(self) -> str | None:
        """The name of the network, unless the config is a whole model."""
        return self.config["class_name"] if self.config.get("module") == MODULE else None


def save_to_preset(
    network: keras.Model,
    folder: str | os.PathLike,
    *,
    class_names: Sequence[str] | None = None,
    preprocessor: VideoPreprocessor | None = None,
) -> None:
    """Writes a network as a preset folder, which `from_preset` loads and a hub can hold.

    It gets `config.json`, `model.weights.h5` and `metadata.json`; what is told beside goes into
    `assets/class_names.json` and `preprocessor.json`.

    Example:

    >>> network = keras_rms.models.SlowOnly(18, num_classes=2, width=8)
    >>> keras_rms.models.save_to_preset(network, "my_preset", class_names=["run", "jump"])
    >>> keras_rms.models.from_preset("my_preset").output_shape
    (None, 2)

    Args:
        network: Of `from_preset`, of a builder, or another functional model.
        folder: It is made; the files of a preset that is there already are replaced.
        class_names: Of its outputs, in their order.
        preprocessor: What makes its clips of a video.

    Raises:
        ValueError: If there are not as many names as outputs.
        OSError: If a file cannot be written.
    """
    if class_names is not None and len(class_names) != network.output_shape[-1]:
        raise ValueError(
            f"`class_names` must be as many as the outputs. Received: {len(class_names)} names for "
            f"{network.output_shape[-1]} outputs"
        )
    folder = Path(folder)
    (folder / NAMES).parent.mkdir(parents=True, exist_ok=True)
    # The largest first: on a full disk a preset that is there stays as it is.
    with whole_file(folder / WEIGHTS) as unfinished:
        network.save_weights(unfinished)
    metadata = {
        "keras_version": keras.__version__,
        "keras_rms_version": __version__,
        "parameter_count": network.count_params(),
        "date_saved": datetime.datetime.now().strftime("%Y-%m-%d@%H:%M:%S"),
    }
    _write(folder / METADATA, metadata)
    _write(folder / NAMES, None if class_names is None else list(class_names))
    serialized = preprocessor and keras.saving.serialize_keras_object(preprocessor)
    _write(folder / PREPROCESSOR, serialized)
    built_with = getattr(network, _BUILT_WITH, None)
    _write(folder / CONFIG, built_with or keras.saving.serialize_keras_object(network))


def note_builder(network: keras.Model, name: str, arguments: dict[str, Any]) -> None:
    """Remembers how a network was built, so that a folder of it can be built with RMS."""
    config = {"module": MODULE, "class_name": name, "config": arguments, "registered_name": None}
    # Around Keras, which would track it.
    object.__setattr__(network, _BUILT_WITH, config)


def read_folder(preset: str | os.PathLike) -> Folder:
    """What a preset folder says; `hf://USER/NAME` is downloaded first.

    Raises:
        ValueError: If a file is missing or damaged; says which.
        OSError: If it cannot be fetched.
        ImportError: If huggingface_hub is needed and not installed.
    """
    text = os.fspath(preset)
    folder = _of_hugging_face(text) if text.startswith(HUGGING_FACE) else Path(text)
    missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise ValueError(
            f"{text} is no preset: it lacks {' and '.join(missing)}. A preset folder has "
            f"{CONFIG} and {WEIGHTS}, as `save_to_preset` writes them."
        )
    config, names = _read(folder / CONFIG), _read(folder / NAMES)
    preprocessor = _read(folder / PREPROCESSOR)
    if not isinstance(config, dict) or not {"class_name", "config"} <= config.keys():
        raise ValueError(f"{folder / CONFIG} does not describe a network. Write the preset anew.")
    if config.get("module") == MODULE and config["class_name"] not in list(BUILDERS):
        raise ValueError(
            f"{folder / CONFIG} names a network that there is not here, "
            f"{config['class_name']!r}. Another version of keras_rms may have it."
        )
    if names is not None and not (isinstance(names, list) and all(map(_is_text, names))):
        raise ValueError(f"{folder / NAMES} must be a list of names. Write the preset anew.")
    if preprocessor is not None and not isinstance(preprocessor, dict):
        raise ValueError(f"{folder / PREPROCESSOR} does not describe a `VideoPreprocessor`.")
    return Folder(folder, config, names, preprocessor and preprocessor.get("config"))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _of_hugging_face(preset: str) -> Path:
    repository = preset.removeprefix(HUGGING_FACE)
    if repository.count("/") != 1 or not all(repository.split("/")):
        raise ValueError(f"A preset of Hugging Face is hf://USER/NAME. Received: {preset!r}")
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError(
            f"{preset} is fetched by huggingface_hub, which is not installed. Install it: "
            "pip install huggingface_hub"
        ) from error
    files = [CONFIG, WEIGHTS, METADATA, PREPROCESSOR, NAMES]
    try:
        return Path(huggingface_hub.snapshot_download(repository, allow_patterns=files))
    except (OSError, ValueError) as error:  # what it says does not name the preset
        raise OSError(
            f"The preset {preset} could not be fetched from Hugging Face ({error}). Compare its "
            "name with that on the page, hf://USER/NAME. It is needed once; after that no network "
            "is."
        ) from error


def _write(path: Path, content: Any) -> None:
    if content is None:
        path.unlink(missing_ok=True)
        return
    with whole_file(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=1), encoding="utf-8")


def _read(path: Path) -> Any:
    if not path.exists():
        return None
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError(f"more than {_LARGEST} bytes")
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}). Write the preset anew.") from error
