"""Random Mean Scaling."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_rms.arguments import (
    validate_choice,
    validate_finite,
    validate_floating,
    validate_smoothing,
)
from keras_rms.random_layer import RandomLayer
from keras_rms.smoothing import Smoothing


@keras.saving.register_keras_serializable(package="keras_rms")
class RandomMeanScaling(RandomLayer):
    """Scales the locally smoothed part of a feature at random, as a regulariser in training.

    The input `x` is split into its local mean `m` (low frequencies) and the residual `r = x - m`
    (high frequencies). In training the output is `alpha * m + r` with a random `alpha` for each
    sample; no gradient flows into `alpha`. At inference it is `E[alpha] * m + r`: the input itself
    where `E[alpha]` is 1, so that an exported network holds no trace of the layer.

    Example:

    >>> layer = keras_rms.RandomMeanScaling(seed=0)
    >>> x = np.random.default_rng(0).normal(size=(2, 8, 14, 14, 16)).astype("float32")
    >>> layer(x, training=True).shape
    (2, 8, 14, 14, 16)

    Args:
        kernel_size: Odd integer, or one per dimension: the size of the local window.
        smoothing: `"mean"`, or `"gaussian"` with weights proportional to
            `exp(-|j - i|^2 / (2 smoothing_stddev^2))`.
        smoothing_stddev: Positive number, the Gaussian's standard deviation in positions.
        distribution: Of `alpha`: `"normal"` (`spread` is the standard deviation) or `"uniform"` on
            `[mean - spread, mean + spread]`.
        mean: Number, `E[alpha]`.
        spread: Non-negative number.
        component: What is scaled: `"mean"` (RMS), `"residual"` or `"input"`.
        granularity: What shares one `alpha`: a whole `"batch"`, a `"sample"` (the paper's clip),
            or a `"channel"` of a sample.
        border: `"renormalize"`: the weights of the neighbours that exist sum to 1, so that a
            constant stays constant up to the border; `"zeros"`: neighbours outside are zeros.
        data_format: `"channels_last"`, `"channels_first"`, or `None` for Keras's setting.
        seed: Non-negative integer, or `None` for a random one.
        **kwargs: Base layer keyword arguments, such as `name` and `dtype`.

    Call arguments:
        inputs: Floating tensor of rank 3, 4 or 5.
        training: Boolean, whether to scale at random or by `E[alpha]`.

    Input shape:
        `(batch, *space, channels)` or, channels first, `(batch, channels, *space)`, with one to
        three dimensions of space and time; any size may be unknown.

    Output shape:
        That of the input.

    Raises:
        ValueError: If an argument is not one of the above.

    Reference:
        - Kim et al., "Regularization on Spatio-Temporally Smoothed Feature for Action Recognition",
          CVPR 2020, eq. 1 to 4.
    """

    def __init__(
        self,
        kernel_size: int | Sequence[int] = 3,
        smoothing: str = "mean",
        smoothing_stddev: float = 0.4,
        distribution: str = "normal",
        mean: float = 1.0,
        spread: float = 0.5,
        component: str = "mean",
        granularity: str = "sample",
        border: str = "renormalize",
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        validate_smoothing(smoothing, smoothing_stddev)
        validate_choice("distribution", distribution, ("normal", "uniform"))
        validate_finite("mean", mean)
        validate_finite("spread", spread)
        if spread < 0:
            raise ValueError(f"`spread` must not be negative. Received: spread={spread!r}")
        validate_choice("component", component, ("mean", "residual", "input"))
        validate_choice("granularity", granularity, ("batch", "sample", "channel"))
        stddev = smoothing_stddev if smoothing == "gaussian" else None
        self._smooth = Smoothing(kernel_size, stddev, border, data_format)
        super().__init__(seed=seed, **kwargs)
        self.kernel_size = self._smooth.kernel_size
        self.smoothing = smoothing
        self.smoothing_stddev = float(smoothing_stddev)
        self.distribution = distribution
        self.mean = float(mean)
        self.spread = float(spread)
        self.component = component
        self.granularity = granularity
        self.border = border
        self.data_format = self._smooth.data_format
        self.input_spec = keras.layers.InputSpec(min_ndim=3, max_ndim=5)

    def build(self, input_shape: tuple) -> None:
        self._smooth.sizes(len(input_shape))
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> Any:
        validate_floating(inputs)
        if self._is_active(training) and self.spread > 0:
            return self._scale(inputs, self._draw(inputs))
        if self.mean == 1:
            return inputs
        return self._scale(inputs, ops.full((1,) * len(inputs.shape), self.mean))

    def _scale(self, x: Any, alpha: Any) -> Any:
        # alpha - 1 before the cast, which in half precision would take digits from it.
        gain, change = ops.cast(alpha, x.dtype), ops.cast(alpha - 1, x.dtype)
        if self.component == "input":
            return x * gain
        if self.component == "residual":
            return self._smooth.blend(x, gain, -change)
        return self._smooth.blend(x, 1, change)

    def _draw(self, x: Any) -> Any:
        """One float32 alpha for each batch, sample or channel, in a shape that spreads over x."""
        shape = [1] * len(x.shape)
        if self.granularity != "batch":
            shape[0] = ops.shape(x)[0]
        if self.granularity == "channel":
            axis = -1 if self.data_format == "channels_last" else 1
            shape[axis] = ops.shape(x)[axis]
        options = {"dtype": "float32", "seed": self.seed_generator}
        if self.distribution == "normal":
            alpha = keras.random.normal(shape, self.mean, self.spread, **options)
        else:
            low, high = self.mean - self.spread, self.mean + self.spread
            alpha = keras.random.uniform(shape, low, high, **options)
        return ops.stop_gradient(alpha)

    def get_config(self) -> dict:
        config = {
            "kernel_size": self.kernel_size,
            "smoothing": self.smoothing,
            "smoothing_stddev": self.smoothing_stddev,
            "distribution": self.distribution,
            "mean": self.mean,
            "spread": self.spread,
            "component": self.component,
            "granularity": self.granularity,
            "border": self.border,
            "data_format": self.data_format,
        }
        return {**super().get_config(), **config}
