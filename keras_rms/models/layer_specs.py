"""What flows between the layers of a network, without running anything."""

import keras


def output_specs(model: keras.Model, input_shape: tuple | None = None) -> dict:
    """The shape and type of every layer's output for one sample.

    Args:
        model: A functional model with one input.
        input_shape: The sample's shape; the model's by default. Needed where the model leaves sizes
            open.

    Returns:
        Layer's name -> a `keras.KerasTensor` whose first axis, the batch, is 1.

    Raises:
        ValueError: If a size is neither in the model nor in `input_shape`.
    """
    shape = tuple(model.input_shape[1:] if input_shape is None else input_shape)
    if None in shape:
        raise ValueError(
            "`input_shape` must be given for a network of open input sizes. "
            f"Received: input_shape={shape}"
        )
    outputs = {layer.name: layer.output for layer in model.layers}
    probe = keras.Model(model.inputs, outputs)
    sample = keras.KerasTensor((1, *shape), dtype=model.inputs[0].dtype)
    return probe.compute_output_spec(sample)
