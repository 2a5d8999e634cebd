"""What the random layers of this package have in common."""

from typing import Any

import keras
import numpy as np

from keras_rms.replica_seed import ReplicaSeedGenerator

_STATE = "seed_generator_state"


class RandomLayer(keras.layers.Layer):
    """A layer with a seed generator of its own, whose state is saved with the weights.

    Its output has the shape of its input. In a `keras.RematScope` it alone is not computed again
    for its gradient, which would draw other numbers. A network with such layers loads the weights
    of its twin without them, and the reverse. With `trainable = False` it is as at inference, as
    `keras.layers.BatchNormalization` is: a frozen part of a network has no noise.
    """

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed_generator = ReplicaSeedGenerator(seed)
        self.seed = None if seed is None else int(seed)
        self.supports_masking = True

    def rematerialized_call(self, layer_call: Any, *args: Any, **kwargs: Any) -> Any:
        """The call as it is: a second draw would give another output than the first."""
        return layer_call

    def _is_active(self, training: Any) -> bool:
        """Whether a call draws random numbers."""
        return bool(training) and self.trainable

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict:
        return {**super().get_config(), "seed": self.seed}

    def save_own_variables(self, store: Any) -> None:
        store[_STATE] = keras.ops.convert_to_numpy(self.seed_generator.state.value)

    def load_own_variables(self, store: Any) -> None:
        if _STATE in store.keys():
            state = self.seed_generator.state
            state.assign(np.asarray(store[_STATE]).astype(state.dtype))
