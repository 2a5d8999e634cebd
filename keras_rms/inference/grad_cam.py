"""Where a network looked: Grad-CAM over time and space.

Reference: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization", ICCV 2017, equations 1 and 2; here with time as one more direction of space.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_rms.inference.inputs import as_inputs

_POOLINGS = (keras.layers.GlobalAveragePooling3D, keras.layers.GlobalAveragePooling2D)
_HEAD = "head_pool"  # how our builders call the pooling before the classifier


class GradCam:
    """Maps of how much each place of a clip speaks for a class.

    The features looked at are the last ones before they are pooled. A SlowFast network has two such
    features, of its slow and of its fast pathway, and so gives two maps.

    Example:

    >>> maps = GradCam(model).maps(clips, classes=[3])
    >>> heat = enlarged(maps[""], clips.shape[1:4])

    Args:
        model: On clips (batch, time, height, width, 3) or images (batch, height, width, 3), with a
            global average pooling before its classifier; gives logits (batch, classes).

    Attributes:
        pathways: Names of the maps; `[""]` where there is one.

    Raises:
        ValueError: If the model has no such pooling, or the backend is not TensorFlow.
    """

    def __init__(self, model: keras.Model) -> None:
        if keras.backend.backend() != "tensorflow":
            raise ValueError(
                "Grad-CAM takes gradients by TensorFlow. Set KERAS_BACKEND=tensorflow; saved "
                f"networks are the same. Received: backend={keras.backend.backend()!r}"
            )
        pools = _last_poolings(model)
        self._model = model
        self.pathways = [_pathway(layer.name) if len(pools) > 1 else "" for layer in pools]
        last = [layer.input for layer in pools]
        # In two parts, so that the gradient ends at the features even if all weights are frozen.
        self._features = keras.Model(model.input, last)
        self._classifier = keras.Model(last, model.output)
        self._maps = tf.function(self._weighted_sums, reduce_retracing=True)

    def maps(self, clips: Any, classes: Sequence[int] | None = None) -> dict[str, np.ndarray]:
        """The maps of a batch, a pathway each.

        Args:
            clips: (batch, time, height, width, 3), or images, as the network takes them.
            classes: For each clip the class to look for; None for the one that the network gives.

        Returns:
            float32 (batch, time, height, width) of the features' size, from 0 to 1: the largest
            value of a clip's map is 1, unless nothing speaks for the class. Images have a time of
            one.
        """
        inputs = tf.convert_to_tensor(as_inputs(self._model, clips))
        wanted = [-1] * len(inputs) if classes is None else list(classes)
        found = self._maps(inputs, tf.constant(wanted, tf.int32))
        return {name: _scaled(heat.numpy()) for name, heat in zip(self.pathways, found)}

    def _weighted_sums(self, inputs: tf.Tensor, classes: tf.Tensor) -> list[tf.Tensor]:
        features = tf.nest.flatten(self._features(inputs, training=False))
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(features)
            logits = self._classifier(features, training=False)
            best = tf.argmax(logits, axis=1, output_type=tf.int32)
            chosen = tf.where(classes < 0, best, classes)
            score = tf.reduce_sum(tf.gather(logits, chosen, axis=1, batch_dims=1))
        return [
            _one_map(tf.cast(feature, tf.float32), tf.cast(gradient, tf.float32))
            for feature, gradient in zip(features, tape.gradient(score, features))
        ]


def _one_map(features: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    """relu(sum over channels of weight * feature), a channel's weight its mean gradient."""
    places = tuple(range(1, len(features.shape) - 1))
    weights = tf.reduce_mean(gradient, axis=places, keepdims=True)
    heat = tf.nn.relu(tf.reduce_sum(weights * features, axis=-1))
    return heat if len(heat.shape) == 4 else heat[:, None]


def _scaled(heat: np.ndarray) -> np.ndarray:
    largest = heat.max(axis=(1, 2, 3), keepdims=True)
    return np.divide(heat, largest, out=np.zeros_like(heat), where=largest > 0)


def _last_poolings(model: keras.Model) -> list[keras.layers.Layer]:
    pools = [layer for layer in model.layers if isinstance(layer, _POOLINGS)]
    ours = [layer for layer in pools if layer.name.endswith(_HEAD)]
    if not pools:
        raise ValueError(
            f"The model {model.name!r} must have a global average pooling before its classifier, "
            "whose input Grad-CAM shows. It has none."
        )
    return ours or pools[-1:]


def _pathway(name: str) -> str:
    return name.removesuffix(_HEAD).rstrip("_")


def enlarged(heat: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """A map at the clip's own size, linearly between the centres of its cells.

    Args:
        heat: (time, height, width).
        shape: The clip's time, height and width.

    Returns:
        float32 of that shape.
    """
    for axis, size in enumerate(shape):
        # Centres of the new cells in units of the old ones.
        centres = (np.arange(size) + 0.5) * heat.shape[axis] / size - 0.5
        low = np.floor(centres).astype(int)
        share = (centres - low).reshape([-1 if a == axis else 1 for a in range(3)])
        first, second = (
            heat.take(np.clip(place, 0, heat.shape[axis] - 1), axis) for place in (low, low + 1)
        )
        heat = first * (1 - share) + second * share
    return heat.astype(np.float32)
