"""Batch normalisation that takes few passes over the memory in training."""

from __future__ import annotations

import sys
from typing import Any

import keras
from keras import ops

from keras_rms.compilation import is_compiled_by_xla


@keras.saving.register_keras_serializable(package="keras_rms")
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` by TensorFlow's fused operation, where that is faster.

    Keras writes the mean, the variance and the scaling as operations of their own. TensorFlow's
    graphs run each as a pass over the memory, and their gradients as many more. Here one operation
    takes their place, and one the gradients'. It sees the frames of all clips as images, because
    oneDNN knows it for those alone.

    Only the training step of TensorFlow's graphs differs, and there by rounding alone. Inference,
    frozen layers, the other backends, XLA, float64, masks, renormalisation and statistics over
    several replicas are Keras's.

    Example:

    >>> BatchNormalization()(np.ones((2, 4, 8, 6, 3), "float32"), training=True).shape
    (2, 4, 8, 6, 3)
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if not (training and self.trainable and mask is None and self._is_fused(inputs)):
            return super().call(inputs, training=training, mask=mask)
        channels = inputs.shape[-1]
        shape = ops.shape(inputs)
        frames = ops.reshape(inputs, (-1, *shape[-3:]))
        # Keras has imported TensorFlow: this package itself does without.
        outputs, mean, variance, *_ = sys.modules["tensorflow"].raw_ops.FusedBatchNormV3(
            x=frames,
            scale=ops.convert_to_tensor(self.gamma) if self.scale else ops.ones(channels),
            offset=ops.convert_to_tensor(self.beta) if self.center else ops.zeros(channels),
            mean=[],
            variance=[],
            epsilon=self.epsilon,
            is_training=True,
        )
        # The operation divides the sum of squares by one position less than there are.
        positions = ops.cast(ops.size(frames), "float32") / channels
        self._move(self.moving_mean, mean)
        self._move(self.moving_variance, variance * ((positions - 1) / positions))
        return ops.reshape(outputs, shape)

    def _is_fused(self, inputs: Any) -> bool:
        return (
            keras.backend.backend() == "tensorflow"
            and len(inputs.shape) in (4, 5)
            and self.axis in (-1, len(inputs.shape) - 1)
            and keras.backend.standardize_dtype(inputs.dtype) != "float64"
            and not (self.synchronized or self._is_renormalised() or is_compiled_by_xla())
        )

    def _is_renormalised(self) -> bool:
        return getattr(self, "renorm", False)  # Keras has it since 3.14

    def _move(self, statistic: keras.Variable, value: Any) -> None:
        # As Keras rounds it.
        statistic.assign(statistic * self.momentum + value * (1.0 - self.momentum))
