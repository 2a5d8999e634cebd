"""SlowFast: two pathways at two frame rates, joined by lateral connections."""

from typing import Any

import keras

from keras_rms.arguments import positive_integer
from keras_rms.models.blocks import BlockBuilder, ResidualDrop
from keras_rms.models.layers.frame_subsampling import RULES, FrameSubsampling
from keras_rms.models.network import Preprocessing, finished_network, network_input
from keras_rms.random_mean_scaling import RandomMeanScaling

# depth: blocks in res2..res5
BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
# pathway: length over time of the stem's kernel and of each stage's first convolutions
TEMPORAL_KERNELS = {"slow": (1, (1, 1, 3, 3)), "fast": (5, (3, 3, 3, 3))}
PATHWAYS = ("slow", "fast")
HEAD_ORDERS = {"slow_fast": ("slow", "fast"), "fast_slow": ("fast", "slow")}
# The fast pathway has an eighth of the channels, a lateral connection twice as many as that.
FAST_SHARE = 8
LATERAL_RATIO = 2


def SlowFast(  # noqa: N802
    depth: int = 50,
    num_classes: int = 400,
    input_shape: tuple = (32, 224, 224, 3),
    alpha: int = 4,
    lateral_kernel: int = 7,
    temporal_blocks: tuple[int, ...] | None = None,
    slow_frames: str = "linspace",
    lateral_norm: bool = True,
    head_order: str = "slow_fast",
    rms: "str | RandomMeanScaling | None" = "mean",
    rms_position: str = "default",
    rms_stages: tuple[str, ...] = ("res4", "res5"),
    rms_pathways: tuple[str, ...] = ("slow", "fast"),
    width: int = 64,
    dropout: float = 0.5,
    include_top: bool = True,
    include_preprocessing: Preprocessing = False,
    residual_drop: ResidualDrop = None,
    seed: int | None = None,
    weights: str | None = None,
    name: str | None = None,
) -> keras.Model:
    """A slow pathway for appearance and a thin fast one for motion, of one clip.

    The input has the fast pathway's frames; the slow pathway takes its own from them. Outputs of
    the fast pathway's stem, res2, res3 and res4 join the slow pathway. `RandomMeanScaling` layers
    act in training only and hold no weights: `weights` takes a file of the network with them, at
    any place, or without.

    Example:

    >>> network = keras_rms.models.SlowFast(depth=50, num_classes=10, width=16)
    >>> network.output_shape
    (None, 10)

    Args:
        depth: 50 or 101.
        num_classes: Number of logits.
        input_shape: (time, height, width, channels); time is a multiple of `alpha`, and all but the
            channels may be `None`.
        alpha: Ratio of the two frame rates: 4 for 8x8 and 16x8, 8 for 4x16.
        lateral_kernel: Odd length over time of the lateral convolutions. PySlowFast has 7 for 8x8
            at depth 50, 5 for its other networks.
        temporal_blocks: How many blocks of each stage convolve over time; all by default. The
            published 101-16x8 has (3, 4, 6, 3).
        slow_frames: `"linspace"` (PySlowFast, PyTorchVideo) or `"stride"` (mmaction2), see
            `FrameSubsampling`.
        lateral_norm: Whether BN and ReLU follow the lateral convolutions; not so in mmaction2.
        head_order: `"slow_fast"`, or `"fast_slow"` as in mmaction2: the order of the features
            before the classifier.
        rms_pathways: The pathways that get it, among `"slow"` and `"fast"`.
        width: Channels of the slow stem, a multiple of 8, with which all others scale.

    The other arguments are those of `SlowOnly`.

    Returns:
        A functional `keras.Model`.

    Raises:
        ValueError: If an argument has another value than listed, or the weights do not fit.

    Reference:
        - Feichtenhofer et al., "SlowFast Networks for Video Recognition", ICCV 2019.
    """
    _check_arguments(
        depth, width, lateral_kernel, temporal_blocks, slow_frames, head_order, rms_pathways
    )
    positive_integer("num_classes", num_classes)
    positive_integer("alpha", alpha)
    builders = {
        pathway: BlockBuilder(
            convolutions_per_block=3,
            num_blocks=sum(BLOCKS[depth]),
            rms=rms if pathway in rms_pathways else None,
            rms_position=rms_position,
            rms_stages=rms_stages,
            residual_drop=residual_drop,
            seed=seed,
            prefix=f"{pathway}_",
        )
        for pathway in PATHWAYS
    }
    # It adds no block, and is given `rms` to refuse a wrong one that no pathway would look at.
    shared = BlockBuilder(convolutions_per_block=3, num_blocks=0, rms=rms, seed=seed)
    widths = {"slow": width, "fast": width // FAST_SHARE}

    def join(x: dict[str, Any], source: str) -> dict[str, Any]:
        return _lateral(shared, x, source, alpha, lateral_kernel, lateral_norm)

    inputs, clip = network_input(input_shape, include_preprocessing)
    # Chosen inside of the network, so that it takes one clip as all others do.
    x = {"slow": FrameSubsampling(alpha, slow_frames, name="slow_frames")(clip), "fast": clip}
    for pathway, builder in builders.items():
        kernel_size = (TEMPORAL_KERNELS[pathway][0], 7, 7)
        x[pathway] = builder.stem(x[pathway], widths[pathway], kernel_size)
    x = join(x, "stem")
    for stage, num_blocks in enumerate(BLOCKS[depth]):
        # Later blocks of the stage see single frames only.
        temporal = num_blocks if temporal_blocks is None else temporal_blocks[stage]
        for pathway, builder in builders.items():
            kernels = [TEMPORAL_KERNELS[pathway][1][stage]] * temporal
            kernels += [1] * (num_blocks - temporal)
            x[pathway] = _stage(builder, x[pathway], stage, kernels, widths[pathway] * 2**stage)
        # Nothing behind res5 could use a lateral connection: the pathways meet in the head.
        if stage < 3:
            x = join(x, f"res{stage + 2}")
    features = _pooled(x, head_order)
    if include_top:
        features = shared.head(features, num_classes, dropout)
    return finished_network(inputs, features, name or f"slow_fast_{depth}", weights)


def _stage(builder: BlockBuilder, x: Any, stage: int, kernels: list[int], filters: int) -> Any:
    for index, kernel in enumerate(kernels):
        strides = (1, 2, 2) if stage > 0 and index == 0 else (1, 1, 1)
        kernel_sizes = [(kernel, 1, 1), (1, 3, 3), (1, 1, 1)]
        x = builder.bottleneck_block(x, filters, kernel_sizes, strides, f"res{stage + 2}", index)
    return x


def _lateral(
    builder: BlockBuilder, x: dict[str, Any], source: str, alpha: int, kernel: int, norm: bool
) -> dict[str, Any]:
    filters = LATERAL_RATIO * x["fast"].shape[-1]
    add = builder.conv_norm if norm else builder.conv
    name = f"lateral_{source}" if norm else f"lateral_{source}_conv"
    fused = add(x["fast"], filters, (kernel, 1, 1), (alpha, 1, 1), name)
    # The slow channels first, as the next kernels of published weights expect them.
    concat = keras.layers.Concatenate(axis=-1, name=f"lateral_{source}_concat")
    return {"slow": concat([x["slow"], fused]), "fast": x["fast"]}


def _pooled(x: dict[str, Any], head_order: str) -> Any:
    pooled = {
        pathway: keras.layers.GlobalAveragePooling3D(
            data_format="channels_last", name=f"{pathway}_head_pool"
        )(x[pathway])
        for pathway in PATHWAYS
    }
    ordered = [pooled[pathway] for pathway in HEAD_ORDERS[head_order]]
    return keras.layers.Concatenate(axis=-1, name="head_pool")(ordered)


def _check_arguments(
    depth: int,
    width: int,
    lateral_kernel: int,
    temporal_blocks: tuple[int, ...] | None,
    slow_frames: str,
    head_order: str,
    rms_pathways: tuple[str, ...],
) -> None:
    if depth not in BLOCKS:
        raise ValueError(f"`depth` must be one of {tuple(BLOCKS)}. Received: depth={depth!r}")
    if positive_integer("width", width) % FAST_SHARE:
        raise ValueError(f"`width` must be a multiple of {FAST_SHARE}. Received: width={width}")
    if positive_integer("lateral_kernel", lateral_kernel) % 2 == 0:
        raise ValueError(f"`lateral_kernel` must be odd. Received: lateral_kernel={lateral_kernel}")
    if temporal_blocks is not None and not _is_within(temporal_blocks, BLOCKS[depth]):
        raise ValueError(
            f"`temporal_blocks` must be None or four integers from 0 to {BLOCKS[depth]}. "
            f"Received: temporal_blocks={temporal_blocks}"
        )
    if slow_frames not in RULES:
        raise ValueError(
            f"`slow_frames` must be one of {RULES}. Received: slow_frames={slow_frames!r}"
        )
    if head_order not in HEAD_ORDERS:
        raise ValueError(
            f"`head_order` must be one of {tuple(HEAD_ORDERS)}. Received: head_order={head_order!r}"
        )
    is_list = isinstance(rms_pathways, (list, tuple))
    if not is_list or not all(pathway in PATHWAYS for pathway in rms_pathways):
        raise ValueError(
            f"`rms_pathways` must be a tuple of names among {PATHWAYS}. "
            f"Received: rms_pathways={rms_pathways!r}"
        )


def _is_within(counts: tuple[int, ...], limits: tuple[int, ...]) -> bool:
    is_one_per_stage = isinstance(counts, (list, tuple)) and len(counts) == len(limits)
    return is_one_per_stage and all(
        isinstance(count, int) and 0 <= count <= limit for count, limit in zip(counts, limits)
    )
