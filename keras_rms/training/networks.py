"""The network of a recipe."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager

import keras

from keras_rms import RandomMeanScaling, models
from keras_rms.models.catalog import BUILDERS
from keras_rms.models.resnet_2d import ResNet2D
from keras_rms.residual_drop import residual_drop_of
from keras_rms.training.recipe import Recipe


def network_of(recipe: Recipe, num_classes: int) -> keras.Model:
    """The network that a recipe describes, on uint8 clips or images of any height and width.

    Example:

    >>> model = network_of(Recipe(model="slow_only_18", width=16), num_classes=10)

    Args:
        recipe: See `Recipe`.
        num_classes: Logits.

    Raises:
        ValueError: See `build_network`.
    """
    # All layers are made here, so that they have the dtype policy of the moment.
    rms = None
    if recipe.rms != "none":
        rms = RandomMeanScaling(
            smoothing=recipe.rms,
            smoothing_stddev=recipe.rms_stddev,
            distribution=recipe.rms_distribution,
            mean=recipe.rms_mean,
            spread=recipe.rms_spread,
            component=recipe.rms_component,
        )
    drop = None
    if recipe.residual_drop != "none":
        drop = residual_drop_of(recipe.residual_drop, recipe.last_survival)
    return build_network(
        recipe.model,
        num_classes,
        recipe.num_frames,
        rms=rms,
        rms_position=recipe.rms_position,
        rms_stages=recipe.rms_stages,
        width=recipe.width,
        **(recipe.network_options or {}),
        dropout=recipe.dropout,
        residual_drop=drop,
        seed=recipe.seed,
    )


def build_network(name: str, num_classes: int, num_frames: int, **options: object) -> keras.Model:
    """Builds a network on uint8 clips, or images, of any height and width.

    Example:

    >>> model = build_network("slow_only_18", num_classes=10, num_frames=8, rms="mean", width=16)

    Args:
        name: One of `keras_rms.models.list()`.
        num_classes: Logits.
        num_frames: Frames of a clip.
        **options: Arguments of the network's builder; those that are None keep its own defaults.

    Raises:
        ValueError: If the network has no such option, or takes images and there are more frames.
    """
    # None is a value of `rms`: the network without it.
    given = {key: value for key, value in options.items() if value is not None or key == "rms"}
    if name in BUILDERS:
        _check_options(name, given)
    # In the data an image is a clip of one frame.
    # The builder behind the partial says what it takes; its name is only a name.
    images = getattr(BUILDERS.get(name), "func", None) is ResNet2D
    if images and num_frames != 1:
        raise ValueError(
            f"{name} takes images, which are clips of one frame: give num_frames=1 and span=1. "
            f"Received: num_frames={num_frames}"
        )
    given["input_shape"] = (None, None, 3) if images else (num_frames, None, None, 3)
    return models.build(name, num_classes=num_classes, **{"include_preprocessing": True, **given})


def _check_options(name: str, options: dict[str, object]) -> None:
    known = inspect.signature(BUILDERS[name]).parameters
    unknown = [option for option in options if option not in known]
    if unknown:
        raise ValueError(f"{name} has no option {', '.join(unknown)}; leave it out.")


@contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """While active, new layers have this dtype policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
