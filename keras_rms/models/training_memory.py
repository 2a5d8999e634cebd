"""How much memory a training step of a network takes, by calculation from its activations."""

import math
from collections.abc import Collection
from typing import Any, NamedTuple

import keras

from keras_rms.models.layer_specs import output_specs
from keras_rms.models.layers.frame_subsampling import FrameSubsampling
from keras_rms.models.stages import stage_of
from keras_rms.random_layer import RandomLayer

_BYTES = {"uint8": 1, "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}
# Beside a weight itself: its gradient and its momentum.
_COPIES_OF_A_WEIGHT = 3
# Tensors of the widest place that exist only while a gradient is computed there.
_PASSING = 2

_ACTIVATIONS = (keras.layers.Activation, keras.layers.ReLU, keras.layers.Softmax)
# Their gradient needs neither what enters nor what comes out.
_LINEAR = (
    keras.layers.InputLayer,
    keras.layers.Rescaling,
    keras.layers.ZeroPadding2D,
    keras.layers.ZeroPadding3D,
    keras.layers.Add,
    keras.layers.Concatenate,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalAveragePooling3D,
    keras.layers.AveragePooling2D,
    keras.layers.AveragePooling3D,
    keras.layers.Flatten,
    keras.layers.Dropout,
    FrameSubsampling,
    RandomLayer,
)


class TrainingMemory(NamedTuple):
    """Bytes of one device.

    Attributes:
        fixed: For the weights, whatever the batch.
        per_sample: For each clip, or image, of the batch.
    """

    fixed: int
    per_sample: int

    def of(self, batch_size: int) -> int:
        """Bytes for a batch on one device."""
        return self.fixed + batch_size * self.per_sample

    def largest_batch(self, available: float) -> int:
        """The largest batch that fits into so many bytes; 0 if none does."""
        return max(0, int((available - self.fixed) // self.per_sample))


def training_memory(
    model: keras.Model, input_shape: tuple | None = None, frozen: Collection[str] = ()
) -> TrainingMemory:
    """Calculates the memory of a step: forward, backward and an update with momentum.

    Counted are the activations that the backward pass needs, each once: what enters a convolution,
    a classifier, a batch normalisation or a max pool, and what leaves a max pool or an activation.
    Batch normalisation computes in float32, other layers in their own type. To these come two
    tensors of the widest place, and three float32 values for each weight.

    Not counted is what a layer made of layers, as `NonLocal`, keeps inside, what a platform takes
    for itself (TensorFlow on a CPU 0.1 to 0.5 GB), and what decodes the data. Beside that, each
    sample of SlowOnly-18, SlowOnly-50, SlowFast-50 and ip-CSN-50 raised the measured peak of
    TensorFlow on a CPU by 0.9 to 1.03 times what is calculated.

    Example:

    >>> network = keras_rms.models.SlowOnly(depth=50)
    >>> memory = training_memory(network)
    >>> memory.largest_batch(16e9)
    20

    Args:
        model: A functional model with one input.
        input_shape: One sample's shape; the model's by default. Needed where the model leaves sizes
            open.
        frozen: Names of stages that are not trained; see `stage_of`. Where no layer before is
            trained either, nothing is kept for a gradient.

    Raises:
        ValueError: If a size is neither in the model nor in `input_shape`.
    """
    specs = output_specs(model, input_shape)
    kept: dict[tuple[str, str], int] = {}
    trained = _trained(model, frozen)
    # A gradient has to pass them.
    passed: set[str] = set()
    for layer in model.layers:
        if frozen and layer.name not in trained and passed.isdisjoint(_sources(layer)):
            continue
        passed.add(layer.name)
        for name, dtype in _kept_by(layer, specs):
            # By tensor and type: two layers that need one tensor share it.
            kept[name, dtype] = math.prod(specs[name].shape) * _BYTES[dtype]
    widest = max(math.prod(spec.shape) * _BYTES[spec.dtype] for spec in specs.values())
    # Variables are float32 in every precision.
    weights = sum(
        math.prod(weight.shape) * (_COPIES_OF_A_WEIGHT if layer.name in trained else 1)
        for layer in model.layers
        for weight in layer.weights
    )
    return TrainingMemory(_BYTES["float32"] * weights, sum(kept.values()) + _PASSING * widest)


def _trained(model: keras.Model, frozen: Collection[str]) -> set[str]:
    """The names of the layers whose weights move."""
    return {x.name for x in model.layers if x.weights and stage_of(x.name) not in frozen}


def _kept_by(layer: keras.Layer, specs: dict[str, Any]) -> list[tuple[str, str]]:
    """Whose outputs the layer's gradient needs, and in which type."""
    entering = [(name, specs[name].dtype) for name in _sources(layer)]
    leaving = [(layer.name, specs[layer.name].dtype)]
    if isinstance(layer, _LINEAR):
        return []
    if isinstance(layer, _ACTIVATIONS):
        return leaving
    if isinstance(layer, keras.layers.BatchNormalization):
        return [(name, max(dtype, "float32", key=_BYTES.__getitem__)) for name, dtype in entering]
    # What leaves a convolution is kept where a layer behind it needs it, and not twice.
    if isinstance(getattr(layer, "kernel", None), keras.Variable):
        return entering
    return entering + leaving  # max pools, and layers that this module does not know


def _sources(layer: keras.Layer) -> list[str]:
    inputs = layer.input if isinstance(layer.input, (list, tuple)) else [layer.input]
    return [tensor._keras_history.operation.name for tensor in inputs]
