"""SlowOnly: the slow pathway of SlowFast, the paper's baseline."""

from typing import Any

import keras

from keras_rms.arguments import positive_integer
from keras_rms.models.blocks import BlockBuilder, ResidualDrop
from keras_rms.models.network import Preprocessing, finished_network, network_input
from keras_rms.random_mean_scaling import RandomMeanScaling

# depth: (blocks in res2..res5, bottlenecks)
BLOCKS = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
}
# Time enters late: kernel lengths over time in res2..res5.
TEMPORAL_KERNELS = (1, 1, 3, 3)


def SlowOnly(  # noqa: N802
    depth: int = 50,
    num_classes: int = 400,
    input_shape: tuple = (8, 224, 224, 3),
    rms: "str | RandomMeanScaling | None" = "mean",
    rms_position: str = "default",
    rms_stages: tuple[str, ...] = ("res4", "res5"),
    width: int = 64,
    dropout: float = 0.5,
    include_top: bool = True,
    include_preprocessing: Preprocessing = False,
    residual_drop: ResidualDrop = None,
    seed: int | None = None,
    weights: str | None = None,
    name: str | None = None,
) -> keras.Model:
    """A 3D ResNet that keeps the clip's frames to the end and convolves over time in res4 and res5.

    Depths 18 and 34 are made of basic blocks, 50 and 101 of bottlenecks. `RandomMeanScaling` layers
    act in training only and hold no weights: a weights file fits the network with and without them.

    Example:

    >>> network = keras_rms.models.SlowOnly(depth=18, num_classes=10, width=8, rms="gaussian")
    >>> network.output_shape
    (None, 10)

    Args:
        depth: 18, 34, 50 or 101.
        num_classes: Number of logits.
        input_shape: (time, height, width, channels); all but the channels may be `None`.
        rms: `None` or `"none"`, `"mean"` (the paper's RMS), `"gaussian"` (RMS-GF), or a
            `RandomMeanScaling` layer whose settings each place copies.
        rms_position: `"default"` (basic blocks: before all BNs; bottlenecks: before the last
            BN), or a position of the paper's Table 1 (a): `"before_conv1"`, `"before_bn1"`,
            `"before_relu1"`, `"before_conv2"`, ..., `"before_all_bns"`.
        rms_stages: The stages that get it, among `"res2"`, `"res3"`, `"res4"`, `"res5"`.
        width: Channels of the stem, with which all others scale.
        dropout: Share of the features dropped before the classifier.
        include_top: Whether to end in logits; otherwise in one feature vector for each clip.
        include_preprocessing: Whether the input is uint8 RGB, which the network then normalises; a
            mapping of `mean` and `stddev` (RGB from 0 to 1, a number or three) says how. Otherwise
            it is normalised already.
        residual_drop: `None`, `"random_drop"`, `"shake_drop"`, `"drop_block"`, or such a layer
            whose settings the end of each residual branch copies. What is kept falls linearly with
            depth: to 0.5 (DropBlock: 0.9), or to the layer's `survival` or `keep_prob`.
        seed: Non-negative integer or `None`; fixes the initial weights and all random layers.
        weights: Path of a `.keras` or `.weights.h5` file of such a network.
        name: Of the model; `slow_only_<depth>` by default.

    Returns:
        A functional `keras.Model`.

    Raises:
        ValueError: If an argument has another value than listed, or the weights do not fit.

    Reference:
        - Feichtenhofer et al., "SlowFast Networks for Video Recognition", ICCV 2019, table 1.
        - Kim et al., "Regularization on Spatio-Temporally Smoothed Feature for Action Recognition",
          CVPR 2020. Its basic-block networks follow mmaction2: both convolutions of a block are
          (1, 3, 3) in res2 and res3, and (3, 3, 3) in res4 and res5.
    """
    if depth not in BLOCKS:
        raise ValueError(f"`depth` must be one of {tuple(BLOCKS)}. Received: depth={depth!r}")
    positive_integer("num_classes", num_classes)
    positive_integer("width", width)
    blocks, bottlenecks = BLOCKS[depth]
    builder = BlockBuilder(
        convolutions_per_block=3 if bottlenecks else 2,
        num_blocks=sum(blocks),
        rms=rms,
        rms_position=rms_position,
        rms_stages=rms_stages,
        residual_drop=residual_drop,
        seed=seed,
    )
    inputs, x = network_input(input_shape, include_preprocessing)
    x = builder.stem(x, width, (1, 7, 7))
    add_stage = _bottleneck_stage if bottlenecks else _basic_stage
    for stage, num_blocks in enumerate(blocks):
        x = add_stage(builder, x, stage, num_blocks, width * 2**stage)
    x = keras.layers.GlobalAveragePooling3D(data_format="channels_last", name="head_pool")(x)
    if include_top:
        x = builder.head(x, num_classes, dropout)
    return finished_network(inputs, x, name or f"slow_only_{depth}", weights)


def _basic_stage(builder: BlockBuilder, x: Any, stage: int, num_blocks: int, filters: int) -> Any:
    kernel_sizes = [(TEMPORAL_KERNELS[stage], 3, 3)] * 2
    for index in range(num_blocks):
        strides = (1, 2, 2) if stage > 0 and index == 0 else (1, 1, 1)
        x = builder.basic_block(x, filters, kernel_sizes, strides, f"res{stage + 2}", index)
    return x


def _bottleneck_stage(
    builder: BlockBuilder, x: Any, stage: int, num_blocks: int, filters: int
) -> Any:
    kernel_sizes = [(TEMPORAL_KERNELS[stage], 1, 1), (1, 3, 3), (1, 1, 1)]
    for index in range(num_blocks):
        strides = (1, 2, 2) if stage > 0 and index == 0 else (1, 1, 1)
        x = builder.bottleneck_block(x, filters, kernel_sizes, strides, f"res{stage + 2}", index)
    return x
