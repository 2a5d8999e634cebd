"""The slow pathway's frames."""

from typing import Any

import keras
from keras import ops

RULES = ("linspace", "stride")


@keras.saving.register_keras_serializable(package="keras_rms")
class FrameSubsampling(keras.layers.Layer):
    """Keeps one frame of every `alpha`.

    `"linspace"` spreads the kept frames from the first to the last, `i (T - 1) / (T / alpha - 1)`
    rounded down, as PySlowFast and PyTorchVideo do (0, 4, 8, 13, 17, 22, 26, 31 of 32);
    `"stride"` takes every alpha-th from the first on, as mmaction2 does (0, 4, ..., 28).

    Example:

    >>> frames = np.arange(32).reshape(1, 32, 1, 1, 1)
    >>> kept = FrameSubsampling(alpha=4)(frames)
    >>> keras.ops.convert_to_numpy(kept).ravel().tolist()
    [0, 4, 8, 13, 17, 22, 26, 31]

    Args:
        alpha: Positive integer, the ratio of the frame rates.
        rule: `"linspace"` or `"stride"`.
        **kwargs: Base layer keyword arguments.

    Input shape:
        (batch, time, ...), time a multiple of `alpha`.

    Output shape:
        (batch, time / alpha, ...)

    Raises:
        ValueError: If `alpha` or `rule` is not as listed, or `alpha` does not divide the time.

    Reference:
        - Feichtenhofer et al., "SlowFast Networks for Video Recognition", ICCV 2019, section 3.1.
    """

    def __init__(self, alpha: int, rule: str = "linspace", **kwargs: Any):
        super().__init__(**kwargs)
        if isinstance(alpha, bool) or not isinstance(alpha, int) or alpha < 1:
            raise ValueError(f"`alpha` must be a positive integer. Received: alpha={alpha!r}")
        if rule not in RULES:
            raise ValueError(f"`rule` must be one of {RULES}. Received: rule={rule!r}")
        self.alpha = alpha
        self.rule = rule

    def call(self, inputs: Any) -> Any:
        # Keras asks for the shape only where it builds a graph; a tensor would lose frames.
        self.compute_output_shape(inputs.shape)
        if self.rule == "stride" or self.alpha == 1:
            return inputs[:, :: self.alpha]
        # In integers: the truncation of a rounded quotient would depend on the backend.
        last = ops.shape(inputs)[1] - 1
        kept = (last + 1) // self.alpha
        indices = ops.arange(kept) * last // ops.maximum(kept - 1, 1)
        return ops.take(inputs, indices, axis=1)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        frames = input_shape[1]
        if frames is not None and (frames == 0 or frames % self.alpha):
            raise ValueError(
                f"The number of frames must be a multiple of alpha={self.alpha}. "
                f"Received: input_shape={input_shape}"
            )
        kept = None if frames is None else frames // self.alpha
        return (input_shape[0], kept, *input_shape[2:])

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        # Keras would name the layer's own type, and frames may still be uint8.
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype=inputs.dtype)

    def get_config(self) -> dict:
        return {**super().get_config(), "alpha": self.alpha, "rule": self.rule}
