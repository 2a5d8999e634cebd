"""The layers that all networks are made of, with the settings that they share.

This file alone decides how convolutions are padded and initialised and how batch normalisation is
set. Where layers go in a block is said in `blocks`. Layers are named stage_block_role:
`res4_block0_conv2`. Two things follow from the names. Each layer's seed does, so that a network
starts from the same weights with RMS and without. And weights files fit both, because RMS has no
weights and moves no other layer's place in them.
"""

import zlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_rms.arguments import validate_rate
from keras_rms.dropout import Dropout
from keras_rms.models.layers.batch_normalization import BatchNormalization
from keras_rms.models.layers.depthwise_conv_3d import DepthwiseConv3D
from keras_rms.models.layers.framewise_conv_3d import FramewiseConv3D
from keras_rms.models.layers.framewise_pooling import FramewiseMaxPooling3D
from keras_rms.replica_seed import validate_seed

# torch's momentum of 0.1 weighs the new batch, Keras's weighs the old average.
BATCH_NORM_MOMENTUM = 0.9
# torch's. With Keras's own 1e-3 the logits of published weights are off by 6 % and more.
BATCH_NORM_EPSILON = 1e-5

Strides = int | Sequence[int]


class LayerBuilder:
    """Adds layers to a functional graph.

    Convolutions pad `kernel // 2` zeros on both sides, whatever the stride, as PyTorch's networks
    do. A kernel's length tells the rank: `(3, 3)` builds 2D layers, `(3, 3, 3)` 3D ones. Everything
    is channels last.

    Example:

    >>> inputs = keras.Input((8, 56, 57, 3))
    >>> outputs = LayerBuilder(seed=0).stem(inputs, 64, (1, 7, 7))
    >>> keras.Model(inputs, outputs).output_shape
    (None, 8, 14, 15, 64)

    Args:
        epsilon: Of batch normalisation.
        seed: Non-negative integer or `None`. Each layer's seed follows from it and from the layer's
            name: a network starts from the same weights with RMS and without.
        prefix: Put before every layer's name.

    Raises:
        ValueError: If an argument has another value than listed.

    Reference:
        - He et al., "Delving Deep into Rectifiers", ICCV 2015, eq. 14 (initialisation).
    """

    def __init__(
        self, *, epsilon: float = BATCH_NORM_EPSILON, seed: int | None = None, prefix: str = ""
    ) -> None:
        validate_seed(seed)
        self.epsilon = epsilon
        self.seed = seed
        self.prefix = prefix

    def conv(
        self,
        x: Any,
        filters: int,
        kernel_size: Sequence[int],
        strides: Strides,
        name: str,
        use_bias: bool = False,
    ) -> Any:
        """A convolution padded by `kernel // 2` on both sides."""
        strides = per_axis(strides, len(kernel_size))
        rank = len(kernel_size)
        x, padding = self._padded(x, kernel_size, strides, name)
        layer = {2: keras.layers.Conv2D, 3: FramewiseConv3D}[rank]
        return layer(
            filters,
            kernel_size,
            strides=strides,
            padding=padding,
            data_format="channels_last",
            use_bias=use_bias,
            kernel_initializer=self._kernel_initializer(name),
            name=self.prefix + name,
        )(x)

    def depthwise_conv(
        self, x: Any, kernel_size: Sequence[int], strides: Strides, name: str
    ) -> Any:
        """A 3D convolution of each channel by itself, padded as the others are."""
        return DepthwiseConv3D(
            kernel_size,
            strides=strides,
            kernel_initializer=self._kernel_initializer(name),
            name=self.prefix + name,
        )(x)

    def norm(self, x: Any, name: str, zero_gamma: bool = False) -> Any:
        """Batch normalisation; `zero_gamma` starts a residual branch at nothing."""
        return BatchNormalization(
            axis=-1,
            momentum=BATCH_NORM_MOMENTUM,
            epsilon=self.epsilon,
            gamma_initializer="zeros" if zero_gamma else "ones",
            name=self.prefix + name,
        )(x)

    def relu(self, x: Any, name: str) -> Any:
        return keras.layers.Activation("relu", name=self.prefix + name)(x)

    def max_pool(self, x: Any, pool_size: Sequence[int], strides: Strides, name: str) -> Any:
        """Max pooling padded as a convolution is; zeros do no harm behind a ReLU."""
        # By frames: TensorFlow's 3D max pooling knows neither float64 nor, on a CPU, float16.
        strides = per_axis(strides, len(pool_size))
        x, padding = self._padded(x, pool_size, strides, name)
        layer = {2: keras.layers.MaxPooling2D, 3: FramewiseMaxPooling3D}[len(pool_size)]
        return layer(
            pool_size,
            strides=strides,
            padding=padding,
            data_format="channels_last",
            name=self.prefix + name,
        )(x)

    def conv_norm(
        self,
        x: Any,
        filters: int,
        kernel_size: Sequence[int],
        strides: Strides,
        name: str,
        relu: bool = True,
    ) -> Any:
        """`<name>_conv`, `<name>_bn` and `<name>_relu`, outside of a residual branch."""
        x = self.conv(x, filters, kernel_size, strides, f"{name}_conv")
        x = self.norm(x, f"{name}_bn")
        return self.relu(x, f"{name}_relu") if relu else x

    def stem(self, x: Any, filters: int, kernel_size: Sequence[int]) -> Any:
        """The first convolution, halving space, and the max pool, halving it again."""
        time = (1,) * (len(kernel_size) - 2)
        x = self.conv_norm(x, filters, kernel_size, (*time, 2, 2), "stem")
        return self.max_pool(x, (*time, 3, 3), (*time, 2, 2), "stem_pool")

    def head(self, x: Any, num_classes: int, dropout: float) -> Any:
        """Dropout and the classifier. The logits keep the precision of the variables."""
        validate_rate("dropout", dropout)
        x = Dropout(dropout, seed=self.seed_of("head_dropout"), name="head_dropout")(x)
        # As the reference networks start; the logits are then close to 0 for every class.
        initializer = keras.initializers.RandomNormal(stddev=0.01, seed=self.seed_of("head_dense"))
        return keras.layers.Dense(
            num_classes,
            kernel_initializer=initializer,
            # Half precision would round the logits, and with them the loss.
            dtype=keras.config.dtype_policy().variable_dtype,
            name="head_dense",
        )(x)

    def seed_of(self, name: str) -> int | None:
        """The seed of the layer of that name."""
        return derived_seed(self.seed, self.prefix + name)

    def _padded(
        self, x: Any, kernel_size: Sequence[int], strides: Sequence[int], name: str
    ) -> tuple[Any, str]:
        # There "same" pads alike on both sides. With a stride it does not on even sizes, which
        # leaves the shapes right and moves the windows by one position.
        if all(k % 2 == 1 and (k == 1 or s == 1) for k, s in zip(kernel_size, strides)):
            return x, "same"
        pad = [(k // 2, k // 2) for k in kernel_size]
        layer = {2: keras.layers.ZeroPadding2D, 3: keras.layers.ZeroPadding3D}[len(kernel_size)]
        x = layer(pad, data_format="channels_last", name=f"{self.prefix}{name}_pad")(x)
        return x, "valid"

    def _kernel_initializer(self, name: str) -> keras.initializers.Initializer:
        # He's normal initialisation over the outputs, as in the reference networks.
        return keras.initializers.VarianceScaling(
            2.0, "fan_out", "untruncated_normal", seed=self.seed_of(name)
        )


def derived_seed(seed: int | None, name: str) -> int | None:
    if seed is None:
        return None
    # Python's own hash of a name differs from process to process.
    state = np.random.SeedSequence([seed, zlib.crc32(name.encode())]).generate_state(1)
    return int(state[0]) & 0x7FFFFFFF  # Backends take seeds of 32 bits with a sign.


def per_axis(strides: Strides, rank: int) -> tuple[int, ...]:
    return (strides,) * rank if isinstance(strides, int) else tuple(strides)
