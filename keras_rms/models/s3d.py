"""S3D and S3D-G: Inception over video with separable convolutions."""

from __future__ import annotations

from typing import Any

import keras

from keras_rms.arguments import positive_integer
from keras_rms.models.blocks import BlockBuilder
from keras_rms.models.layers.framewise_pooling import FramewiseMaxPooling3D
from keras_rms.models.network import Preprocessing, finished_network, network_input
from keras_rms.random_mean_scaling import RandomMeanScaling

# block: channels of (branch 0), (branch 1: 1x1x1, separable), (branch 2: the same), (branch 3),
# for a stem of 64 channels.
BLOCKS = {
    "mixed_3b": (64, (96, 128), (16, 32), 32),
    "mixed_3c": (128, (128, 192), (32, 96), 64),
    "mixed_4b": (192, (96, 208), (16, 48), 64),
    "mixed_4c": (160, (112, 224), (24, 64), 64),
    "mixed_4d": (128, (128, 256), (24, 64), 64),
    "mixed_4e": (112, (144, 288), (32, 64), 64),
    "mixed_4f": (256, (160, 320), (32, 128), 128),
    "mixed_5b": (256, (160, 320), (32, 128), 128),
    "mixed_5c": (384, (192, 384), (48, 128), 128),
}
WIDTH = 64
BATCH_NORM_EPSILON = 1e-3  # the authors' own, unlike the residual networks'


def S3D(  # noqa: N802
    gating: bool = False,
    num_classes: int = 400,
    input_shape: tuple = (64, 224, 224, 3),
    rms: str | RandomMeanScaling | None = "mean",
    rms_position: str = "default",
    rms_stages: tuple[str, ...] = ("res4", "res5"),
    width: int = WIDTH,
    dropout: float = 0.2,
    include_top: bool = True,
    include_preprocessing: Preprocessing = False,
    residual_drop: str | None = None,
    seed: int | None = None,
    weights: str | None = None,
    name: str | None = None,
) -> keras.Model:
    """Inception-v1 over video, each k x k x k convolution split into space and time.

    A separable convolution is (1, k, k), BN, ReLU, then (k, 1, 1), BN, ReLU. It plays the part
    that a basic block plays in a ResNet: `RandomMeanScaling` goes before both of its BNs by
    default, in the Inception blocks of the last two resolutions. The original has none. Padding is
    symmetric, and the features are averaged over all positions before the classifier.

    Example:

    >>> network = keras_rms.models.S3D(gating=True, num_classes=10, width=16, rms=None)
    >>> network.output_shape
    (None, 10)

    Args:
        gating: Whether each temporal convolution's output is gated by
            `sigmoid(W average + b)` over its channels (S3D-G).
        num_classes: Number of logits.
        input_shape: (time, height, width, channels); all but the channels may be `None`.
        rms: `None` or `"none"`, `"mean"`, `"gaussian"`, or a `RandomMeanScaling` layer whose
            settings each place copies.
        rms_position: `"default"`, `"before_all_bns"`, or `"before_"` and `conv`, `bn` or `relu`
            with 1 (the spatial convolution) or 2 (the temporal one).
        rms_stages: The blocks that get it: `"res3"` stands for the Mixed_3 blocks, `"res4"` for
            the Mixed_4, `"res5"` for the Mixed_5, `"res2"` for the one before them.
        width: Channels of the stem, a multiple of 4, with which all others scale (rounded, 1 at
            least).
        dropout: Share of the features dropped before the classifier.
        include_top: Whether to end in logits; otherwise in one feature vector for each clip.
        include_preprocessing: Whether the input is uint8 RGB, which the network then normalises;
            a mapping of `mean` and `stddev` (RGB from 0 to 1) says how.
        residual_drop: Must be `None`: there are no residual branches.
        seed: Non-negative integer or `None`; fixes the initial weights and all random layers.
        weights: Path of a `.keras` or `.weights.h5` file of such a network.
        name: Of the model; `s3d` or `s3d_g` by default.

    Returns:
        A functional `keras.Model`.

    Raises:
        ValueError: If an argument has another value than listed, or the weights do not fit.

    Reference:
        Xie et al., "Rethinking Spatiotemporal Feature Learning: Speed-Accuracy Trade-offs in Video
        Classification", ECCV 2018, sections 4 and 5.
    """
    positive_integer("num_classes", num_classes)
    positive_integer("width", width)
    if residual_drop is not None:
        raise ValueError(
            "`residual_drop` must be None: S3D has no residual branches. "
            f"Received: residual_drop={residual_drop!r}"
        )
    builder = BlockBuilder(
        convolutions_per_block=2,
        num_blocks=len(BLOCKS),
        rms=rms,
        rms_position=rms_position,
        rms_stages=rms_stages,
        epsilon=BATCH_NORM_EPSILON,
        seed=seed,
    )
    inputs, x = network_input(input_shape, include_preprocessing)
    network = _Inception(builder, width, gating)
    x = network.stem(x)
    for block in BLOCKS:
        # Inception halves the size between the numbers of its blocks, not inside of one.
        if block == "mixed_4b":
            x = builder.max_pool(x, (3, 3, 3), 2, "pool4")
        if block == "mixed_5b":
            # "same" is no padding at even sizes, and keeps a single frame alive.
            x = FramewiseMaxPooling3D(2, padding="same", data_format="channels_last", name="pool5")(
                x
            )
        x = network.mixed_block(x, block)
    x = keras.layers.GlobalAveragePooling3D(data_format="channels_last", name="head_pool")(x)
    if include_top:
        x = builder.head(x, num_classes, dropout)
    return finished_network(inputs, x, name or ("s3d_g" if gating else "s3d"), weights)


class _Inception:
    """The blocks of S3D at a width, with or without gates."""

    def __init__(self, builder: BlockBuilder, width: int, gating: bool) -> None:
        self.builder = builder
        self.width = width
        self.gating = gating

    def stem(self, x: Any) -> Any:
        x = self._separable(x, 64, 7, 2, "stem", "stem")
        x = self.builder.max_pool(x, (1, 3, 3), (1, 2, 2), "stem_pool")
        x = self._pointwise(x, 64, "res2_pointwise")
        x = self._separable(x, 192, 3, 1, "res2", "res2")
        return self.builder.max_pool(x, (1, 3, 3), (1, 2, 2), "pool3")

    def mixed_block(self, x: Any, block: str) -> Any:
        alone, first, second, pooled = BLOCKS[block]
        # mixed_4b -> res4: the name of the resolution that it shares with a ResNet's stage.
        stage = f"res{block[len('mixed_')]}"
        branches = [self._pointwise(x, alone, f"{block}_branch0")]
        for index, (inner, outer) in enumerate((first, second), start=1):
            branch = self._pointwise(x, inner, f"{block}_branch{index}_pointwise")
            branches.append(self._separable(branch, outer, 3, 1, stage, f"{block}_branch{index}"))
        branch = self.builder.max_pool(x, (3, 3, 3), 1, f"{block}_branch3_pool")
        branches.append(self._pointwise(branch, pooled, f"{block}_branch3"))
        return keras.layers.Concatenate(axis=-1, name=f"{block}_concat")(branches)

    def _pointwise(self, x: Any, filters: int, name: str) -> Any:
        return self.builder.conv_norm(x, self._scaled(filters), (1, 1, 1), 1, name)

    def _separable(
        self, x: Any, filters: int, size: int, stride: int, stage: str, block: str
    ) -> Any:
        filters = self._scaled(filters)
        unit = self.builder.unit
        # Space first, then time, each with a BN and ReLU of its own: the paper's separable form.
        x = unit(x, filters, (1, size, size), (1, stride, stride), stage, block, 1)
        x = unit(x, filters, (size, 1, 1), (stride, 1, 1), stage, block, 2)
        return self._gated(x, f"{block}_gate") if self.gating else x

    def _gated(self, x: Any, name: str) -> Any:
        average = keras.layers.GlobalAveragePooling3D(
            keepdims=True, data_format="channels_last", name=f"{name}_pool"
        )(x)
        initializer = keras.initializers.TruncatedNormal(
            stddev=0.01, seed=self.builder.seed_of(f"{name}_dense")
        )
        gate = keras.layers.Dense(
            x.shape[-1],
            activation="sigmoid",
            kernel_initializer=initializer,
            name=f"{name}_dense",
        )(average)
        return keras.layers.Multiply(name=name)([x, gate])

    def _scaled(self, channels: int) -> int:
        return max(1, round(channels * self.width / WIDTH))
