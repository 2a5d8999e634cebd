"""Colour jitter."""

from functools import partial
from typing import Any

import keras
from keras import ops

from keras_rms.arguments import validate_not_negative
from keras_rms.augmentation import colors
from keras_rms.augmentation.frame_layer import FrameLayer, each_clip

MAX_HUE = 0.5


@keras.saving.register_keras_serializable(package="keras_rms")
class ColorJitter(FrameLayer):
    """Changes brightness, contrast, saturation and hue of each clip at random in training.

    A factor of `brightness`, `contrast` and `saturation` is drawn uniformly from
    `[max(0, 1 - s), 1 + s]`, where `s` is the argument, and the hue is turned by a share of the
    circle from `[-hue, hue]`. All frames of a clip have the same factors, and the mean grey that
    contrast turns about is that of the whole clip. The four come in an order drawn for each clip,
    as in torchvision's `ColorJitter`; only the last one's result is rounded, not each one's.

    Example:

    >>> layer = keras_rms.augmentation.ColorJitter(0.4, 0.4, 0.4, seed=0)
    >>> layer(np.zeros((2, 8, 56, 56, 3), "uint8"), training=True).shape
    (2, 8, 56, 56, 3)

    Args:
        brightness: Number of 0 or more, the strength; 0 for none.
        contrast: Number of 0 or more.
        saturation: Number of 0 or more.
        hue: Number in [0, 0.5], the largest share of the circle of hues.
        seed: Non-negative integer, or `None` for a random one.
        **kwargs: Base layer keyword arguments, such as `name`.

    Call arguments:
        inputs: RGB frames of levels 0 to 255, integers or floating.
        training: Boolean, whether to change them.

    Input shape:
        `(batch, time, height, width, 3)` or, for images, `(batch, height, width, 3)`.

    Output shape:
        That of the input, whose type it has too.

    Raises:
        ValueError: If an argument is not one of the above.

    Reference:
        - Howard, "Some Improvements on Deep Convolutional Neural Network Based Image
          Classification", 2013, section 2.1.
    """

    def __init__(
        self,
        brightness: float = 0.0,
        contrast: float = 0.0,
        saturation: float = 0.0,
        hue: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        given = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
        for name, value in {**given, "hue": hue}.items():
            validate_not_negative(name, value)
        if hue > MAX_HUE:
            raise ValueError(f"`hue` must be at most {MAX_HUE}. Received: hue={hue!r}")
        super().__init__(seed=seed, **kwargs)
        self.brightness = float(brightness)
        self.contrast = float(contrast)
        self.saturation = float(saturation)
        self.hue = float(hue)
        ranges = {name: (max(0.0, 1.0 - s), 1.0 + s) for name, s in given.items()}
        ranges["hue"] = (-self.hue, self.hue)
        # What does nothing is left out.
        self._ranges = {name: each for name, each in ranges.items() if each[0] < each[1]}

    def augment(self, inputs: Any) -> Any:
        count = len(self._ranges)
        if not count:
            return inputs
        draws = self.draw(inputs, 2, count)
        low, high = (ops.array(ends) for ends in zip(*self._ranges.values()))
        amounts = low + draws[:, 0] * (high - low)
        return each_clip(self._jittered, inputs, amounts, ops.argsort(draws[:, 1], axis=-1))

    def _jittered(self, clip: Any, amounts: Any, order: Any) -> Any:
        changes = [partial(_changed, name, place) for place, name in enumerate(self._ranges)]
        for place in range(len(changes)):
            clip = ops.switch(order[place], changes, clip, amounts)
        return clip

    def get_config(self) -> dict:
        config = {
            "brightness": self.brightness,
            "contrast": self.contrast,
            "saturation": self.saturation,
            "hue": self.hue,
        }
        return {**super().get_config(), **config}


def _changed(name: str, place: int, clip: Any, amounts: Any) -> Any:
    return getattr(colors, name)(clip, amounts[place])
