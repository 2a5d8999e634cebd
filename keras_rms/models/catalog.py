"""The networks by name."""

import functools
from collections.abc import Callable

import keras

from keras_rms.models.csn import CSN
from keras_rms.models.i3d import I3D
from keras_rms.models.resnet_2d import ResNet2D
from keras_rms.models.s3d import S3D
from keras_rms.models.slow_fast import SlowFast
from keras_rms.models.slow_only import SlowOnly

BUILDERS: dict[str, Callable[..., keras.Model]] = {
    "slow_only_18": functools.partial(SlowOnly, depth=18),
    "slow_only_34": functools.partial(SlowOnly, depth=34),
    "slow_only_50": functools.partial(SlowOnly, depth=50),
    "slow_only_101": functools.partial(SlowOnly, depth=101),
    # Frames of the slow pathway x the distance between them, as PySlowFast names them.
    "slow_fast_50_4x16": functools.partial(SlowFast, depth=50, alpha=8, lateral_kernel=5),
    "slow_fast_50_8x8": functools.partial(SlowFast, depth=50),
    "slow_fast_101_8x8": functools.partial(SlowFast, depth=101, lateral_kernel=5),
    "slow_fast_101_16x8": functools.partial(
        SlowFast,
        depth=101,
        lateral_kernel=5,
        temporal_blocks=(3, 4, 6, 3),
        input_shape=(64, 224, 224, 3),
    ),
    "ip_csn_50": functools.partial(CSN, depth=50),
    "ip_csn_101": functools.partial(CSN, depth=101),
    "ip_csn_152": functools.partial(CSN, depth=152),
    "ir_csn_50": functools.partial(CSN, depth=50, interaction="reduced"),
    "ir_csn_101": functools.partial(CSN, depth=101, interaction="reduced"),
    "ir_csn_152": functools.partial(CSN, depth=152, interaction="reduced"),
    "s3d": S3D,
    "i3d_50_nl": functools.partial(I3D, attention="nl"),
    "i3d_50_cgnl": functools.partial(I3D, attention="cgnl"),
    "i3d_50_cgd": functools.partial(I3D, attention="cgd"),
    "resnet_20": functools.partial(ResNet2D, depth=20),
    "resnet_50": functools.partial(ResNet2D, depth=50),
    "resnet_110": functools.partial(ResNet2D, depth=110),
}


def build(name: str, **kwargs) -> keras.Model:
    """Builds a network by its name.

    Example:

    >>> network = keras_rms.models.build("slow_only_18", num_classes=10, width=8)

    Args:
        name: One of `keras_rms.models.list()`.
        **kwargs: Arguments of the builder, such as `num_classes` and `input_shape`.

    Returns:
        A functional `keras.Model`.

    Raises:
        ValueError: If there is no network of that name.
    """
    if name not in BUILDERS:
        raise ValueError(f"`name` must be one of {', '.join(BUILDERS)}. Received: name={name!r}")
    return BUILDERS[name](**kwargs)


def list_names() -> list[str]:
    """The names that `keras_rms.models.build` takes."""
    return [*BUILDERS]
