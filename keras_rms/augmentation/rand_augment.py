"""RandAugment."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_rms.arguments import positive_integer, validate_finite, validate_not_negative
from keras_rms.augmentation import colors, geometry
from keras_rms.augmentation.frame_layer import FrameLayer, each_clip

MAX_MAGNITUDE = 10


@keras.saving.register_keras_serializable(package="keras_rms")
class RandAugment(FrameLayer):
    """Makes several random changes, of one strength, to each clip in training.

    Each clip has `num_ops` of the paper's 14 changes, drawn with replacement. All frames of a clip
    are changed alike; what depends on its levels (contrast, equalisation) is of the whole clip.
    With `m = magnitude / 10` and a sign drawn for each change:

        `identity`, `auto_contrast`, `equalize`
        `rotate`                                    30 m degrees
        `shear_x`, `shear_y`                        0.3 m pixels a pixel
        `translate_x`, `translate_y`                150/331 m of the width or height
        `brightness`, `color`, `contrast`, `sharpness`
                                                    factors 1 + 0.9 m or 1 - 0.9 m
        `posterize`                                 to 8 - round(4 m) bits
        `solarize`                                  levels from 256 (1 - m) on

    These are AutoAugment's ranges, as torchvision has them: more magnitude is always more change.
    Each change is made to whole levels, as Pillow has them.

    Example:

    >>> layer = keras_rms.augmentation.RandAugment(num_ops=2, magnitude=9, seed=0)
    >>> layer(np.zeros((2, 8, 56, 56, 3), "uint8"), training=True).shape
    (2, 8, 56, 56, 3)

    Args:
        num_ops: Positive integer, the changes to each clip (the paper's N).
        magnitude: Number in [0, 10] (the paper's M).
        fill: Number, the level of what comes from outside of the frame.
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
        - Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced search
          space", NeurIPS 2020, section 3.
    """

    def __init__(
        self,
        num_ops: int = 2,
        magnitude: float = 9,
        fill: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        positive_integer("num_ops", num_ops)
        validate_not_negative("magnitude", magnitude)
        if magnitude > MAX_MAGNITUDE:
            raise ValueError(
                f"`magnitude` must be at most {MAX_MAGNITUDE}. Received: magnitude={magnitude!r}"
            )
        validate_finite("fill", fill)
        super().__init__(seed=seed, **kwargs)
        self.num_ops = num_ops
        self.magnitude = float(magnitude)
        self.fill = float(fill)

    def augment(self, inputs: Any) -> Any:
        draws = self.draw(inputs, 2, self.num_ops)
        number = len(changes(0.0, 0.0))
        # Rounding may give the upper bound itself.
        chosen = ops.minimum(ops.cast(draws[:, 0] * number, "int32"), number - 1)
        signs = ops.where(draws[:, 1] < 0.5, -1.0, 1.0)
        return each_clip(self._augmented, inputs, chosen, signs)

    def _augmented(self, clip: Any, chosen: Any, signs: Any) -> Any:
        functions = list(changes(self.magnitude, self.fill).values())
        for place in range(self.num_ops):
            clip = ops.switch(chosen[place], functions, ops.round(clip), signs[place])
        return clip

    def get_config(self) -> dict:
        config = {"num_ops": self.num_ops, "magnitude": self.magnitude, "fill": self.fill}
        return {**super().get_config(), **config}


def changes(magnitude: float, fill: float) -> dict[str, Callable[[Any, Any], Any]]:
    """The paper's 14 changes by name: functions of frames and a sign."""
    m = magnitude / MAX_MAGNITUDE
    bits, threshold = 8 - round(4 * m), 256 * (1 - m)
    shift = 150 / 331 * m
    return {
        "identity": lambda x, sign: x,
        "auto_contrast": lambda x, sign: colors.auto_contrast(x),
        "equalize": lambda x, sign: colors.equalize(x),
        "rotate": lambda x, sign: geometry.rotate(x, sign * 30 * m, fill),
        "solarize": lambda x, sign: colors.solarize(x, threshold),
        "color": lambda x, sign: colors.saturation(x, 1 + sign * 0.9 * m),
        "posterize": lambda x, sign: colors.posterize(x, bits),
        "contrast": lambda x, sign: colors.contrast(x, 1 + sign * 0.9 * m),
        "brightness": lambda x, sign: colors.brightness(x, 1 + sign * 0.9 * m),
        "sharpness": lambda x, sign: colors.sharpness(x, 1 + sign * 0.9 * m),
        "shear_x": lambda x, sign: geometry.shear_x(x, sign * 0.3 * m, fill),
        "shear_y": lambda x, sign: geometry.shear_y(x, sign * 0.3 * m, fill),
        "translate_x": lambda x, sign: geometry.translate_x(x, sign * shift, fill),
        "translate_y": lambda x, sign: geometry.translate_y(x, sign * shift, fill),
    }
