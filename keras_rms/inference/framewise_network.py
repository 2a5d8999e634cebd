"""A network of 3D operations, written as 2D operations over its frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_rms.drop_block import DropBlock
from keras_rms.dropout import Dropout
from keras_rms.models.layers.depthwise_conv_3d import DepthwiseConv3D
from keras_rms.models.layers.frame_subsampling import FrameSubsampling
from keras_rms.models.layers.framewise_conv_3d import time_windows
from keras_rms.random_drop import RandomDrop
from keras_rms.random_mean_scaling import RandomMeanScaling
from keras_rms.shake_drop import ShakeDrop

# What computes each value, or each channel, by itself.
_ELEMENTWISE = (
    *(keras.layers.Activation, keras.layers.ReLU, keras.layers.Rescaling),
    *(keras.layers.BatchNormalization, keras.layers.Add, keras.layers.Concatenate),
    *(RandomDrop, ShakeDrop),
)
_ONLY_IN_TRAINING = (RandomMeanScaling, DropBlock, Dropout, keras.layers.Dropout)


def framewise_network(model: keras.Model) -> keras.Model:
    """The same network by 2D convolutions and poolings, for runtimes that have no fast 3D ones.

    A video is kept as one of two images of four axes, whichever the next layer needs:

    - `frames`: (batch * time, height, width, channels), for what happens within frames;
    - `times`: (batch, time, height * width, channels), for what happens between them.

    A kernel over time alone is a 2D kernel of the second. One over time and space is a 2D kernel of
    frames whose channels are those of the frames that it sees, one after the other; a depthwise one
    is a sum of 2D ones. Batch normalisation goes into the convolution before it.

    Example:

    >>> network = keras_rms.models.SlowOnly(depth=18, input_shape=(8, 64, 96, 3))
    >>> framewise_network(network).output_shape
    (None, 400)

    Args:
        model: A functional model of one input, (time, height, width, channels), with no open size
            but the batch's, that uses each layer once. One on images is returned as it is.

    Returns:
        A functional model with the same input and outputs, for inference.

    Raises:
        ValueError: If a layer has no such form here.
    """
    if len(model.input_shape) != 5:
        return model
    inputs = keras.Input(model.input_shape[1:], dtype=model.inputs[0].dtype, name="clips")
    network = keras.models.clone_model(
        model,
        input_tensors=inputs,
        # The layers themselves, of which new ones are made where they are called.
        clone_function=lambda layer: layer,
        call_function=_Writer(model),
    )
    outputs = [
        made if made.shape[1:] == output.shape[1:] else ops.reshape(made, (-1, *output.shape[1:]))
        for made, output in zip(network.outputs, model.outputs)
    ]
    return keras.Model(inputs, outputs, name=model.name)


class _Writer:
    """Calls 2D layers in the place of a model's own.

    Args:
        model: Whose layers it will be called with.
    """

    def __init__(self, model: keras.Model) -> None:
        read = [each for layer in model.layers[1:] for each in keras.tree.flatten(layer.input)]
        self._readers = Counter(map(id, [*read, *model.outputs]))
        # Output of a convolution -> its layers, whose outputs are added up; the first has a bias.
        self._sums: dict[int, list[keras.layers.Layer]] = {}

    def __call__(self, layer: keras.layers.Layer, *args: Any, **_: Any) -> Any:
        tensors = keras.tree.flatten(args)
        shapes = [each.shape for each in keras.tree.flatten(layer.input)]
        if all(len(shape) < 5 for shape in shapes):
            return _copied(layer, args[0])
        return self._form_of(layer)(layer, tensors, shapes)

    def _form_of(self, layer: keras.layers.Layer) -> Callable:
        forms: list[tuple[Any, Callable]] = [
            (_ONLY_IN_TRAINING, lambda layer, tensors, shapes: tensors[0]),
            (keras.layers.BatchNormalization, self._normalised),
            (keras.layers.Conv3D, self._convolved),
            (DepthwiseConv3D, self._convolved_by_channel),
            (_ELEMENTWISE, _elementwise),
            (FrameSubsampling, lambda layer, x, shapes: _copied(layer, _times(x[0], shapes[0]))),
            (keras.layers.ZeroPadding3D, _zero_padded),
            ((keras.layers.MaxPooling3D, keras.layers.AveragePooling3D), _pooled),
            (keras.layers.GlobalAveragePooling3D, _pooled_over_all),
        ]
        for types, form in forms:
            if isinstance(layer, types) and _is_usual(layer):
                return form
        raise ValueError(
            f"The layer {layer.name!r} ({type(layer).__name__}) cannot be written as 2D operations "
            "over frames. SlowOnly, SlowFast and CSN can be; write this network without as_2d."
        )

    def _normalised(self, layer: Any, tensors: list, shapes: list) -> Any:
        """Into the convolution before, if nothing else reads what that gives."""
        convolutions = self._sums.get(id(tensors[0]), [])
        if not convolutions or self._readers[id(layer.input)] > 1:
            return _elementwise(layer, tensors, shapes)
        weights = {weight.name: np.asarray(weight) for weight in layer.weights}
        scale = weights.get("gamma", 1) / np.sqrt(weights["moving_variance"] + layer.epsilon)
        for convolution in convolutions:
            # A depthwise kernel ends in the channels and a multiplier of one.
            is_depthwise = isinstance(convolution, keras.layers.DepthwiseConv2D)
            factor = scale[:, None] if is_depthwise else scale
            convolution.kernel.assign(np.asarray(convolution.kernel) * factor)
        bias = convolutions[0].bias
        shift = weights.get("beta", 0) - weights["moving_mean"] * scale
        bias.assign(np.asarray(bias) * scale + shift)
        return tensors[0]

    def _convolved(self, layer: Any, tensors: list, shapes: list) -> Any:
        (length, *size), (step, *strides) = layer.kernel_size, layer.strides
        kernel, x, shape = np.asarray(layer.kernel), tensors[0], shapes[0]
        if set((*size, *strides)) == {1}:
            # Time and positions are the rows and columns of one image; one frame has either form.
            x = _times(x, shape) if length > 1 or step > 1 else _image(x, shape)
            size, strides, kernel = [length, 1], [step, 1], kernel[:, 0]
        else:
            windows = _windows(x, shape, length, step, layer.padding)
            x = windows[0] if length == 1 else keras.layers.Concatenate(axis=-1)(windows)
            kernel = np.moveaxis(kernel, 0, 2).reshape(*size, -1, layer.filters)
        convolution = keras.layers.Conv2D(
            layer.filters, size, strides, layer.padding, activation=layer.activation
        )
        x = convolution(x)
        bias = np.asarray(layer.bias) if layer.use_bias else np.zeros(layer.filters)
        convolution.set_weights([kernel, bias])
        if layer.activation is keras.activations.linear:
            self._sums[id(x)] = [convolution]
        return x

    def _convolved_by_channel(self, layer: Any, tensors: list, shapes: list) -> Any:
        (length, *size), (step, *strides) = layer.kernel_size, layer.strides
        kernel = np.asarray(layer.kernel)
        windows = _windows(tensors[0], shapes[0], length, step, length // 2)
        convolutions, parts = [], []
        for tap, x in enumerate(windows):
            # It pads alike on both sides, "same" does not on even sizes with a stride.
            if strides != [1, 1]:
                x = keras.layers.ZeroPadding2D([edge // 2 for edge in size])(x)
            padding = "same" if strides == [1, 1] else "valid"
            convolution = keras.layers.DepthwiseConv2D(size, strides, padding, use_bias=tap == 0)
            parts.append(convolution(x))
            weights = [np.swapaxes(kernel[tap], -1, -2)]
            convolution.set_weights(weights + ([np.zeros(x.shape[-1])] if tap == 0 else []))
            convolutions.append(convolution)
        total = parts[0]
        for part in parts[1:]:
            total = keras.layers.Add()([total, part])
        self._sums[id(total)] = convolutions
        return total


def _is_usual(layer: Any) -> bool:
    """Whether its settings are those that the networks here have, channels last among them."""
    return (
        getattr(layer, "data_format", None) in (None, "channels_last")
        and getattr(layer, "groups", 1) == 1
        and set(np.ravel(getattr(layer, "dilation_rate", 1))) == {1}
        and getattr(layer, "axis", -1) in (-1, 4)
        and not getattr(layer, "keepdims", False)
    )


def _frames(x: Any, shape: tuple) -> Any:
    """As images of single frames. `shape` is that of the video, of five axes."""
    return x if x.shape[1:] == shape[2:] else ops.reshape(x, (-1, *shape[2:]))


def _times(x: Any, shape: tuple) -> Any:
    """As images of time and positions. `shape` is that of the video, of five axes."""
    _, time, height, width, channels = shape
    image = (time, height * width, channels)
    return x if x.shape[1:] == image else ops.reshape(x, (-1, *image))


def _image(x: Any, shape: tuple) -> Any:
    """In the form that it has; a clip that comes from outside as frames."""
    return _frames(x, shape) if len(x.shape) == 5 else x


def _copied(layer: keras.layers.Layer, inputs: Any) -> Any:
    """Another layer of the same weights, on inputs of other axes."""
    config = layer.get_config() | ({"axis": -1} if hasattr(layer, "axis") else {})
    copy = type(layer).from_config(config)
    outputs = copy(inputs)
    copy.set_weights(layer.get_weights())
    return outputs


def _elementwise(layer: keras.layers.Layer, tensors: list, shapes: list) -> Any:
    first = _image(tensors[0], shapes[0])
    if len(tensors) == 1:
        return _copied(layer, first)
    form = _frames if first.shape[1:] == shapes[0][2:] else _times
    return _copied(layer, [form(x, shape) for x, shape in zip(tensors, shapes)])


def _windows(x: Any, shape: tuple, length: int, step: int, padding: str | int) -> list[Any]:
    """The frames that each element of a kernel over time sees, as single frames."""
    if length == step == 1:
        return [_frames(x, shape)]
    before = after = 0
    if isinstance(padding, int):
        before = after = padding
    elif padding == "same":
        total = max((-(-shape[1] // step) - 1) * step + length - shape[1], 0)
        before, after = total // 2, total - total // 2
    x = _padded_in_time(_times(x, shape), before, after)
    windows = time_windows(x, x.shape[1], length, step)
    return [_frames(window, (None, None, *shape[2:])) for window in windows]


def _padded_in_time(x: Any, before: int, after: int) -> Any:
    if not before and not after:
        return x
    return keras.layers.ZeroPadding2D(((before, after), (0, 0)))(x)


def _zero_padded(layer: Any, tensors: list, shapes: list) -> Any:
    (before, after), *space = layer.padding
    x, (_, time, *frame) = tensors[0], shapes[0]
    if before or after:
        x = _padded_in_time(_times(x, shapes[0]), before, after)
        time += before + after
    if any(map(any, space)):
        x = keras.layers.ZeroPadding2D(space)(_frames(x, (None, time, *frame)))
    return x


def _pooled(layer: Any, tensors: list, shapes: list) -> Any:
    """Over each frame, then over time: the maximum or average of these is that of the box."""
    is_average = isinstance(layer, keras.layers.AveragePooling3D)
    pool = keras.layers.AveragePooling2D if is_average else keras.layers.MaxPooling2D
    (length, *size), (step, *strides) = layer.pool_size, layer.strides
    x, shape = tensors[0], shapes[0]
    if set((*size, *strides)) != {1}:
        x = pool(size, strides, layer.padding)(_frames(x, shape))
        shape = (*shape[:2], *x.shape[1:])
    if (length, step) != (1, 1):
        x = pool((length, 1), (step, 1), layer.padding)(_times(x, shape))
    return x


def _pooled_over_all(layer: Any, tensors: list, shapes: list) -> Any:
    return keras.layers.GlobalAveragePooling2D()(_times(tensors[0], shapes[0]))
