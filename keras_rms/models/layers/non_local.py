"""The non-local block."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from keras_rms.arguments import (
    positive_integer,
    validate_positions,
    validate_positive,
    validate_rate,
)
from keras_rms.models.layers.batch_normalization import BatchNormalization
from keras_rms.models.layers.framewise_pooling import framewise_max_pool
from keras_rms.replica_seed import validate_seed

PROJECTIONS = ("theta", "phi", "g", "out")
KERNELS = ("embedded_gaussian", "gaussian", "dot_product")
# What the authors' own code draws the 1x1x1 convolutions of the block from.
INITIALIZER_STDDEV = 0.01


@keras.saving.register_keras_serializable(package="keras_rms")
class NonLocal(keras.layers.Layer):
    """Adds to every position a weighted sum of the features at all positions.

    `z_i = W_z y_i + x_i` with `y_i = sum_j f(x_i, x_j) g(x_j) / C(x)`, where `W_z` ends in a
    batch normalisation whose gamma starts at zero, so that a new block is the identity.

    Example:

    >>> features = keras.random.normal((2, 4, 14, 14, 64))
    >>> keras_rms.models.NonLocal(pool_size=(1, 2, 2))(features).shape
    (2, 4, 14, 14, 64)

    Args:
        filters: Channels of theta, phi and g. Half of the input's by default.
        kernel: `f`, one of `"embedded_gaussian"` (softmax of theta . phi), `"gaussian"` (softmax
            of x . x, without theta and phi) and `"dot_product"` (theta . phi / positions).
        scale: Whether the softmax's argument is divided by the square root of its channels, as
            in the code published with the paper (the paper's equations leave it out).
        pool_size: Window and stride of a max pooling of the positions `j` ("subsampling
            trick"), one integer per axis, or `None`.
        epsilon: Of the batch normalisation.
        momentum: Of the batch normalisation's moving statistics.
        seed: Non-negative integer or `None`, of the initial weights.

    Input shape:
        `(batch, ..., channels)` with one axis or more between, such as
        `(batch, time, height, width, channels)`. Their sizes may be `None`.

    Output shape:
        As the input.

    Raises:
        ValueError: If an argument is out of its range, or the input has less than three axes.

    Reference:
        Wang et al., Non-local Neural Networks, CVPR 2018, equations 1 to 6.
    """

    def __init__(
        self,
        filters: int | None = None,
        kernel: str = "embedded_gaussian",
        scale: bool = True,
        pool_size: tuple[int, ...] | None = None,
        epsilon: float = 1e-5,
        momentum: float = 0.9,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if filters is not None:
            positive_integer("filters", filters)
        if kernel not in KERNELS:
            raise ValueError(f"`kernel` must be one of {KERNELS}. Received: {kernel=}")
        if pool_size is not None and not _are_positive(pool_size):
            raise ValueError(
                f"`pool_size` must be None or hold positive integers. Received: {pool_size=}"
            )
        validate_positive("epsilon", epsilon)
        validate_rate("momentum", momentum)
        validate_seed(seed)
        self.filters = filters
        self.kernel = kernel
        self.scale = scale
        self.pool_size = None if pool_size is None else tuple(pool_size)
        self.epsilon = epsilon
        self.momentum = momentum
        self.seed = seed

    def build(self, input_shape: tuple[Any, ...]) -> None:
        validate_positions(input_shape)
        if self.pool_size is not None and len(self.pool_size) != len(input_shape) - 2:
            raise ValueError(
                "`pool_size` must have one integer for each axis between batch and channels. "
                f"Received: pool_size={self.pool_size}, {input_shape=}"
            )
        channels = input_shape[-1]
        inner = self._inner(channels)
        if self.kernel != "gaussian":
            self.theta = self._projection(inner, "theta")
            self.phi = self._projection(inner, "phi")
            self.theta.build(input_shape)
            self.phi.build(input_shape)
        self.g = self._projection(inner, "g")
        self.g.build(input_shape)
        self.out = self._projection(channels, "out")
        self.out.build((*input_shape[:-1], inner))
        self.bn = BatchNormalization(
            epsilon=self.epsilon,
            momentum=self.momentum,
            gamma_initializer="zeros",
            dtype=self.dtype_policy,
            name="bn",
        )
        self.bn.build(input_shape)
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        others = self._pooled(inputs)
        query = inputs if self.kernel == "gaussian" else self.theta(inputs)
        key = others if self.kernel == "gaussian" else self.phi(others)
        query, key, value = _positions(query), _positions(key), _positions(self.g(others))
        weights = self._weights(query, key)
        summed = ops.matmul(weights, value)
        shape = ops.shape(inputs)
        # While Keras builds the graph, sizes that are open are None; at most one can be inferred.
        summed = ops.reshape(
            summed, (*(-1 if s is None else s for s in shape[:-1]), value.shape[-1])
        )
        return inputs + self.bn(self.out(summed), training=training)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return tuple(input_shape)

    def multiply_accumulates(self, input_shape: tuple[int, ...]) -> int:
        """Of the projections and the two products of positions with positions."""
        sizes, channels = input_shape[1:-1], input_shape[-1]
        positions = math.prod(sizes)
        pool = self.pool_size or (1,) * len(sizes)
        others = math.prod(size // p for size, p in zip(sizes, pool))
        inner = self._inner(channels)
        is_gaussian = self.kernel == "gaussian"
        projected = others + positions + (0 if is_gaussian else positions + others)
        compared = channels if is_gaussian else inner
        return channels * inner * projected + positions * others * (compared + inner)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel": self.kernel,
            "scale": self.scale,
            "pool_size": self.pool_size,
            "epsilon": self.epsilon,
            "momentum": self.momentum,
            "seed": self.seed,
        }

    def _inner(self, channels: int) -> int:
        return max(1, channels // 2) if self.filters is None else self.filters

    def _projection(self, units: int, name: str) -> keras.layers.Layer:
        # A Dense on the last axis is the 1x1x1 convolution, whatever the number of axes.
        # Equal seeds would give theta and phi equal weights.
        seed = None if self.seed is None else self.seed + PROJECTIONS.index(name)
        return keras.layers.Dense(
            units,
            kernel_initializer=keras.initializers.RandomNormal(0.0, INITIALIZER_STDDEV, seed),
            dtype=self.dtype_policy,
            name=name,
        )

    def _pooled(self, inputs: Any) -> Any:
        if self.pool_size is None or all(size == 1 for size in self.pool_size):
            return inputs
        if len(self.pool_size) == 3:
            return framewise_max_pool(inputs, self.pool_size, self.pool_size, "valid")
        return ops.max_pool(inputs, self.pool_size, self.pool_size, "valid", "channels_last")

    def _weights(self, query: Any, key: Any) -> Any:
        affinity = ops.matmul(query, ops.transpose(key, (0, 2, 1)))
        if self.kernel == "dot_product":
            return affinity / ops.cast(ops.shape(key)[1], affinity.dtype)
        if self.scale:
            affinity = affinity * float(query.shape[-1]) ** -0.5
        # The sum of thousands of exponentials needs more digits than half precision has.
        return ops.cast(ops.softmax(ops.cast(affinity, "float32"), axis=-1), self.compute_dtype)


def _are_positive(sizes: Any) -> bool:
    return isinstance(sizes, (list, tuple)) and all(isinstance(n, int) and n > 0 for n in sizes)


def _positions(tensor: Any) -> Any:
    """(batch, ..., channels) -> (batch, positions, channels)."""
    return ops.reshape(tensor, (ops.shape(tensor)[0], -1, tensor.shape[-1]))
