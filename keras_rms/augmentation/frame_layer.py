"""What the layers that augment frames have in common."""

from typing import Any

import keras
from keras import ops

from keras_rms.random_layer import RandomLayer


class FrameLayer(RandomLayer):
    """Changes each clip (or image) of a batch at random in training, all its frames alike.

    The output has the input's type, whatever the dtype policy: half precision would take levels
    from the frames. Integers are rounded. All that is random is drawn once for the whole batch.
    """

    def __init__(self, seed: int | None = None, channels: int | None = 3, **kwargs: Any) -> None:
        super().__init__(seed=seed, autocast=False, **kwargs)
        axes = {} if channels is None else {-1: channels}
        self.input_spec = keras.layers.InputSpec(min_ndim=4, max_ndim=5, axes=axes)

    def compute_output_spec(self, inputs: Any, training: bool = False) -> keras.KerasTensor:
        return keras.KerasTensor(inputs.shape, inputs.dtype)

    def call(self, inputs: Any, training: bool = False) -> Any:
        return self.augment(inputs) if training else inputs

    def augment(self, inputs: Any) -> Any:
        """The frames of a batch, changed; of the input's shape and type."""
        raise NotImplementedError

    def draw(self, batch: Any, *shape: int) -> Any:
        """Numbers in [0, 1), of this shape for each clip."""
        sizes = (ops.shape(batch)[0], *shape)
        return keras.random.uniform(sizes, dtype="float32", seed=self.seed_generator)


def each_clip(change: Any, inputs: Any, *draws: Any) -> Any:
    """Gives each clip of a batch in float32, with its own part of the draws, to a function."""
    changed = ops.map(lambda clip: change(*clip), (ops.cast(inputs, "float32"), *draws))
    changed = ops.reshape(changed, ops.shape(inputs))  # The sizes that a loop forgets.
    if not keras.backend.is_float_dtype(inputs.dtype):
        changed = ops.round(changed)
    return ops.cast(changed, inputs.dtype)
