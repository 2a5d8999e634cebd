"""ShakeDrop."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_rms.arguments import (
    standardize_data_format,
    validate_choice,
    validate_finite,
    validate_probability,
)
from keras_rms.random_layer import RandomLayer


@keras.saving.register_keras_serializable(package="keras_rms")
class ShakeDrop(RandomLayer):
    """Scales a residual branch at random, by other numbers backward than forward.

    Placed at the end of a residual branch, before the sum with the shortcut. A draw b decides for
    the whole batch: 1 with probability `survival`, else 0. In training the branch is multiplied by
    `b + alpha - b * alpha` forward and its gradient by `b + beta - b * beta` backward, with
    `alpha` and `beta` drawn uniformly from their ranges. At inference the branch is multiplied by
    the expectation of the forward factor. The defaults are those of the RMS paper's Table 2.

    Example:

    >>> layer = keras_rms.ShakeDrop(0.8, seed=0)
    >>> layer(np.ones((2, 8, 14, 14, 16), "float32"), training=True).shape
    (2, 8, 14, 14, 16)

    Args:
        survival: Number in [0, 1], the probability that the branch is kept as it is.
        alpha: Pair of numbers, the range of the forward factor of a branch that is not kept.
        beta: Pair of numbers, the range of its backward factor.
        granularity: What shares one `alpha` and one `beta`: a `"batch"`, a `"sample"`, a
            `"channel"` of a sample or a `"pixel"` (each element of the tensor).
        data_format: `"channels_last"`, `"channels_first"`, or `None` for Keras's setting.
        seed: Non-negative integer, or `None` for a random one.
        **kwargs: Base layer keyword arguments, such as `name` and `dtype`.

    Input shape:
        `(batch, ..., channels)` or, channels first, `(batch, channels, ...)`.

    Output shape:
        That of the input.

    Raises:
        ValueError: If an argument is not one of the above.

    Reference:
        - Yamada et al., "ShakeDrop Regularization for Deep Residual Learning", IEEE Access 2019.
    """

    def __init__(
        self,
        survival: float,
        alpha: Sequence[float] = (0.0, 0.0),
        beta: Sequence[float] = (0.0, 0.5),
        granularity: str = "pixel",
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        validate_probability("survival", survival)
        choices = ("batch", "sample", "channel", "pixel")
        validate_choice("granularity", granularity, choices)
        alpha, beta = _standardize_range("alpha", alpha), _standardize_range("beta", beta)
        data_format = standardize_data_format(data_format)
        super().__init__(seed=seed, **kwargs)
        self.survival = float(survival)
        self.alpha = alpha
        self.beta = beta
        self.granularity = granularity
        self.data_format = data_format

    def call(self, inputs: Any, training: bool = False) -> Any:
        if self.survival == 1:
            return inputs
        if not self._is_active(training):
            return inputs * (self.survival + (1 - self.survival) * sum(self.alpha) / 2)
        draw = keras.random.uniform((1,) * len(inputs.shape), seed=self.seed_generator)
        kept = draw < self.survival
        forward = self._factor(inputs, kept, self.alpha)
        backward = self._factor(inputs, kept, self.beta)
        return _scale(inputs, forward, backward)

    def _factor(self, x: Any, kept: Any, limits: tuple[float, float]) -> Any:
        low, high = limits
        if low == high:
            # Nothing to draw, as with the default alpha.
            factor = ops.full((1,) * len(x.shape), low)
        else:
            shape = self._shape(x)
            factor = keras.random.uniform(shape, low, high, "float32", self.seed_generator)
        return ops.cast(ops.where(kept, ops.ones_like(factor), factor), x.dtype)

    def _shape(self, x: Any) -> list:
        sizes = list(ops.shape(x))
        channels = len(sizes) - 1 if self.data_format == "channels_last" else 1
        own = {"batch": (), "sample": (0,), "channel": (0, channels)}
        if self.granularity == "pixel":
            return sizes
        return [size if i in own[self.granularity] else 1 for i, size in enumerate(sizes)]

    def get_config(self) -> dict:
        config = {
            "survival": self.survival,
            "alpha": self.alpha,
            "beta": self.beta,
            "granularity": self.granularity,
            "data_format": self.data_format,
        }
        return {**super().get_config(), **config}


def _scale(x: Any, forward: Any, backward: Any) -> Any:
    """`x * forward`, whose gradient is the upstream gradient times `backward`."""
    carrier = x * backward  # has the gradient, and in the sum no value
    return ops.stop_gradient(x * forward) + (carrier - ops.stop_gradient(carrier))


def _standardize_range(name: str, limits: Any) -> tuple[float, float]:
    if not isinstance(limits, (list, tuple)) or len(limits) != 2:
        raise ValueError(f"`{name}` must be a pair of numbers. Received: {name}={limits!r}")
    for limit in limits:
        validate_finite(name, limit)
    if limits[0] > limits[1]:
        raise ValueError(f"`{name}` must be (lowest, highest). Received: {name}={limits!r}")
    return float(limits[0]), float(limits[1])
