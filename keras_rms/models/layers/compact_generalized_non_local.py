"""The compact generalized non-local block."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from keras_rms.arguments import positive_integer, validate_positions, validate_positive
from keras_rms.replica_seed import validate_seed

PROJECTIONS = ("theta", "phi", "g", "out")
KERNELS = ("dot_product", "gaussian_rbf")
INITIALIZER_STDDEV = 0.01


@keras.saving.register_keras_serializable(package="keras_rms")
class CompactGeneralizedNonLocal(keras.layers.Layer):
    """A non-local block over positions and channels together, at linear cost.

    In each group of channels, theta, phi and g are flattened over positions and channels, and
    `Y = f(theta, phi) g` with `f(theta, phi) = sum_p a_p^2 theta^p (phi^p)^T`. Read from the right,
    `(phi^p)^T g` is a single number, so nothing of size positions x positions is ever formed. The
    output is `GroupNorm(W_z Y) + X`; its gamma starts at zero, so that a new block is the identity.

    Example:

    >>> features = keras.random.normal((2, 4, 14, 14, 64))
    >>> keras_rms.models.CompactGeneralizedNonLocal(groups=8)(features).shape
    (2, 4, 14, 14, 64)

    Args:
        filters: Channels of theta, phi and g. Half of the input's by default.
        groups: Groups of channels, each with an affinity of its own. They also divide `W_z` and
            the group normalisation.
        kernel: `"dot_product"` (the one term `theta phi^T`) or `"gaussian_rbf"` (the Taylor
            expansion of the Gaussian radial basis function).
        order: The last power of the Taylor expansion, for `"gaussian_rbf"`.
        gamma: Width of the radial basis function, for `"gaussian_rbf"`.
        scale: Whether `(phi^p)^T g` is divided by the square root of its number of terms. Group
            normalisation takes a common factor out again.
        epsilon: Of the group normalisation.
        seed: Non-negative integer or `None`, of the initial weights.

    Input shape:
        `(batch, ..., channels)` with one axis or more between. Their sizes may be `None`.

    Output shape:
        As the input.

    Raises:
        ValueError: If an argument is out of its range, the input has less than three axes, or
            `groups` does not divide the channels of the input and of theta.

    Reference:
        Yue et al., Compact Generalized Non-local Network, NeurIPS 2018, equations 8 to 14.
    """

    def __init__(
        self,
        filters: int | None = None,
        groups: int = 8,
        kernel: str = "dot_product",
        order: int = 3,
        gamma: float = 1e-4,
        scale: bool = True,
        epsilon: float = 1e-5,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if filters is not None:
            positive_integer("filters", filters)
        positive_integer("groups", groups)
        positive_integer("order", order)
        validate_positive("gamma", gamma)
        validate_positive("epsilon", epsilon)
        if kernel not in KERNELS:
            raise ValueError(f"`kernel` must be one of {KERNELS}. Received: {kernel=}")
        validate_seed(seed)
        self.filters = filters
        self.groups = groups
        self.kernel = kernel
        self.order = order
        self.gamma = gamma
        self.scale = scale
        self.epsilon = epsilon
        self.seed = seed

    def build(self, input_shape: tuple[Any, ...]) -> None:
        validate_positions(input_shape)
        channels = input_shape[-1]
        inner = self._inner(channels)
        if channels % self.groups or inner % self.groups:
            raise ValueError(
                f"`groups` must divide the {channels} channels of the input and the {inner} of "
                f"theta, phi and g. Received: groups={self.groups}"
            )
        for name in ("theta", "phi", "g"):
            layer = keras.layers.Dense(
                inner,
                use_bias=False,
                kernel_initializer=self._initializer(name),
                dtype=self.dtype_policy,
                name=name,
            )
            layer.build(input_shape)
            setattr(self, name, layer)
        self.out_kernel = self.add_weight(
            shape=(self.groups, inner // self.groups, channels // self.groups),
            initializer=self._initializer("out"),
            name="out_kernel",
        )
        self.gn = keras.layers.GroupNormalization(
            self.groups,
            epsilon=self.epsilon,
            gamma_initializer="zeros",
            dtype="float32",
            name="gn",
        )
        # It sees the positions as one axis, whose length may differ from call to call.
        self.gn.build((input_shape[0], None, channels))
        self.built = True

    def call(self, inputs: Any) -> Any:
        # Sums over positions and channels, and their products, leave the range of half precision;
        # the group normalisation brings them back.
        theta, phi, g = (
            self._grouped(ops.cast(layer(inputs), "float32"))
            for layer in (self.theta, self.phi, self.g)
        )
        attended = 0.0
        for power, coefficient in self._terms():
            affinity = ops.sum(phi**power * g, axis=(1, 3), keepdims=True)
            # The terms of a sum over positions and the channels of a group.
            if self.scale:
                terms = ops.cast(ops.shape(theta)[1] * theta.shape[3], "float32")
                affinity = affinity / ops.sqrt(terms)
            attended = attended + coefficient * affinity * theta**power
        outputs = ops.einsum("bngi,gio->bngo", attended, ops.cast(self.out_kernel, "float32"))
        outputs = self.gn(ops.reshape(outputs, (ops.shape(inputs)[0], -1, inputs.shape[-1])))
        return inputs + ops.cast(ops.reshape(outputs, ops.shape(inputs)), self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return tuple(input_shape)

    def multiply_accumulates(self, input_shape: tuple[int, ...]) -> int:
        """Of the projections and, for each term, of a sum over all and its use."""
        channels, positions = input_shape[-1], math.prod(input_shape[1:-1])
        inner = self._inner(channels)
        projections = 3 * channels * inner + inner * channels // self.groups
        return positions * (projections + 2 * inner * len(self._terms()))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "groups": self.groups,
            "kernel": self.kernel,
            "order": self.order,
            "gamma": self.gamma,
            "scale": self.scale,
            "epsilon": self.epsilon,
            "seed": self.seed,
        }

    def _inner(self, channels: int) -> int:
        return max(1, channels // 2) if self.filters is None else self.filters

    def _initializer(self, name: str) -> keras.initializers.Initializer:
        # Equal seeds would give theta and phi equal weights.
        seed = None if self.seed is None else self.seed + PROJECTIONS.index(name)
        return keras.initializers.RandomNormal(0.0, INITIALIZER_STDDEV, seed)

    def _grouped(self, tensor: Any) -> Any:
        """(batch, ..., channels) -> (batch, positions, groups, channels of a group)."""
        width = tensor.shape[-1] // self.groups
        return ops.reshape(tensor, (ops.shape(tensor)[0], -1, self.groups, width))

    def _terms(self) -> list[tuple[int, float]]:
        """Powers p with their coefficients a_p^2."""
        if self.kernel == "dot_product":
            return [(1, 1.0)]
        # exp(-gamma (|theta|^2 + |phi|^2)) taken as exp(-2 gamma), the paper's own simplification.
        beta = math.exp(-2 * self.gamma)
        return [
            (p, beta * (2 * self.gamma) ** p / math.factorial(p)) for p in range(self.order + 1)
        ]
