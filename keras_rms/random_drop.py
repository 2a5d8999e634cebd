"""RandomDrop (stochastic depth)."""

from typing import Any

import keras
from keras import ops

from keras_rms.arguments import validate_choice, validate_probability
from keras_rms.random_layer import RandomLayer


@keras.saving.register_keras_serializable(package="keras_rms")
class RandomDrop(RandomLayer):
    """Drops a residual branch at random in training, for the whole batch or for each sample.

    Placed at the end of a residual branch, before the sum with the shortcut. In training the branch
    is kept as it is with probability `survival`, else it is multiplied by 0, forward and
    backward. At inference it is multiplied by `survival`, its expectation.

    Example:

    >>> layer = keras_rms.RandomDrop(0.8, seed=0)
    >>> layer(np.ones((2, 8, 14, 14, 16), "float32"), training=True).shape
    (2, 8, 14, 14, 16)

    Args:
        survival: Number in [0, 1], the probability that the branch is kept.
        granularity: What is dropped together: a whole `"batch"` (the paper's Table 2) or a
            `"sample"`.
        seed: Non-negative integer, or `None` for a random one.
        **kwargs: Base layer keyword arguments, such as `name` and `dtype`.

    Input shape:
        Any, the batch first.

    Output shape:
        That of the input.

    Raises:
        ValueError: If an argument is not one of the above.

    Reference:
        - Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016.
    """

    def __init__(
        self, survival: float, granularity: str = "batch", seed: int | None = None, **kwargs: Any
    ) -> None:
        validate_probability("survival", survival)
        validate_choice("granularity", granularity, ("batch", "sample"))
        super().__init__(seed=seed, **kwargs)
        self.survival = float(survival)
        self.granularity = granularity

    def call(self, inputs: Any, training: bool = False) -> Any:
        if self.survival == 1:
            return inputs
        if not self._is_active(training):
            return inputs * self.survival
        shape = [1] * len(inputs.shape)
        if self.granularity == "sample":
            shape[0] = ops.shape(inputs)[0]
        # In float32: half precision has few numbers close to 1, where `survival` may lie.
        kept = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
        # A choice and not a product: a dropped branch may hold infinities.
        return ops.where(kept < self.survival, inputs, ops.zeros_like(inputs))

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "survival": self.survival,
            "granularity": self.granularity,
        }
