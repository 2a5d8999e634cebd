"""The network that a training's options describe, and what it takes."""

import keras

from keras_rms import models
from keras_rms.models.catalog import BUILDERS
from keras_rms.models.resnet_2d import ResNet2D


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
    # In the data an image is a clip of one frame.
    images = getattr(BUILDERS.get(name), "func", None) is ResNet2D
    if images and num_frames != 1:
        raise ValueError(
            f"{name} takes images, which are clips of one frame: give num_frames=1 and span=1. "
            f"Received: num_frames={num_frames}"
        )
    shape = (None, None, 3) if images else (num_frames, None, None, 3)
    try:
        return models.build(
            name, num_classes=num_classes, input_shape=shape, include_preprocessing=True, **given
        )
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        option = str(error).rsplit("'", 2)[1]
        raise ValueError(f"{name} has no option {option}; leave it out.") from error
