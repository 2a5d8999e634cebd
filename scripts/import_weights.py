"""Brings a checkpoint of PyTorchVideo, PySlowFast or mmaction2 into Keras.

    keras-rms import-weights --model=slow_only_50 --checkpoint=SLOW_8x8_R50.pyth \\
        --output=slow_only_50.keras

The source is told from the names in the file, and its habits are followed. A `.keras` output is
the whole network (`import keras_rms.models`, then `keras.saving.load_model`); a `.weights.h5` one
has its weights alone, which the builder takes, with RMS or without:
`keras_rms.models.SlowOnly(depth=50, weights="slow_only_50.weights.h5")`. For fine-tuning give
`--num_classes`: the classifier then starts anew. Neither PyTorch nor Caffe2 has to be installed,
and nothing that a file holds is run.

Published networks are known by name, need no --checkpoint, and are downloaded from their publisher:

    keras-rms import-weights --model=slow_only_50_kinetics400 --output=slow_only_50.keras

A file of keras.applications.ResNet50 or ResNet101 (.keras, .weights.h5, or the .h5 that Keras
downloads to ~/.keras/models) is inflated: each 2D kernel is repeated over time and divided by its
length, for a slow_only network or the slow pathway of a slow_fast one. The classifier, and
SlowFast's fast pathway, start anew. Give --num_classes (400 by default):

    keras-rms import-weights --model=slow_only_50 --num_classes=200 \\
        --checkpoint=resnet50_weights_tf_dim_ordering_tf_kernels.h5 --output=slow_only_50.keras
"""

import os
from collections.abc import Sequence
from pathlib import Path

from pipelines.system import quiet_tensorflow  # noqa: F401  (before what imports TensorFlow)

# isort: split
import keras
from absl import flags

from keras_rms.checkpoints import Imported, import_checkpoint, inflate
from keras_rms.models import presets
from keras_rms.models.catalog import BUILDERS
from keras_rms.models.network_record import add_record
from keras_rms.models.presets.opening import clip_settings, local_path
from keras_rms.whole_files import whole_file
from pipelines.system import command_help, command_line, output_paths

command_help.section("Files")
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint",
    None,
    "Read this published file: .pyth, .pth, or Caffe2's .pkl; or .keras, .h5 of a 2D ResNet, which "
    "is inflated. A --model that is published by name needs none.",
)
_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "Write this file: .keras is the whole network, .weights.h5 its weights alone.",
    required=True,
)
output_paths.names_file(_OUTPUT)

command_help.section("Network")
_MODEL = flags.DEFINE_string(
    "model",
    None,
    "Build this network, whose name begins with slow_only, slow_fast, ip_csn or ir_csn; or take "
    "the published one of this name, such as slow_only_50_kinetics400, or that of a folder of "
    "save_to_preset (or hf://USER/NAME).",
    required=True,
)
_INPUT_SHAPE = flags.DEFINE_list(
    "input_shape",
    None,
    "Build it for clips of these frames, height, width and channels, such as 8,224,224,3; None "
    "stands for a size that varies, as in 8,None,None,3. By default its usual shape.",
)
_NUM_CLASSES = flags.DEFINE_integer(
    "num_classes",
    None,
    "Build it for this many classes, with a classifier that starts anew. By default with the "
    "checkpoint's own classifier.",
)

_SPAN = flags.DEFINE_integer(
    "span",
    None,
    "Note in a .keras file that the frames of a clip spread over this many frames of the video. By "
    "default 64, and twice the frames of clips longer than 32.",
    lower_bound=1,
)

ENDINGS = (".keras", ".weights.h5")
IMAGE_ENDINGS = (".keras", ".h5")


def main(_: Sequence[str]) -> None:
    if not _OUTPUT.value.endswith(ENDINGS):
        raise ValueError(f"--output must end in .keras or .weights.h5, not {_OUTPUT.value}")
    folder = os.path.dirname(_OUTPUT.value) or "."
    if not os.path.isdir(folder):
        raise ValueError(f"The folder of --output={_OUTPUT.value} does not exist. Make it first.")
    if _CHECKPOINT.value is None:
        _write_preset(_MODEL.value, _OUTPUT.value)
        return
    imported = _imported()
    with whole_file(_OUTPUT.value) as unfinished:
        _save(imported.model, unfinished, _record(imported))
    arguments = ", ".join(f"{name}={value!r}" for name, value in imported.arguments.items())
    print(
        f"Wrote {_OUTPUT.value}: {_MODEL.value} with {imported.model.count_params():,} parameters "
        f"of {imported.source}."
    )
    print(f"Built with: {arguments}.")
    print(f"Its clips x, RGB of 0 to 255, are normalised as {imported.normalization}.")
    if _OUTPUT.value.endswith(".keras"):
        clips = ", ".join(f"{name}={value}" for name, value in _record(imported).items())
        print(f"Noted in it for keras-rms evaluate and predict: {clips}.")
    if not imported.has_classifier:
        reason = (
            "the checkpoint's is for images"
            if _CHECKPOINT.value.endswith(IMAGE_ENDINGS)
            else f"--num_classes={_NUM_CLASSES.value} is not the checkpoint's number"
        )
        print(f"The classifier is new: {reason}. Train it before you trust its logits.")


def _imported() -> Imported:
    bring = inflate if _CHECKPOINT.value.endswith(IMAGE_ENDINGS) else import_checkpoint
    options = {"input_shape": _parsed_shape(_INPUT_SHAPE.value)}
    if _NUM_CLASSES.value is not None:
        options["num_classes"] = _NUM_CLASSES.value
    return bring(_MODEL.value, _CHECKPOINT.value, **options)


def _parsed_shape(sizes: list[str] | None) -> tuple | None:
    if sizes is None:
        return None
    try:
        return tuple(None if size.strip() == "None" else int(size) for size in sizes)
    except ValueError:
        raise ValueError(
            f"--input_shape must be four sizes such as 8,224,224,3, not {','.join(sizes)}"
        ) from None


def _write_preset(name: str, path: str) -> None:
    """Writes the network of a preset as it is, or with a new classifier."""
    preset = presets.PRESETS.get(name)
    if preset is None and name in BUILDERS:
        published = [each for each, p in presets.PRESETS.items() if p.architecture == name]
        raise ValueError(
            f"--model={name} is a network without weights: give --checkpoint, or the name of a "
            f"published one ({', '.join(published) or 'there is none'})."
        )
    shape = _parsed_shape(_INPUT_SHAPE.value)
    network = presets.from_preset(name, input_shape=shape)
    record = clip_settings(local_path(name))
    if _NUM_CLASSES.value not in (None, network.output_shape[-1]):
        network = presets.from_preset(name, num_classes=_NUM_CLASSES.value, input_shape=shape)
        record.pop("class_names", None)
        print("The classifier is new. Train it before you trust its logits.")
    record["num_frames"] = network.input_shape[1] or record.get("num_frames")
    if _SPAN.value is not None:
        record["span"] = _SPAN.value
    with whole_file(path) as unfinished:
        _save(network, unfinished, record)
    clips = "uint8" if network.inputs[0].dtype == "uint8" else "normalised"
    size = f"{network.count_params():,} parameters"
    print(f"Wrote {path}: {name} with {size}. It takes {clips} clips.")


def _save(network: keras.Model, path: Path, record: dict) -> None:
    if path.suffix == ".keras":
        network.save(path)
        add_record(path, record)
    else:
        network.save_weights(path)


def _record(imported: Imported) -> dict:
    """What keras-rms evaluate and predict have to know, in the file itself."""
    span = {} if _SPAN.value is None else {"span": _SPAN.value}
    return {"model": _MODEL.value, **imported.clip_settings, **span}


if __name__ == "__main__":
    command_line.run(main)
