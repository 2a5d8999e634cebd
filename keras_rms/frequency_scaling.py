"""The probe of the paper's figures 1 and 4: fixed scales for low and high frequencies."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_rms.arguments import (
    validate_finite,
    validate_floating,
    validate_smoothing,
)
from keras_rms.smoothing import Smoothing


@keras.saving.register_keras_serializable(package="keras_rms")
class FrequencyScaling(keras.layers.Layer):
    """Scales the locally smoothed part of a feature and the residual by fixed numbers.

    The output is `low * m + high * (x - m)`, where `m` is the local mean of the input `x`, in
    training and at inference alike. Put into a trained network, it shows how much the network
    relies on either part (paper, figures 1 and 4). Where both scales are 1 the output is the input
    itself.

    Example:

    >>> layer = keras_rms.FrequencyScaling(low=0.5)
    >>> layer(np.ones((1, 8, 14, 14, 16), "float32")).shape
    (1, 8, 14, 14, 16)

    Args:
        low: Number, the scale of the smoothed part.
        high: Number, the scale of the residual.
        kernel_size: Odd integer, or one per dimension: the size of the local window.
        smoothing: `"mean"` or `"gaussian"`.
        smoothing_stddev: Positive number, the Gaussian's standard deviation in positions.
        border: `"renormalize"` or `"zeros"`, as in `RandomMeanScaling`.
        data_format: `"channels_last"`, `"channels_first"`, or `None` for Keras's setting.
        **kwargs: Base layer keyword arguments, such as `name` and `dtype`.

    Input shape:
        `(batch, *space, channels)` or, channels first, `(batch, channels, *space)`, with one to
        three dimensions of space and time; any size may be unknown.

    Output shape:
        That of the input.

    Raises:
        ValueError: If an argument is not one of the above.

    Reference:
        - Kim et al., "Regularization on Spatio-Temporally Smoothed Feature for Action Recognition",
          CVPR 2020, sections 1 and 5.1.
    """

    def __init__(
        self,
        low: float = 1.0,
        high: float = 1.0,
        kernel_size: int | Sequence[int] = 3,
        smoothing: str = "mean",
        smoothing_stddev: float = 0.4,
        border: str = "renormalize",
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        validate_finite("low", low)
        validate_finite("high", high)
        validate_smoothing(smoothing, smoothing_stddev)
        stddev = smoothing_stddev if smoothing == "gaussian" else None
        self._smooth = Smoothing(kernel_size, stddev, border, data_format)
        super().__init__(**kwargs)
        self.low = float(low)
        self.high = float(high)
        self.kernel_size = self._smooth.kernel_size
        self.smoothing = smoothing
        self.smoothing_stddev = float(smoothing_stddev)
        self.border = border
        self.data_format = self._smooth.data_format
        self.supports_masking = True
        self.input_spec = keras.layers.InputSpec(min_ndim=3, max_ndim=5)

    def build(self, input_shape: tuple) -> None:
        self._smooth.sizes(len(input_shape))
        self.built = True

    def call(self, inputs: Any) -> Any:
        validate_floating(inputs)
        if self.low == self.high == 1:
            return inputs
        return self._smooth.blend(inputs, self.high, self.low - self.high)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict:
        config = {
            "low": self.low,
            "high": self.high,
            "kernel_size": self.kernel_size,
            "smoothing": self.smoothing,
            "smoothing_stddev": self.smoothing_stddev,
            "border": self.border,
            "data_format": self.data_format,
        }
        return {**super().get_config(), **config}
