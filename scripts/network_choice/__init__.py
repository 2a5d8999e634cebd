"""Which network a command uses: that of a training, finished or not, of a file, or by name."""

import os
import sys
from typing import Any

from absl import flags

from keras_rms.inference.trained_network import WEIGHTS, TrainedNetwork, open_file, open_run
from keras_rms.models.presets.opening import local_path
from keras_rms.training.work_dir.work_folder import WorkFolder
from pipelines.system import command_help, command_line

command_help.section("Which network")
_WORK_DIR = flags.DEFINE_string(
    "work_dir", None, "Use the network of the training in this folder, finished or not."
)
_MODEL = flags.DEFINE_string(
    "model",
    None,
    "Use the network in this .keras file, as keras-rms import-weights writes it, in this folder of "
    "save_to_preset (or hf://USER/NAME), or the published one of this name, such as "
    "slow_only_50_kinetics400, in the place of --work_dir.",
)
_WEIGHTS = flags.DEFINE_enum(
    "weights",
    None,
    WEIGHTS,
    "Use the weights after the last step of --work_dir, or those with the best validation. By "
    "default the last, which model.keras has, and of an unfinished training the best.",
)


def work_dir() -> str | None:
    """The folder of the training, if the network is one's."""
    return _WORK_DIR.value


def model() -> str | None:
    """The .keras file or preset folder, if the network is one's. It is downloaded first.

    Raises:
        ValueError: If it is not clear which network is meant, or there is none of that name.
        OSError, ImportError: If it cannot be downloaded.
    """
    if (_WORK_DIR.value is None) == (_MODEL.value is None):
        raise ValueError("Give either --work_dir, of a training, or --model, a .keras file.")
    if _MODEL.value is not None and _WEIGHTS.value is not None:
        raise ValueError("--weights are those of a --work_dir; a --model has its own only.")
    return None if _MODEL.value is None else _file_of(_MODEL.value)


def _file_of(model: str) -> str:
    """The path of a file as it is, and that of a preset."""
    if os.path.isfile(model) or model.endswith(".keras"):
        return model
    if WorkFolder(model).settings.exists():
        raise ValueError(f"{model} is the folder of a training: give it as --work_dir.")
    return str(local_path(model))


def opened(**settings: Any) -> TrainedNetwork:
    """The network. What is to be known about it is printed on standard error.

    Args:
        **settings: See `open_file`; a training has its own.

    Raises:
        ValueError: If there is none, or it is not clear which is meant.
    """
    path = model()
    network = open_file(path, **settings) if path else open_run(_WORK_DIR.value, _WEIGHTS.value)
    for note in network.notes:
        print(command_line.paragraph(note), file=sys.stderr)
    return network
