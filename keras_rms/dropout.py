"""Dropout that differs on each replica."""

from typing import Any

import keras

from keras_rms.arguments import validate_rate
from keras_rms.random_layer import RandomLayer


@keras.saving.register_keras_serializable(package="keras_rms")
class Dropout(RandomLayer):
    """`keras.layers.Dropout` whose masks differ on each replica of a distributed training.

    In training each element is set to zero with probability `rate` and the others are scaled by
    `1 / (1 - rate)`; at inference the output is the input itself. `keras.layers.Dropout` draws the
    same mask on every replica of a `tf.distribute` strategy; this layer does not.

    Example:

    >>> layer = keras_rms.Dropout(0.5, seed=0)
    >>> layer(np.ones((2, 3), "float32"), training=True).shape
    (2, 3)

    Args:
        rate: Float in [0, 1), the share of elements to drop.
        seed: Non-negative integer, or `None` for a random one.
        **kwargs: Base layer keyword arguments, such as `name` and `dtype`.

    Input shape:
        Any.

    Output shape:
        That of the input.

    Raises:
        ValueError: If an argument is out of its range.

    Reference:
        - Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting",
          JMLR 2014.
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        validate_rate("rate", rate)
        super().__init__(seed=seed, **kwargs)
        self.rate = float(rate)

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not self._is_active(training) or self.rate == 0:
            return inputs
        return keras.random.dropout(inputs, self.rate, seed=self.seed_generator)

    def get_config(self) -> dict:
        return {**super().get_config(), "rate": self.rate}
