"""Where Random Mean Scaling sits, or would sit, in the network of a run."""

import keras

from keras_rms import RandomMeanScaling
from keras_rms.training.networks import build_network


def layers_after_rms(settings: dict, num_classes: int) -> list[str]:
    """Names of the layers that RMS comes before in a network as the paper has it.

    A network without RMS has these layers too, under the same names: so both are looked at in the
    same places.

    Args:
        settings: Those of the run; its network and width count, not its RMS.
        num_classes: Logits of the network.

    Raises:
        ValueError: If the network is none that is built with RMS.
    """
    model = build_network(
        settings["model"],
        num_classes,
        settings["num_frames"],
        rms="mean",
        rms_position=settings.get("rms_position"),
        rms_stages=tuple(settings["rms_stages"]) if settings.get("rms_stages") else None,
        width=settings["width"],
    )
    made = [x.output for x in model.layers if isinstance(x, RandomMeanScaling)]
    return [layer.name for layer in model.layers if any(_reads(layer, tensor) for tensor in made)]


def _reads(layer: keras.layers.Layer, tensor: keras.KerasTensor) -> bool:
    return any(x is tensor for x in keras.tree.flatten(layer.input))
