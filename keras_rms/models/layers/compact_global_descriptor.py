"""The compact global descriptor."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_rms.arguments import validate_positions
from keras_rms.replica_seed import validate_seed


@keras.saving.register_keras_serializable(package="keras_rms")
class CompactGlobalDescriptor(keras.layers.Layer):
    """Scales every channel by what all channels and positions say about it.

    With the average `a` and the maximum `m` of each channel over all positions,

    - `psi = tanh(softmax(a) (a . w1) + b1)`,
    - `phi = tanh(softmax(a) (m . w2) + b2)`,
    - `CGD(X) = X (1 + tanh(psi (phi . w3) + b3))`.

    Example:

    >>> layer = keras_rms.models.CompactGlobalDescriptor()
    >>> layer(keras.random.normal((2, 4, 14, 14, 64))).shape
    (2, 4, 14, 14, 64)
    >>> layer.count_params()
    384

    Args:
        seed: Non-negative integer or `None`, of the initial weights.

    Input shape:
        `(batch, ..., channels)` with one axis or more between. Their sizes may be `None`.

    Output shape:
        As the input.

    Raises:
        ValueError: If `seed` is out of its range or the input has less than three axes.

    Reference:
        He et al., Compact Global Descriptor for Neural Networks, arXiv:1907.09665, 2019 (the
        cascaded form with average and max pooling).
    """

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        validate_seed(seed)
        self.seed = seed

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        validate_positions(input_shape)
        channels = input_shape[-1]
        for index, name in enumerate(("average", "maximum", "cascade")):
            # Equal seeds would give the three kernels equal weights.
            seed = None if self.seed is None else self.seed + index
            kernel = self.add_weight(
                shape=(channels, 1),
                initializer=keras.initializers.GlorotUniform(seed),
                name=f"{name}_kernel",
            )
            bias = self.add_weight(shape=(channels,), initializer="zeros", name=f"{name}_bias")
            setattr(self, f"{name}_kernel", kernel)
            setattr(self, f"{name}_bias", bias)
        self.built = True

    def call(self, inputs: Any) -> Any:
        axes = tuple(range(1, len(inputs.shape) - 1))
        average = ops.mean(inputs, axis=axes)
        maximum = ops.max(inputs, axis=axes)
        shares = ops.softmax(average, axis=-1)
        psi = ops.tanh(shares * ops.matmul(average, self.average_kernel) + self.average_bias)
        phi = ops.tanh(shares * ops.matmul(maximum, self.maximum_kernel) + self.maximum_bias)
        gate = ops.tanh(psi * ops.matmul(phi, self.cascade_kernel) + self.cascade_bias)
        gate = ops.expand_dims(gate, axes)
        return inputs * (1 + gate)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return tuple(input_shape)

    def multiply_accumulates(self, input_shape: tuple[int, ...]) -> int:
        """Of the three products with a kernel; scaling the features is not counted."""
        return 3 * input_shape[-1]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}
