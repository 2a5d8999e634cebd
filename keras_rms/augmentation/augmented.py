"""A network with augmentation in front of it."""

from collections.abc import Sequence

import keras

from keras_rms.arguments import validate_probability
from keras_rms.augmentation.checks import validate_color_jitter, validate_rand_augment
from keras_rms.augmentation.color_jitter import ColorJitter
from keras_rms.augmentation.rand_augment import RandAugment
from keras_rms.augmentation.random_erasing import RandomErasing

# The mean of the networks here, 0.45 of 255: their normalisation makes it 0.
_MEAN_LEVEL = 115


def augmented(
    network: keras.Model,
    *,
    color_jitter: Sequence[float] = (),
    rand_augment: Sequence[float] = (),
    random_erasing: float = 0.0,
    seed: int | None = None,
) -> keras.Model:
    """A model that augments uint8 frames in training and gives them to a network, which it shares.

    Train the model; evaluate and save the network, whose weights are the same. At inference the
    model is the network. It augments in this order: colour jitter, RandAugment, erasing.

    Example:

    >>> network = keras_rms.models.SlowOnly(
    ...     depth=18, num_classes=5, input_shape=(8, 56, 56, 3), width=8, include_preprocessing=True
    ... )
    >>> model = keras_rms.augmentation.augmented(network, rand_augment=(2, 9), random_erasing=0.25)
    >>> model.count_params() == network.count_params()
    True

    Args:
        network: Takes uint8 clips or images of RGB.
        color_jitter: The strength of brightness, contrast and saturation, or one of each and, as a
            fourth number, of the hue; see `ColorJitter`. Empty for none.
        rand_augment: How many changes and their magnitude, as (2, 9); see `RandAugment`. Empty for
            none.
        random_erasing: Share of the clips in which a box is erased; see `RandomErasing`.
        seed: Non-negative integer, or `None` for a random one.

    Returns:
        A functional model, or the network itself where there is nothing to augment.

    Raises:
        ValueError: If an argument is not one of the above.
    """
    validate_color_jitter("color_jitter", color_jitter)
    validate_rand_augment("rand_augment", rand_augment)
    validate_probability("random_erasing", random_erasing)
    layers: list[keras.layers.Layer] = []
    seeds = [None] * 3 if seed is None else range(seed, seed + 3)
    if color_jitter:
        strengths = [*color_jitter] * 3 if len(color_jitter) == 1 else color_jitter
        given = dict(zip(("brightness", "contrast", "saturation", "hue"), strengths))
        layers.append(ColorJitter(**given, seed=seeds[0], name="color_jitter"))
    if rand_augment:
        number, magnitude = rand_augment
        layers.append(
            RandAugment(
                int(number), magnitude, fill=_MEAN_LEVEL, seed=seeds[1], name="rand_augment"
            )
        )
    if random_erasing:
        layers.append(
            RandomErasing(random_erasing, value=_MEAN_LEVEL, seed=seeds[2], name="random_erasing")
        )
    if not layers:
        return network
    _validate_network(network)
    inputs = x = keras.Input(network.input_shape[1:], dtype="uint8")
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, network(x), name=network.name)


def _validate_network(network: keras.Model) -> None:
    inputs = getattr(network, "inputs", None) or []
    if len(inputs) != 1 or keras.backend.standardize_dtype(inputs[0].dtype) != "uint8":
        raise ValueError(
            "`network` must take uint8 frames and nothing else, as those with "
            "`include_preprocessing=True` do, to be augmented. Received: a network of "
            f"{[(each.name, each.dtype) for each in inputs]}"
        )
