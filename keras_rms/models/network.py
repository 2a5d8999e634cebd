"""What every network has at its two ends: the input and its scaling, the weights file."""

from collections.abc import Mapping
from typing import Any

import keras

from keras_rms.models.weights import load_weights

# Kinetics' usual normalisation, the same for the three colours.
MEAN = 0.45
STDDEV = 0.225
USUAL = {"mean": MEAN, "stddev": STDDEV}

# Whether a network normalises its frames; a mapping says by which mean and standard deviation.
Preprocessing = bool | Mapping[str, Any]

AXES = {
    3: "(height, width, channels)",
    4: "(time, height, width, channels)",
}


def network_input(
    input_shape: tuple, include_preprocessing: Preprocessing, ndim: int = 4
) -> tuple[Any, Any]:
    """The network's input and the float tensor that its stem takes.

    Args:
        input_shape: (time, height, width, channels) or, for images, (height, width, channels); all
            but the channels may be `None`.
        include_preprocessing: Whether the input is uint8 RGB, normalised by the first layer. A
            mapping has the "mean" and "stddev" of RGB from 0 to 1, a number or three, in the place
            of the usual ones.
        ndim: 4 for clips, 3 for images.

    Returns:
        The pair (inputs, x).

    Raises:
        ValueError: If the shape has no such form, or is not RGB with `include_preprocessing`.
    """
    shape = tuple(input_shape) if isinstance(input_shape, (list, tuple)) else ()
    sizes_valid = all(n is None or (isinstance(n, int) and n > 0) for n in shape)
    if not sizes_valid or len(shape) != ndim or shape[-1] is None:
        raise ValueError(
            f"`input_shape` must be {AXES[ndim]} of positive integers; all but the channels may be "
            "None. "
            f"Received: input_shape={input_shape}"
        )
    if not include_preprocessing:
        inputs = keras.Input(shape, name="input")
        return inputs, inputs
    if shape[-1] != 3:
        raise ValueError(
            "`include_preprocessing=True` takes RGB frames, so `input_shape` must end in 3. "
            f"Received: input_shape={input_shape}"
        )
    inputs = keras.Input(shape, dtype="uint8", name="input")
    if not isinstance(include_preprocessing, Mapping):
        include_preprocessing = USUAL
    return inputs, normalised(inputs, include_preprocessing)


def normalised(inputs: Any, normalization: Mapping[str, Any]) -> Any:
    """RGB of 0 to 255 as the layers behind want it.

    Args:
        inputs: The network's input.
        normalization: "mean" and "stddev" of RGB from 0 to 1, a number or three.

    Raises:
        ValueError: If one is missing, of another length, or a standard deviation is not above 0.
    """
    means, deviations = (_colours(normalization, name) for name in ("mean", "stddev"))
    if min(deviations) <= 0:
        raise ValueError(f"The standard deviation must be above 0. Received: stddev={deviations}")
    scale = [1 / (255 * deviation) for deviation in deviations]
    offset = [-mean / deviation for mean, deviation in zip(means, deviations)]
    if len(set(scale)) == len(set(offset)) == 1:
        return keras.layers.Rescaling(scale[0], offset[0], name="preprocessing")(inputs)
    return keras.layers.Rescaling(scale, offset, name="preprocessing")(inputs)


def _colours(normalization: Mapping[str, Any], name: str) -> list[float]:
    given: Any = normalization.get(name)
    values: list[Any] = list(given) if isinstance(given, (list, tuple)) else [given] * 3
    if len(values) != 3 or not all(isinstance(value, (int, float)) for value in values):
        raise ValueError(
            f"`{name}` of the colours, from 0 to 1, must be a number or three. "
            f"Received: {name}={given!r}"
        )
    return [float(value) for value in values]


def finished_network(inputs: Any, outputs: Any, name: str, weights: str | None) -> keras.Model:
    """The functional model, with the weights of a file when one is given."""
    model = keras.Model(inputs, outputs, name=name)
    if weights is not None:
        load_weights(model, weights)
    return model
