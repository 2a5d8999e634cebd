"""A network that was trained, here or elsewhere, opened for evaluation, prediction and export."""

import dataclasses
import os
from typing import Any

import keras

import keras_rms.models  # noqa: F401  (registers the layers that networks are made of)
from keras_rms import arguments
from keras_rms.inference.uint8_network import on_uint8_clips
from keras_rms.models.presets.opening import clip_settings, load_network, weights_path
from keras_rms.training.networks import dtype_policy, network_of
from keras_rms.training.recipe import Recipe
from keras_rms.training.work_dir import checkpoints
from keras_rms.training.work_dir import settings as work_settings
from keras_rms.training.work_dir.work_folder import WorkFolder

WEIGHTS = ("last", "best")


@dataclasses.dataclass(frozen=True)
class TrainedNetwork:
    """A trained network and how its clips are made.

    Attributes:
        model: uint8 RGB clips (batch, time, height, width, 3), or images (batch, height, width, 3),
            -> logits (batch, classes).
        settings: The content of settings.json, or as much as is known of `network_record.NAMES`.
        source: The file that the weights are from.
        notes: Sentences that a user should read, such as one about a training that is unfinished.
    """

    model: keras.Model
    settings: dict[str, Any]
    source: str
    notes: tuple[str, ...] = ()

    @property
    def class_names(self) -> list[str]:
        """Their names, or numbers where nobody told the names."""
        outputs = self.model.output_shape[-1]
        return self.settings.get("class_names") or [f"class {i}" for i in range(outputs)]

    @property
    def takes_images(self) -> bool:
        return len(self.model.input_shape) == 4

    @property
    def usual_views(self) -> tuple[int, int]:
        """Clips and crops of a video that its answer is the mean of, unless a user says others."""
        if self.takes_images:
            return 1, 1
        return (1 if self.covers_video else 10), 3

    @property
    def covers_video(self) -> bool:
        """Whether a clip spreads over all of a video, however long it is."""
        return self.settings["span"] == 0

    def check_classes(self, class_names: list[str], data: str) -> None:
        """Raises ValueError unless `class_names`, those of the folder `data`, are the network's.

        Of a network whose names nobody told, the number decides.
        """
        own = self.class_names
        known = self.settings.get("class_names") is not None
        if list(class_names) == own or (not known and len(class_names) == len(own)):
            return
        differ = ""
        if known:
            only_here = sorted(set(class_names) - set(own))
            missing = sorted(set(own) - set(class_names))
            differ = (
                f"; only in the data: {_some(only_here)}; only in the network: {_some(missing)}"
            )
        trained_on = self.settings.get("data")
        remedy = (
            f"the labels.txt of the training data, {trained_on}"
            if trained_on
            else f"a labels.txt of the network's {len(own)} classes, one a line in its order"
        )
        if known and not trained_on:
            remedy += " (keras_rms.models.presets.class_names has those of published networks)"
        raise ValueError(
            f"The classes of {data} are not those that the network was trained on: "
            f"{len(class_names)} classes there, {len(own)} in the network{differ}. Convert "
            f"the videos into a folder that begins with {remedy}."
        )


def open_run(work_dir: str | os.PathLike, weights: str | None = None) -> TrainedNetwork:
    """The network that `keras-rms train` left in a folder, finished or not.

    Example:

    >>> network = open_run("runs/rms", "best")

    Args:
        work_dir: The work folder.
        weights: `"last"`, those after the last step, which `model.keras` has; `"best"`, those with
            the best validation, in `checkpoints/best.npz`; None for `model.keras`, and for the
            best of a training that has not finished, or the newest where none is validated yet.

    Raises:
        ValueError: If the folder holds no such weights, its files do not belong together, or
            weights are not finite numbers.
    """
    if weights is not None:
        arguments.validate_choice("weights", weights, WEIGHTS)
    folder = WorkFolder(work_dir)
    settings = work_settings.read(work_dir)
    path = folder.weights(weights)
    notes: tuple[str, ...] = ()
    if path == folder.model:
        model = load_network(
            path,
            "If it is damaged, delete it and run the training command again; it is written anew "
            "from the last checkpoint.",
        )
    else:
        model, step = _from_checkpoint(path, settings)
        notes = (_note(folder, path, step, settings),)
    classes, outputs = len(settings["class_names"]), model.output_shape[-1]
    if classes != outputs:
        raise ValueError(
            f"{path} has {outputs} outputs but {folder.settings} lists {classes} classes: "
            "the two files come from different trainings."
        )
    _check_finite(model, path)
    return TrainedNetwork(model, settings, str(path), notes)


def open_file(path: str | os.PathLike, **settings: Any) -> TrainedNetwork:
    """The network in a `.keras` file, imported or left by a training, or in a preset folder.

    It becomes one of uint8 clips of any height and width. How its clips are made the file says,
    where `keras-rms train` or `import-weights` wrote it, and a folder that has a preprocessor.

    Example:

    >>> network = open_file("slow_only_50.keras", span=64, evaluation_crop_size=256)

    Args:
        path: The file or folder.
        **settings: Of `network_record.NAMES`, in the place of what the file says; None leaves that.

    Raises:
        ValueError: If the file cannot be read, its weights are not finite numbers, or neither it
            nor `settings` says how clips are made; names what is missing.
    """
    original = load_network(path)
    _check_finite(original, path)
    given = {name: value for name, value in settings.items() if value is not None}
    told = {**clip_settings(path), **given}
    model = on_uint8_clips(original, path, told.get("normalization"))
    if original.inputs[0].dtype == "uint8" and "normalization" in given:
        raise ValueError(
            f"{path} takes colours from 0 to 255 and normalises them itself. Leave out the "
            "normalisation (--mean, --stddev)."
        )
    known = {**_implied(original), **told}
    is_image = len(model.input_shape) == 4
    for name, flag in (
        ("num_frames", "num_frames"),
        ("span", "span"),
        ("evaluation_crop_size", "crop_size"),
    ):
        if known.get(name) is None:
            raise ValueError(f"{path} does not say its `{name}`. Give it: --{flag}.")
    frames = 1 if is_image else model.input_shape[1]
    if frames not in (None, known["num_frames"]):
        raise ValueError(
            f"`num_frames` must be the {frames} that the network in {path} takes. "
            f"Received: num_frames={known['num_frames']}"
        )
    names, outputs = known.get("class_names"), model.output_shape[-1]
    if names is not None and len(names) != outputs:
        raise ValueError(
            f"`class_names` must be as many as the {outputs} outputs of {path}. "
            f"Received: {len(names)} names"
        )
    return TrainedNetwork(model, known, str(weights_path(path)))


def _check_finite(model: keras.Model, path: str | os.PathLike) -> None:
    """Of such weights every answer would be the first class."""
    for weight in model.weights:
        is_float = keras.backend.is_float_dtype(weight.dtype)
        if is_float and not bool(keras.ops.all(keras.ops.isfinite(weight))):
            raise ValueError(
                f"{path} holds weights that are not finite numbers, {weight.path} for one: the "
                "training has diverged. Take the weights of an earlier step, or train again with "
                "a lower learning rate."
            )


def _implied(model: keras.Model) -> dict[str, Any]:
    """What the network itself says of its clips."""
    shape = model.input_shape
    implied = {"model": model.name, "num_frames": shape[1], "evaluation_crop_size": shape[-3]}
    return implied | ({"num_frames": 1, "span": 1} if len(shape) == 4 else {})


def _from_checkpoint(path: os.PathLike, settings: dict[str, Any]) -> tuple[keras.Model, int]:
    """The network of a run with the weights of a checkpoint, and the step after which it was."""
    fields = {field.name for field in dataclasses.fields(Recipe)} & settings.keys()
    values: dict[str, Any] = {name: settings[name] for name in fields}
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    recipe = Recipe(**(values | lists))
    with dtype_policy("float32"):
        model = network_of(recipe, len(settings["class_names"]))
    try:
        arrays = checkpoints.read(path)
    except Exception as error:  # what damage raises depends on where in the file it is
        raise ValueError(
            f"{path} is damaged ({type(error).__name__}: {error}). Take other --weights, or let "
            "the training go on: it writes checkpoints anew."
        ) from error
    found = checkpoints.evaluated_weights(arrays)
    wanted = {weight.path: tuple(weight.shape) for weight in model.weights}
    shapes = {name: array.shape for name, array in found.items()}
    if shapes != wanted:
        raise ValueError(
            f"{path} is not of the network that settings.json describes: "
            f"{checkpoints.difference(wanted, shapes)}."
        )
    for weight in model.weights:
        weight.assign(found[weight.path])
    return model, checkpoints.host_of(arrays)["step"]


def _note(folder: WorkFolder, path: os.PathLike, step: int, settings: dict[str, Any]) -> str:
    total = settings["epochs"] * settings["steps_per_epoch"]
    note = f"The weights are those of {path}, after step {step} of {total}."
    if not folder.finished:
        note = f"The training in {folder} has not finished. {note}"
    if settings.get("precise_bn_steps"):
        note += (
            " The statistics of batch normalisation are the running ones: checkpoints do not hold "
            "those that precise_bn_steps measures."
        )
    return note


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3]) or "none"
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
