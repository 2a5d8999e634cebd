"""Multiply-accumulates of a network, from the shapes of its layers."""

import math

import keras

from keras_rms.models.layer_specs import output_specs

# The last two are those of `SeparableConv2D`, whose stride is on the first of them.
_KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")


def multiply_accumulates(model: keras.Model, input_shape: tuple | None = None) -> int:
    """Counts the multiply-accumulates of the convolutions and the classifier for one sample.

    A layer costs, at each position of its output, as many as its kernels have elements. A layer
    that is made otherwise counts its own in a method `multiply_accumulates(input_shape)`. Biases,
    normalisations, activations and pooling are not counted, as is the custom of the field.

    Example:

    >>> network = keras_rms.models.SlowOnly(depth=50, rms=None)
    >>> round(multiply_accumulates(network) / 1e9, 2)
    41.74

    Args:
        model: A functional model with one input.
        input_shape: The sample's shape; the model's by default. Needed where the model leaves sizes
            open.

    Returns:
        An integer.

    Raises:
        ValueError: If a size is neither in the model nor in `input_shape`.
    """
    specs = output_specs(model, input_shape)
    shapes = {name: tuple(spec.shape) for name, spec in specs.items()}
    return sum(_layer_macs(layer, shapes) for layer in model.layers)


def _layer_macs(layer: keras.Layer, shapes: dict[str, tuple]) -> int:
    if hasattr(layer, "multiply_accumulates"):
        return layer.multiply_accumulates(shapes[layer.input._keras_history.operation.name])
    # Each element of a kernel is used once at each position, in dense, grouped and depthwise layers
    # alike: so the order of its axes, which Keras changes for depthwise ones, does not matter.
    positions = math.prod(shapes[layer.name][1:-1])
    kernels = (getattr(layer, name, None) for name in _KERNELS)
    return positions * sum(math.prod(k.shape) for k in kernels if isinstance(k, keras.Variable))
