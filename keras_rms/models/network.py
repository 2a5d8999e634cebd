"""What every network has at its two ends: the input and its scaling, the weights file."""

from typing import Any

import keras

from keras_rms.models.weights import load_weights

# Kinetics' usual normalisation, the same for the three colours.
MEAN = 0.45
STDDEV = 0.225


AXES = {
    3: "(height, width, channels)",
    4: "(time, height, width, channels)",
}


def network_input(
    input_shape: tuple, include_preprocessing: bool, ndim: int = 4
) -> tuple[Any, Any]:
    """The network's input and the float tensor that its stem takes.

    Args:
        input_shape: (time, height, width, channels) or, for images, (height, width, channels); all
            but the channels may be `None`.
        include_preprocessing: Whether the input is uint8 RGB, normalised by the first layer.
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
    scale = keras.layers.Rescaling(1 / (255 * STDDEV), -MEAN / STDDEV, name="preprocessing")
    return inputs, scale(inputs)


def finished_network(inputs: Any, outputs: Any, name: str, weights: str | None) -> keras.Model:
    """The functional model, with the weights of a file when one is given."""
    model = keras.Model(inputs, outputs, name=name)
    if weights is not None:
        load_weights(model, weights)
    return model
