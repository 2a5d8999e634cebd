"""I3D: the inflated ResNet-50 that attention blocks are compared on in Table 3."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from keras_rms.arguments import positive_integer
from keras_rms.models.blocks import BlockBuilder, ResidualDrop
from keras_rms.models.layer_builder import BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM
from keras_rms.models.layers.compact_generalized_non_local import CompactGeneralizedNonLocal
from keras_rms.models.layers.compact_global_descriptor import CompactGlobalDescriptor
from keras_rms.models.layers.framewise_pooling import FramewiseMaxPooling3D
from keras_rms.models.layers.non_local import NonLocal
from keras_rms.models.network import Preprocessing, finished_network, network_input
from keras_rms.random_mean_scaling import RandomMeanScaling

# The length over time of each block's first kernel: every second block sees its neighbours.
TEMPORAL_KERNELS = {
    "res2": (3, 3, 3),
    "res3": (3, 1, 3, 1),
    "res4": (3, 1, 3, 1, 3, 1),
    "res5": (1, 3, 1),
}
# The five blocks that an attention block follows: every second one of res3 and res4.
ATTENTION_BLOCKS = {"res3": (1, 3), "res4": (1, 3, 5)}


def _non_local(name: str, seed: int | None) -> keras.layers.Layer:
    return NonLocal(
        pool_size=(1, 2, 2),
        epsilon=BATCH_NORM_EPSILON,
        momentum=BATCH_NORM_MOMENTUM,
        seed=seed,
        name=name,
    )


def _compact_generalized_non_local(name: str, seed: int | None) -> keras.layers.Layer:
    return CompactGeneralizedNonLocal(groups=8, seed=seed, name=name)


def _compact_global_descriptor(name: str, seed: int | None) -> keras.layers.Layer:
    return CompactGlobalDescriptor(seed=seed, name=name)


ATTENTIONS: dict[str, Callable[[str, int | None], keras.layers.Layer]] = {
    "nl": _non_local,
    "cgnl": _compact_generalized_non_local,
    "cgd": _compact_global_descriptor,
}


def I3D(  # noqa: N802
    attention: str | None = "nl",
    num_classes: int = 400,
    input_shape: tuple = (8, 224, 224, 3),
    rms: str | RandomMeanScaling | None = "mean",
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
    """A 3D ResNet-50 with an attention block behind five of its residual blocks.

    The first kernel of every second bottleneck is 3 long in time, the stem's 5; frames are
    halved once, behind res2. The attention blocks follow blocks 1 and 3 of res3 and 1, 3 and 5 of
    res4, the same places for the three kinds. `NonLocal` looks at positions pooled by 2 x 2.

    Example:

    >>> network = keras_rms.models.I3D("cgd", num_classes=10, width=8, input_shape=(8, 32, 48, 3))
    >>> network.output_shape
    (None, 10)

    Args:
        attention: `"nl"` (`NonLocal`), `"cgnl"` (`CompactGeneralizedNonLocal` in 8 groups),
            `"cgd"` (`CompactGlobalDescriptor`), or `None`.
        num_classes: Number of logits.
        input_shape: (time, height, width, channels); all but the channels may be `None`.
        rms: `None` or `"none"`, `"mean"`, `"gaussian"`, or a `RandomMeanScaling` layer whose
            settings each place copies. The originals have none.
        rms_position: As for `SlowOnly`'s bottlenecks.
        rms_stages: The stages that get it, among `"res2"`, `"res3"`, `"res4"`, `"res5"`.
        width: Channels of the stem, with which all others scale.
        dropout: Share of the features dropped before the classifier.
        include_top: Whether to end in logits; otherwise in one feature vector for each clip.
        include_preprocessing: Whether the input is uint8 RGB, which the network then normalises;
            a mapping of `mean` and `stddev` (RGB from 0 to 1) says how.
        residual_drop: As for `SlowOnly`.
        seed: Non-negative integer or `None`; fixes the initial weights and all random layers.
        weights: Path of a `.keras` or `.weights.h5` file of such a network.
        name: Of the model; `i3d_50` and the attention's name by default.

    Returns:
        A functional `keras.Model`.

    Raises:
        ValueError: If an argument has another value than listed, or the weights do not fit.

    Reference:
        - Wang et al., "Non-local Neural Networks", CVPR 2018, section 4 (I3D 3x1x1, five blocks).
        - Yue et al., "Compact Generalized Non-local Network", NeurIPS 2018, section 4.
        - He et al., "Compact Global Descriptor for Neural Networks", arXiv:1907.09665, 2019. Its
          authors put CGD behind a block's first convolution; here it takes the others' places.
    """
    if attention is not None and attention not in ATTENTIONS:
        raise ValueError(
            f"`attention` must be None or one of {tuple(ATTENTIONS)}. "
            f"Received: attention={attention!r}"
        )
    positive_integer("num_classes", num_classes)
    positive_integer("width", width)
    builder = BlockBuilder(
        convolutions_per_block=3,
        num_blocks=sum(map(len, TEMPORAL_KERNELS.values())),
        rms=rms,
        rms_position=rms_position,
        rms_stages=rms_stages,
        residual_drop=residual_drop,
        seed=seed,
    )
    inputs, x = network_input(input_shape, include_preprocessing)
    x = builder.stem(x, width, (5, 7, 7))
    for number, stage in enumerate(TEMPORAL_KERNELS):
        x = _stage(builder, x, stage, width * 2**number, attention)
        if stage == "res2":
            # "same" loses no frame of an odd number, and keeps a single one alive.
            x = FramewiseMaxPooling3D(
                (2, 1, 1), padding="same", data_format="channels_last", name="res2_pool"
            )(x)
    x = keras.layers.GlobalAveragePooling3D(data_format="channels_last", name="head_pool")(x)
    if include_top:
        x = builder.head(x, num_classes, dropout)
    suffix = "" if attention is None else f"_{attention}"
    return finished_network(inputs, x, name or f"i3d_50{suffix}", weights)


def _stage(builder: BlockBuilder, x: Any, stage: str, filters: int, attention: str | None) -> Any:
    for index, length in enumerate(TEMPORAL_KERNELS[stage]):
        strides = (1, 2, 2) if stage != "res2" and index == 0 else (1, 1, 1)
        kernel_sizes = [(length, 1, 1), (1, 3, 3), (1, 1, 1)]
        # In a block no kernel spans time and space: Wang et al.'s 3x1x1 form.
        x = builder.bottleneck_block(x, filters, kernel_sizes, strides, stage, index)
        if attention is not None and index in ATTENTION_BLOCKS.get(stage, ()):
            name = f"{stage}_block{index}_{attention}"
            x = ATTENTIONS[attention](name, builder.seed_of(name))(x)
    return x
