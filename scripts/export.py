"""Writes a network for other programs: SavedModel, ONNX or TensorFlow Lite.

    keras-rms export --work_dir=runs/rms --format=onnx --output=rms.onnx
    keras-rms export --model=slow_only_50.keras --format=tflite \\
        --output=slow_only_50.tflite --input_shape=8,224,224,3

    keras-rms export --work_dir=runs/rms --format=tflite --int8 --output=rms_int8.tflite

The result is loaded again, and its outputs on random clips are compared with Keras's. ONNX needs
`pip install 'keras_rms[export]'`. The batch size stays open. TensorFlow Lite needs all other sizes:
by default those of the training's evaluation, else give --input_shape.

For phones --as_2d writes a video network as 2D operations over its frames, which run on more
devices than 3D convolutions do, and --int8 makes them 8-bit integers. Their ranges are those of
training clips. Top-1 is then measured beside Keras's on the validation split.

The input is named `clips` (or `images`) and the output `logits`. Of a finished training ONNX and
SavedModel also say the names of the classes, the frame rate, span and size of the clips.
"""

import os
from collections.abc import Sequence

# What is written is TensorFlow's, on whichever backend the network was trained. TensorFlow imports
# Keras, which reads this then.
os.environ["KERAS_BACKEND"] = "tensorflow"

# isort: split
from pipelines.system import quiet_tensorflow  # noqa: F401  (before what imports TensorFlow)

# isort: split
import keras
import network_choice
import numpy as np
from absl import flags
from network_choice.calibration import CalibrationClips

from keras_rms.inference.export import FORMATS, export_network, exported_outputs
from keras_rms.models.presets.opening import clip_settings, load_network
from pipelines.system import command_help, command_line

flags.adopt_module_key_flags(network_choice)

command_help.section("What to write")
_FORMAT = flags.DEFINE_enum("format", "saved_model", FORMATS, "Write the network in this format.")
_OUTPUT = flags.DEFINE_string(
    "output", None, "Write this file, or for a SavedModel this folder.", required=True
)
_INPUT_SHAPE = flags.DEFINE_list(
    "input_shape",
    None,
    "Fix the input to these frames, height, width and channels, such as 8,224,224,3. By default "
    "the network's own, or for TensorFlow Lite the training's frames and evaluation_crop_size.",
)

command_help.section("For phones, with --format=tflite")
_AS_2D = flags.DEFINE_bool(
    "as_2d", False, "Write a video network as 2D operations over its frames, with equal outputs."
)
_INT8 = flags.DEFINE_bool(
    "int8", False, "Write a network of 8-bit integers, as with --as_2d, and compare its top-1."
)
_CALIBRATION = flags.DEFINE_string(
    "calibration",
    None,
    "Take the clips for --int8 from this folder, which keras-rms convert wrote. By default from "
    "the training's.",
)
_CALIBRATION_CLIPS = flags.DEFINE_integer(
    "calibration_clips",
    100,
    "Let this many videos of the training split give the ranges of the integers, one clip each.",
    lower_bound=1,
)
_ALLOW_OTHER_CONVERSION = flags.DEFINE_bool(
    "allow_other_conversion",
    None,
    "Take clips for --int8 of another frame rate, size or quality than the network was trained on, "
    "with a warning. By default as in training.",
)

# Float32 sums in another order differ by some 1e-6 of the largest output.
TOLERANCE = 1e-4
# For a comparison of a network whose sizes are all open.
SOME_SIZES = (8, 64, 96, 3)


def main(_: Sequence[str]) -> None:
    path = network_choice.model()
    if os.path.lexists(_OUTPUT.value):
        raise ValueError(f"--output={_OUTPUT.value} exists already. Remove it or name another.")
    if not os.path.isdir(os.path.dirname(_OUTPUT.value) or "."):
        raise ValueError(f"The folder of --output={_OUTPUT.value} does not exist. Make it first.")
    if (_AS_2D.value or _INT8.value) and _FORMAT.value != "tflite":
        raise ValueError("--as_2d and --int8 are for TensorFlow Lite: give --format=tflite.")
    if _CALIBRATION.value and not _INT8.value:
        raise ValueError("--calibration is for --int8: give both.")
    # A file's network is written as it is, with normalised clips if it takes these. Clips for
    # integers come as uint8.
    if path and not _INT8.value:
        model, settings = load_network(path), clip_settings(path)
    else:
        if path:
            _check_record(path)
        network = network_choice.opened()
        model, settings = network.model, network.settings
    shape = _parsed_shape(_INPUT_SHAPE.value) or _usual_shape(model, settings)
    clips = None
    if _INT8.value:
        data, videos = _CALIBRATION.value, _CALIBRATION_CLIPS.value
        clips = CalibrationClips(network, shape, data, videos, _ALLOW_OTHER_CONVERSION.value)
    export_network(
        model,
        _OUTPUT.value,
        _FORMAT.value,
        shape,
        _metadata(model, settings),
        as_2d=_AS_2D.value,
        calibration=clips.of_training() if clips else None,
    )
    print(f"Wrote {_OUTPUT.value} ({_FORMAT.value}).")
    difference = _difference(model, shape)
    print(f"Loaded again, it differs from Keras by {difference:.1e} of the largest output.")
    if clips:
        print(clips.comparison(lambda x: exported_outputs(_OUTPUT.value, _FORMAT.value, x)))
    elif not difference < TOLERANCE:
        raise ValueError(
            f"{_OUTPUT.value} does not compute what the Keras network does (more than {TOLERANCE} "
            "apart); do not use it."
        )


def _check_record(path: str) -> None:
    """Raises ValueError if the file does not say how its clips are made."""
    record = clip_settings(path)
    needed = ("num_frames", "span", "evaluation_crop_size")
    if missing := [name for name in needed if record.get(name) is None]:
        raise ValueError(
            f"--int8 needs clips as the network was trained on, and {path} does not say its "
            f"{', '.join(missing)}. Give a training's --work_dir, or write it without --int8."
        )


def _usual_shape(model: keras.Model, settings: dict) -> tuple | None:
    """The model's, for TensorFlow Lite with the sizes of the training's evaluation."""
    shape, size = model.input_shape[1:], settings.get("evaluation_crop_size")
    if _FORMAT.value != "tflite" or size is None or None not in shape:
        return shape if None not in shape else None
    frames = [settings.get("num_frames")] if len(shape) == 4 else []
    return (*frames, size, size, shape[-1])


def _metadata(model: keras.Model, settings: dict) -> dict:
    """What a user of the network has to know; of a .keras file what its record says."""
    takes_bytes = model.inputs[0].dtype == "uint8"
    known = {
        "class_names": settings.get("class_names"),
        "frame_rate": (settings.get("conversion") or {}).get("fps"),
        "num_frames": settings.get("num_frames"),
        "span": settings.get("span"),
        "crop_size": settings.get("evaluation_crop_size") or settings.get("crop_size"),
        "normalization": "uint8 RGB, normalised inside"
        if takes_bytes
        else settings.get("normalization"),
    }
    return {name: value for name, value in known.items() if value is not None}


def _parsed_shape(sizes: list[str] | None) -> tuple | None:
    if sizes is None:
        return None
    if not all(size.strip().isdigit() for size in sizes):
        raise ValueError(f"--input_shape must be sizes such as 8,224,224,3, not {','.join(sizes)}")
    return tuple(map(int, sizes))


def _difference(model: keras.Model, shape: tuple | None) -> float:
    shape = shape or tuple(
        usual if size is None else size for size, usual in zip(model.input_shape[1:], SOME_SIZES)
    )
    clips = np.random.default_rng(0).integers(0, 256, (2, *shape)).astype("uint8")
    # Exactly float32: TensorFlow Lite and ONNX convert nothing.
    clips = clips if model.inputs[0].dtype == "uint8" else clips.astype("float32") / 255
    expected = keras.ops.convert_to_numpy(model(clips, training=False)).astype("float32")
    received = exported_outputs(_OUTPUT.value, _FORMAT.value, clips)
    return float(np.abs(received - expected).max() / np.abs(expected).max())


if __name__ == "__main__":
    command_line.run(main)
