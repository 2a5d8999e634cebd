"""What a finished training leaves in its work folder, for evaluation and prediction."""

from dataclasses import dataclass

import keras

import keras_rms.models  # noqa: F401  (registers the layers that networks are made of)
from keras_rms.models.weights import check_archive
from keras_rms.training.work_dir import settings as work_settings
from keras_rms.training.work_dir.work_folder import WorkFolder


@dataclass(frozen=True)
class FinishedRun:
    """A trained network and the settings it was trained with.

    Attributes:
        model: uint8 RGB clips (batch, time, height, width, 3), or images (batch, height, width, 3),
            -> logits (batch, classes).
        settings: The content of settings.json.
    """

    model: keras.Model
    settings: dict

    @property
    def class_names(self) -> list[str]:
        return self.settings["class_names"]

    @property
    def takes_images(self) -> bool:
        return len(self.model.input_shape) == 4

    def check_classes(self, class_names: list[str], data: str) -> None:
        """Raises ValueError unless `class_names`, those of the folder `data`, are the network's."""
        if list(class_names) == self.class_names:
            return
        only_here = sorted(set(class_names) - set(self.class_names))
        missing = sorted(set(self.class_names) - set(class_names))
        raise ValueError(
            f"The classes of {data} are not those that the network was trained on: "
            f"{len(class_names)} classes there, {len(self.class_names)} in the network; "
            f"only in the data: {_some(only_here)}; only in the network: {_some(missing)}. Convert "
            f"the videos into a folder with the labels.txt of the training data, "
            f"{self.settings['data']}."
        )


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3]) or "none"
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown


def load_finished_run(work_dir: str) -> FinishedRun:
    """Reads the network and the settings that `keras-rms train` left in `work_dir`.

    Raises:
        ValueError: If the folder holds no finished training, or its files do not belong together.
    """
    folder = WorkFolder(work_dir)
    settings = work_settings.read(work_dir)
    path = folder.model
    if not folder.finished:
        raise ValueError(
            f"{folder} has no {path.name}: its training has not finished. Run the command that "
            "started it again; it continues from the last checkpoint."
        )
    try:
        check_archive(str(path))
        model = keras.saving.load_model(path, compile=False)
    except Exception as error:  # Keras raises many kinds for a damaged file
        raise ValueError(
            f"{path} cannot be read as a Keras model ({type(error).__name__}: {error}). If it is "
            "damaged, delete it and run the training command again; it is written anew from the "
            "last checkpoint."
        ) from error
    classes, outputs = len(settings["class_names"]), model.output_shape[-1]
    if classes != outputs:
        raise ValueError(
            f"{path} has {outputs} outputs but {folder.settings} lists {classes} classes: "
            "the two files come from different trainings."
        )
    return FinishedRun(model, settings)
