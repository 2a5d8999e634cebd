"""Random erasing."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_rms.arguments import validate_finite, validate_probability
from keras_rms.augmentation.frame_layer import FrameLayer

_TRIES = 10


@keras.saving.register_keras_serializable(package="keras_rms")
class RandomErasing(FrameLayer):
    """Fills a random box in some of the clips in training, the same box in all frames of a clip.

    The box covers a share of the frame drawn uniformly from `area`, its height over its width is
    drawn log-uniformly from `aspect`, and its place uniformly, as in torchvision's `RandomErasing`.
    A box that is not smaller than the frame is drawn again, ten times; then the clip stays.

    Example:

    >>> layer = keras_rms.augmentation.RandomErasing(0.25, seed=0)
    >>> layer(np.zeros((2, 8, 56, 56, 3), "uint8"), training=True).shape
    (2, 8, 56, 56, 3)

    Args:
        probability: Number in [0, 1], the share of the clips with a box.
        area: Pair of numbers in (0, 1], the smallest and the largest share of the frame.
        aspect: Pair of positive numbers, the smallest and the largest ratio of height to width.
        value: Number that fills the box. Behind a normalisation 0 is the mean; for levels of 0 to
            255 the mean of the networks here is 115.
        seed: Non-negative integer, or `None` for a random one.
        **kwargs: Base layer keyword arguments, such as `name`.

    Call arguments:
        inputs: Frames, integers or floating.
        training: Boolean, whether to erase.

    Input shape:
        `(batch, time, height, width, channels)` or, for images, `(batch, height, width, channels)`.

    Output shape:
        That of the input, whose type it has too.

    Raises:
        ValueError: If an argument is not one of the above; in the call, if `value` is not one of
            the input's type.

    Reference:
        - Zhong et al., "Random Erasing Data Augmentation", AAAI 2020, algorithm 1.
    """

    def __init__(
        self,
        probability: float = 0.5,
        area: Sequence[float] = (0.02, 0.33),
        aspect: Sequence[float] = (0.3, 3.3),
        value: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        validate_probability("probability", probability)
        validate_finite("value", value)
        area, aspect = _standardize_range("area", area, 1.0), _standardize_range("aspect", aspect)
        super().__init__(seed=seed, channels=None, **kwargs)
        self.probability = float(probability)
        self.area = area
        self.aspect = aspect
        self.value = float(value)

    def augment(self, inputs: Any) -> Any:
        value = self._value(inputs.dtype)
        rows, columns = self._boxes(inputs)
        inside = rows[:, :, None] & columns[:, None, :]
        frames = (1,) * (len(inputs.shape) - 4)
        batch, height, width = ops.shape(inside)
        inside = ops.reshape(inside, (batch, *frames, height, width, 1))
        return ops.where(inside, value, inputs)

    def _boxes(self, inputs: Any) -> tuple[Any, Any]:
        """Which rows and which columns of each clip's frames are in its box."""
        height, width = ops.shape(inputs)[-3:-1]
        draws = self.draw(inputs, 2, _TRIES)
        pixels = ops.cast(height, "float32") * ops.cast(width, "float32")
        area = _between(self.area, draws[:, 0]) * pixels
        # In logarithms 1:3 and 3:1 are equally far from a square.
        low, high = map(math.log, self.aspect)
        aspect = ops.exp(_between((low, high), draws[:, 1]))
        heights, widths = ops.sqrt(area * aspect), ops.sqrt(area / aspect)
        heights, widths = (ops.cast(ops.round(n), "int32") for n in (heights, widths))
        fits = (heights > 0) & (widths > 0) & (heights < height) & (widths < width)
        first = ops.argmax(ops.cast(fits, "int32"), axis=1)[:, None]
        whether, down, across = ops.unstack(self.draw(inputs, 3), axis=1)
        erased = ops.any(fits, axis=1) & (whether < self.probability)
        sides = (ops.take_along_axis(n, first, axis=1)[:, 0] for n in (heights, widths))
        tall, wide = (ops.where(erased, side, 0) for side in sides)
        return _interval(height, tall, down), _interval(width, wide, across)

    def _value(self, dtype: Any) -> Any:
        dtype = keras.backend.standardize_dtype(dtype)
        if dtype == "uint8" and self.value not in range(256):
            raise ValueError(
                "`value` must be a whole number of 0 to 255 for inputs of uint8. "
                f"Received: value={self.value}"
            )
        return ops.cast(self.value, dtype)

    def get_config(self) -> dict:
        config = {
            "probability": self.probability,
            "area": self.area,
            "aspect": self.aspect,
            "value": self.value,
        }
        return {**super().get_config(), **config}


def _interval(size: Any, length: Any, draw: Any) -> Any:
    """Boolean (batch, size): an interval of each length at a place that is as likely as others."""
    room = size - length
    # Rounding may give the upper bound itself.
    start = ops.minimum(ops.cast(draw * ops.cast(room + 1, "float32"), "int32"), room)
    place = ops.arange(size)[None, :]
    return (place >= start[:, None]) & (place < (start + length)[:, None])


def _between(ends: tuple[float, float], draws: Any) -> Any:
    return ends[0] + draws * (ends[1] - ends[0])


def _standardize_range(name: str, ends: Any, most: float = math.inf) -> tuple[float, float]:
    if isinstance(ends, (list, tuple)) and len(ends) == 2:
        for end in ends:
            validate_finite(name, end)
        if 0 < ends[0] <= ends[1] <= most:
            return float(ends[0]), float(ends[1])
    raise ValueError(
        f"`{name}` must be (lowest, highest), positive and at most {most}. "
        f"Received: {name}={ends!r}"
    )
