"""A network on uint8 clips of any height and width, made from one of normalised or fixed ones."""

import os
from collections.abc import Mapping
from typing import Any

import keras

from keras_rms.models.network import normalised


def on_uint8_clips(
    model: keras.Model, path: str | os.PathLike, normalization: Mapping[str, Any] | None = None
) -> keras.Model:
    """The same network, whose input is uint8 RGB of any height and width.

    Args:
        model: A functional model of one input, (time, height, width, 3) or (height, width, 3).
        path: The file that it is from, for messages.
        normalization: "mean" and "stddev" of RGB from 0 to 1, a number or three, for a network of
            float inputs.

    Raises:
        ValueError: If the network has other inputs, or takes floats and no normalisation is given.
    """
    shape: tuple[int | None, ...] = model.input_shape if len(model.inputs) == 1 else ()
    if len(shape) not in (4, 5) or shape[-1] != 3 or len(model.outputs) != 1:
        raise ValueError(
            f"{path} must hold a network from RGB clips or images to logits. Received: inputs of "
            f"shape {model.input_shape}, outputs of shape {model.output_shape}"
        )
    is_uint8 = model.inputs[0].dtype == "uint8"
    if is_uint8 and shape[-3:-1] == (None, None):
        return model
    if not is_uint8 and not normalization:
        raise ValueError(
            f"{path} takes clips that are normalised, and does not say how. Give the mean and the "
            "standard deviation of RGB from 0 to 1 that it was trained with, such as --mean=0.45 "
            "--stddev=0.225."
        )
    inputs = keras.Input((*shape[1:-3], None, None, 3), dtype="uint8", name="input")
    first = inputs if is_uint8 else normalised(inputs, normalization or {})

    def call(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = keras.tree.map_structure(
            lambda value: first if value is inputs else value, (args, kwargs)
        )
        return layer(*args, **kwargs)

    # New layers, because one that is used twice does not know which its input is.
    network = keras.models.clone_model(model, input_tensors=inputs, call_function=call)
    values = {weight.path: weight for weight in model.weights}
    for weight in network.weights:
        weight.assign(values[weight.path].value)
    return network
