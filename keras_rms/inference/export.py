"""A network for programs without Keras: SavedModel, ONNX, TensorFlow Lite."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_rms.inference.framewise_network import framewise_network
from keras_rms.models.layers.framewise_pooling import FramewiseMaxPooling3D

FORMATS = ("saved_model", "onnx", "tflite")
# What each format needs beside TensorFlow, to be written and to be run.
PACKAGES = {"onnx": ("tf2onnx", "onnx", "onnxruntime")}
OUTPUT = "logits"
# Where TensorFlow leaves room for files of others in a SavedModel.
SAVED_MODEL_METADATA = "assets.extra/metadata.json"
# TensorFlow takes a folder's name for a pattern when it looks into it.
_PATTERN = "*?[\\"


def export_network(
    model: keras.Model,
    path: str,
    format: str,
    input_shape: tuple | None = None,
    metadata: Mapping[str, Any] | None = None,
    as_2d: bool = False,
    calibration: np.ndarray | None = None,
) -> None:
    """Writes the network's inference for other programs.

    What is written computes in float32, or with `calibration` in 8-bit integers, and needs no Keras
    and no `keras_rms`. Training's layers (RMS, dropout) are gone from it. Its input is named
    `clips`, or `images`, and its output `logits`. In TensorFlow Lite, which has no 3D max pooling,
    each is written as two 2D ones, with the same values.

    Example:

    ```python
    from keras_rms.inference import export_network
    network = keras_rms.models.SlowOnly(depth=18, include_preprocessing=True)
    export_network(network, "slow_only.onnx", "onnx")
    ```

    Args:
        model: A functional model with one input and one output.
        path: Of the folder (`"saved_model"`) or file to write.
        format: `"saved_model"`, `"onnx"` or `"tflite"`.
        input_shape: Sizes of one input, where the model leaves them open. TensorFlow Lite needs all
            of them; the batch stays open in every format.
        metadata: What users of the network have to know, such as the names of its classes, by name.
            ONNX holds each value as a text in JSON; a SavedModel has a file
            assets.extra/metadata.json; TensorFlow Lite has no place for it.
        as_2d: For TensorFlow Lite, whether a video network is written as 2D operations over frames,
            see `framewise_network`: other devices than CPUs run no others.
        calibration: For TensorFlow Lite, inputs such as the network will get, at least one. From
            them follow the ranges of the 8-bit integers that the network then computes in. Input
            and output stay as they are. It implies `as_2d`: 3D convolutions have no such form.

    Raises:
        ValueError: If `format` is none of the three, a package for it is not installed, sizes are
            open that must not be, the path of a SavedModel has brackets or wildcards, `as_2d` or
            `calibration` is given for another format than TensorFlow Lite, a layer has no 2D form,
            or `calibration` has another shape than the inputs.
    """
    _check_format(format)
    if format != "tflite" and (as_2d or calibration is not None):
        raise ValueError(
            "`as_2d` and `calibration` are for TensorFlow Lite alone: give format='tflite'. "
            f"Received: format={format!r}"
        )
    if format == "saved_model" and set(_PATTERN) & set(os.path.abspath(path)):
        raise ValueError(
            f"`path` must have none of {' '.join(_PATTERN)} in it for a SavedModel: TensorFlow "
            f"could not read it again. Received: path={path!r}"
        )
    shape = tuple(model.input_shape[1:] if input_shape is None else input_shape)
    if format == "tflite" and None in shape:
        raise ValueError(
            "`input_shape` must have no open size for TensorFlow Lite: give the number of frames, "
            f"height, width and channels. Received: input_shape={shape}"
        )
    if calibration is not None and (calibration.shape[1:] != shape or not len(calibration)):
        raise ValueError(
            f"`calibration` must be inputs of shape {shape}, one at least. "
            f"Received: calibration.shape={calibration.shape}"
        )
    network = _for_inference(model, shape, format)
    if as_2d or calibration is not None:
        network = _named(framewise_network(network))
    # Keras prints the signature, and the converters what they do.
    with contextlib.redirect_stdout(None):
        if format == "tflite":
            _write_tflite(network, path, calibration)
        else:
            _write_by_keras(network, path, {"saved_model": "tf_saved_model"}.get(format, format))
    if format == "onnx":
        _describe_onnx(path, network.inputs[0].name, metadata or {})
    elif format == "saved_model" and metadata:
        file = Path(path, SAVED_MODEL_METADATA)
        file.parent.mkdir()
        file.write_text(json.dumps(metadata, indent=1))


def exported_outputs(path: str, format: str, inputs: np.ndarray) -> np.ndarray:
    """What an exported network gives, run by its own runtime: TensorFlow, ONNX Runtime or TFLite.

    Example:

    >>> exported_outputs("slow_only.onnx", "onnx", clips).shape
    (2, 400)

    Args:
        path: That `export_network` wrote.
        format: As there.
        inputs: A batch of the network's inputs.

    Returns:
        The outputs.

    Raises:
        ValueError: As `export_network`.
    """
    _check_format(format)
    return {"saved_model": _run_saved_model, "onnx": _run_onnx, "tflite": _run_tflite}[format](
        path, inputs
    )


def _check_format(format: str) -> None:
    if format not in FORMATS:
        raise ValueError(f"`format` must be one of {FORMATS}. Received: format={format!r}")
    missing = [p for p in PACKAGES.get(format, ()) if importlib.util.find_spec(p) is None]
    if missing:
        raise ValueError(
            f"format={format!r} needs the package {' and '.join(missing)}, not installed here: "
            "pip install 'keras_rms[export]'."
        )


def _for_inference(model: keras.Model, shape: tuple, format: str) -> keras.Model:
    """The same network with its own input sizes, in float32."""

    def cloned(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config() | {"dtype": "float32"}
        is_pool = format == "tflite" and isinstance(layer, keras.layers.MaxPooling3D)
        return (FramewiseMaxPooling3D if is_pool else type(layer)).from_config(config)

    name = "clips" if len(shape) == 4 else "images"
    inputs = keras.Input(shape, dtype=model.inputs[0].dtype, name=name)
    network = keras.models.clone_model(model, input_tensors=inputs, clone_function=cloned)
    network.set_weights(model.get_weights())
    return _named(network)


def _named(network: keras.Model) -> keras.Model:
    return keras.Model(network.inputs[0], {OUTPUT: network.outputs[0]})


def _write_by_keras(network: keras.Model, path: str, format: str) -> None:
    inputs = network.inputs[0]
    signature = keras.InputSpec(inputs.dtype, inputs.shape, name=inputs.name)
    network.export(path, format=format, verbose=False, input_signature=[signature])


def _describe_onnx(path: str, input_name: str, metadata: Mapping[str, Any]) -> None:
    """Renames the one input and output, and adds the metadata."""
    import onnx

    network = onnx.load(path)
    graph = network.graph
    names = {graph.input[0].name: input_name, graph.output[0].name: OUTPUT}
    for value in (graph.input[0], graph.output[0]):
        value.name = names[value.name]
    for node in graph.node:
        for ends in (node.input, node.output):
            ends[:] = [names.get(end, end) for end in ends]
    onnx.helper.set_model_props(network, {k: json.dumps(v) for k, v in metadata.items()})
    onnx.checker.check_model(network)
    onnx.save(network, path)


def _write_tflite(network: keras.Model, path: str, calibration: np.ndarray | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _write_by_keras(network, folder, "tf_saved_model")
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if calibration is not None:
            clips = calibration.astype(network.inputs[0].dtype)
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            # One by one: a file has a batch of 1.
            converter.representative_dataset = lambda: ([clip[None]] for clip in clips)
            # Else an operation without such a form would silently stay in float32.
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        content = converter.convert()
    with open(path, "wb") as file:
        file.write(content)


def _run_saved_model(path: str, inputs: np.ndarray) -> np.ndarray:
    network: Any = tf.saved_model.load(path)
    return network.serve(inputs)[OUTPUT].numpy()


def _run_onnx(path: str, inputs: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(os.fspath(path))
    return session.run(None, {session.get_inputs()[0].name: inputs})[0]


def _run_tflite(path: str, inputs: np.ndarray) -> np.ndarray:
    interpreter = tf.lite.Interpreter(os.fspath(path))
    place = interpreter.get_input_details()[0]["index"]
    # A file has a batch of 1 until it is told of another one.
    interpreter.resize_tensor_input(place, inputs.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(place, inputs)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
