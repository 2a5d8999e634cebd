"""What the random layers of this package have in common."""

from typing import Any

import keras
import numpy as np

from keras_rms.replica_seed import ReplicaSeedGenerator

_STATE = "seed_generator_state"


class RandomLayer(keras.layers.Layer):
    """A layer with a seed generator of its own, whose state is saved with the weights.

    Its output has the shape of its input. A network with such layers loads the weights of its twin
    without them, and the reverse.
    """

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed_generator = ReplicaSeedGenerator(seed)
        self.seed = None if seed is None else int(seed)
        self.supports_masking = True

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
