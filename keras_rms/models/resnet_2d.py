"""ResNet2D: the image networks of the paper's Table 6."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras

from keras_rms.arguments import positive_integer
from keras_rms.models.blocks import BlockBuilder, ResidualDrop
from keras_rms.models.network import Preprocessing, finished_network, network_input
from keras_rms.random_mean_scaling import RandomMeanScaling


class _Variant(NamedTuple):
    blocks: tuple[int, ...]
    bottlenecks: bool
    width: int
    num_classes: int
    input_shape: tuple[int, int, int]


def _imagenet(blocks: tuple[int, ...], bottlenecks: bool) -> _Variant:
    return _Variant(blocks, bottlenecks, 64, 1000, (224, 224, 3))


def _cifar(blocks_per_stage: int) -> _Variant:
    return _Variant((blocks_per_stage,) * 3, False, 16, 100, (32, 32, 3))


VARIANTS = {
    18: _imagenet((2, 2, 2, 2), False),
    34: _imagenet((3, 4, 6, 3), False),
    50: _imagenet((3, 4, 6, 3), True),
    101: _imagenet((3, 4, 23, 3), True),
    20: _cifar(3),
    56: _cifar(9),
    110: _cifar(18),
}


class _CifarBlockBuilder(BlockBuilder):
    """Shortcuts without parameters (He et al.'s option A)."""

    def _shortcut(self, x: Any, filters: int, strides: tuple[int, ...], block: str) -> Any:
        if max(strides) == 1 and x.shape[-1] == filters:
            return x
        name = f"{self.prefix}{block}_shortcut"
        if max(strides) > 1:
            # A window of one pixel: every second pixel is left out, by a layer that Keras can save.
            x = keras.layers.AveragePooling2D(
                1, strides, data_format="channels_last", name=f"{name}_subsample"
            )(x)
        extra = filters - x.shape[-1]
        # ZeroPadding2D pads the two axes behind the batch's: channels take one's place for that.
        swap = keras.layers.Permute((3, 2, 1), name=f"{name}_channels_first")
        pad = keras.layers.ZeroPadding2D(
            ((extra // 2, extra - extra // 2), (0, 0)),
            data_format="channels_last",
            name=f"{name}_pad",
        )
        return keras.layers.Permute((3, 2, 1), name=f"{name}_channels_last")(pad(swap(x)))


def ResNet2D(  # noqa: N802
    depth: int = 50,
    num_classes: int | None = None,
    input_shape: tuple | None = None,
    rms: str | RandomMeanScaling | None = "mean",
    rms_position: str = "default",
    rms_stages: tuple[str, ...] | None = None,
    width: int | None = None,
    dropout: float = 0.0,
    include_top: bool = True,
    include_preprocessing: Preprocessing = False,
    residual_drop: ResidualDrop = None,
    seed: int | None = None,
    weights: str | None = None,
    name: str | None = None,
) -> keras.Model:
    """A ResNet for images, with `RandomMeanScaling` in the places it has in the video networks.

    Depths 18, 34, 50 and 101 are ImageNet's: a 7x7 stem, four stages `res2` to `res5`, projections
    where the shape changes, the stride of a bottleneck on its 3x3 convolution. Depths 20, 56 and
    110 are CIFAR's: a 3x3 stem, three stages `res2` to `res4` of basic blocks, and shortcuts
    without parameters (subsampling and zero channels, option A).

    Example:

    >>> network = keras_rms.models.ResNet2D(depth=110, num_classes=100, rms="mean")
    >>> network.output_shape
    (None, 100)

    Args:
        depth: 18, 34, 50 or 101 (ImageNet), or 20, 56 or 110 (CIFAR).
        num_classes: Number of logits; 1000 for ImageNet's and 100 for CIFAR's depths by default.
        input_shape: (height, width, channels); height and width may be `None`. (224, 224, 3) or
            (32, 32, 3) by default.
        rms: `None` or `"none"`, `"mean"` (the paper's RMS), `"gaussian"` (RMS-GF), or a
            `RandomMeanScaling` layer whose settings each place copies.
        rms_position: As for `SlowOnly`.
        rms_stages: The stages that get it; the network's last two by default, `("res4", "res5")`
            or, with CIFAR's three stages, `("res3", "res4")`. The paper's appendix on its 2D
            networks is not public; this is our choice.
        width: Channels of the stem, with which all others scale; 64 or 16 by default.
        dropout: Share of the features dropped before the classifier.
        include_top: Whether to end in logits; otherwise in one feature vector for each image.
        include_preprocessing: Whether the input is uint8 RGB, which the network then normalises;
            a mapping of `mean` and `stddev` (RGB from 0 to 1) says how.
        residual_drop: As for `SlowOnly`.
        seed: Non-negative integer or `None`; fixes the initial weights and all random layers.
        weights: Path of a `.keras` or `.weights.h5` file of such a network.
        name: Of the model; `resnet_<depth>` by default.

    Returns:
        A functional `keras.Model`.

    Raises:
        ValueError: If an argument has another value than listed, or the weights do not fit.

    Reference:
        - He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, sections 4.1, 4.2.
        - Kim et al., "Regularization on Spatio-Temporally Smoothed Feature for Action Recognition",
          CVPR 2020, table 6.
    """
    if depth not in VARIANTS:
        raise ValueError(f"`depth` must be one of {tuple(VARIANTS)}. Received: depth={depth!r}")
    variant = VARIANTS[depth]
    # ImageNet's have four stages; nothing else tells the two families apart.
    is_cifar = len(variant.blocks) == 3
    num_classes = variant.num_classes if num_classes is None else num_classes
    width = variant.width if width is None else width
    positive_integer("num_classes", num_classes)
    positive_integer("width", width)
    input_shape = variant.input_shape if input_shape is None else input_shape
    # The paper speaks of the last two stages, and CIFAR's networks have three in all.
    last_stages = ("res3", "res4") if is_cifar else ("res4", "res5")
    builder = (_CifarBlockBuilder if is_cifar else BlockBuilder)(
        convolutions_per_block=3 if variant.bottlenecks else 2,
        num_blocks=sum(variant.blocks),
        rms=rms,
        rms_position=rms_position,
        rms_stages=last_stages if rms_stages is None else rms_stages,
        residual_drop=residual_drop,
        seed=seed,
    )
    inputs, x = network_input(input_shape, include_preprocessing, ndim=3)
    x = (
        builder.conv_norm(x, width, (3, 3), 1, "stem")
        if is_cifar
        else builder.stem(x, width, (7, 7))
    )
    for stage, num_blocks in enumerate(variant.blocks):
        x = _stage(builder, x, stage, num_blocks, width * 2**stage, variant.bottlenecks)
    x = keras.layers.GlobalAveragePooling2D(data_format="channels_last", name="head_pool")(x)
    if include_top:
        x = builder.head(x, num_classes, dropout)
    return finished_network(inputs, x, name or f"resnet_{depth}", weights)


def _stage(
    builder: BlockBuilder, x: Any, stage: int, num_blocks: int, filters: int, bottlenecks: bool
) -> Any:
    kernel_sizes = [(1, 1), (3, 3), (1, 1)] if bottlenecks else [(3, 3), (3, 3)]
    add_block = builder.bottleneck_block if bottlenecks else builder.basic_block
    for index in range(num_blocks):
        strides = 2 if stage > 0 and index == 0 else 1
        x = add_block(x, filters, kernel_sizes, strides, f"res{stage + 2}", index)
    return x
