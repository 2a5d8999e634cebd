"""CSN: channel-separated networks."""

from typing import Any

import keras

from keras_rms.arguments import positive_integer, validate_positive
from keras_rms.models.blocks import BlockBuilder, ResidualDrop
from keras_rms.models.layer_builder import BATCH_NORM_EPSILON
from keras_rms.models.network import Preprocessing, finished_network, network_input
from keras_rms.random_mean_scaling import RandomMeanScaling

# depth: blocks in res2..res5
BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
INTERACTIONS = ("reduced", "preserved")


def CSN(  # noqa: N802
    depth: int = 50,
    num_classes: int = 400,
    input_shape: tuple = (32, 224, 224, 3),
    interaction: str = "preserved",
    epsilon: float = BATCH_NORM_EPSILON,
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
    """A 3D ResNet of bottlenecks whose 3x3x3 convolutions are depthwise.

    Only 1x1x1 convolutions let channels interact. An interaction-preserved network (ip-CSN) has one
    more of them before each depthwise convolution, an interaction-reduced one (ir-CSN) has not.

    Example:

    >>> network = keras_rms.models.CSN(depth=50, num_classes=10, width=8, interaction="reduced")
    >>> network.output_shape
    (None, 10)

    Args:
        depth: 50, 101 or 152.
        num_classes: Number of logits.
        input_shape: (time, height, width, channels); all but the channels may be `None`.
        interaction: `"preserved"` (ip-CSN) or `"reduced"` (ir-CSN).
        epsilon: Of batch normalisation. The checkpoints of mmaction2 and VMZ need 1e-3.

    The other arguments are those of `SlowOnly`.

    Returns:
        A functional `keras.Model`.

    Raises:
        ValueError: If an argument has another value than listed, or the weights do not fit.

    Reference:
        - Tran et al., "Video Classification with Channel-Separated Convolutional Networks",
          ICCV 2019.
    """
    if depth not in BLOCKS:
        raise ValueError(f"`depth` must be one of {tuple(BLOCKS)}. Received: depth={depth!r}")
    if interaction not in INTERACTIONS:
        raise ValueError(
            f"`interaction` must be one of {INTERACTIONS}. Received: interaction={interaction!r}"
        )
    validate_positive("epsilon", epsilon)
    positive_integer("num_classes", num_classes)
    positive_integer("width", width)
    builder = BlockBuilder(
        convolutions_per_block=3,
        num_blocks=sum(BLOCKS[depth]),
        rms=rms,
        rms_position=rms_position,
        rms_stages=rms_stages,
        residual_drop=residual_drop,
        epsilon=epsilon,
        seed=seed,
    )
    inputs, x = network_input(input_shape, include_preprocessing)
    x = builder.stem(x, width, (3, 7, 7))
    preserve = interaction == "preserved"
    for stage, num_blocks in enumerate(BLOCKS[depth]):
        x = _stage(builder, x, stage, num_blocks, width * 2**stage, preserve)
    x = keras.layers.GlobalAveragePooling3D(data_format="channels_last", name="head_pool")(x)
    if include_top:
        x = builder.head(x, num_classes, dropout)
    prefix = "ip" if preserve else "ir"
    return finished_network(inputs, x, name or f"{prefix}_csn_{depth}", weights)


def _stage(
    builder: BlockBuilder, x: Any, stage: int, num_blocks: int, filters: int, preserve: bool
) -> Any:
    for index in range(num_blocks):
        # Time is halved too, unlike in the other networks here.
        strides = (2, 2, 2) if stage > 0 and index == 0 else (1, 1, 1)
        x = builder.channel_separated_block(
            x, filters, strides, f"res{stage + 2}", index, preserve_interaction=preserve
        )
    return x
