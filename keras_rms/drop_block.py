"""DropBlock."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_rms.arguments import (
    positive_integer,
    standardize_data_format,
    validate_choice,
    validate_count,
    validate_floating,
    validate_probability,
)
from keras_rms.random_layer import RandomLayer


@keras.saving.register_keras_serializable(package="keras_rms")
class DropBlock(RandomLayer):
    """Drops whole blocks of neighbouring positions at random in training.

    In training each position begins a block with probability gamma, if the block lies within the
    feature; all that blocks cover becomes 0. The rest is multiplied by `size / number kept`, both
    over the whole batch. At inference the output is the input itself. Per dimension of size `f`,
    with a block of size `b`,

        gamma = (1 - keep_prob) * product(f / (b * (f - b + 1))),

    so that about `keep_prob` of the feature is kept: a little more, since blocks overlap. For clips
    the block also reaches over `b` frames.

    Example:

    >>> layer = keras_rms.DropBlock(block_size=(4, 7, 7), keep_prob=0.9, seed=0)
    >>> layer(np.ones((2, 8, 14, 14, 16), "float32"), training=True).shape
    (2, 8, 14, 14, 16)

    Args:
        block_size: Positive integer, or one per dimension of time and space. Where the feature is
            smaller than a block, the block is as large as the feature.
        keep_prob: Number in [0, 1], the share that is kept.
        ramp_steps: Training calls over which the share falls linearly from 1 to `keep_prob`, as the
            paper does over all of its training; 0 to start with `keep_prob`. Calls are counted by
            the layer's random state, so that a training that goes on goes on here too.
        granularity: What shares a mask: a `"channel"` has its own (the paper's choice), or all
            channels of a `"sample"` have one.
        data_format: `"channels_last"`, `"channels_first"`, or `None` for Keras's setting.
        seed: Non-negative integer, or `None` for a random one.
        **kwargs: Base layer keyword arguments, such as `name` and `dtype`.

    Call arguments:
        inputs: Floating tensor of rank 3, 4 or 5.
        training: Boolean, whether to drop.

    Input shape:
        `(batch, *space, channels)` or, channels first, `(batch, channels, *space)`, with one to
        three dimensions of space and time; any size may be unknown.

    Output shape:
        That of the input.

    Raises:
        ValueError: If an argument is not one of the above, or `block_size` has another number of
            dimensions than the input.

    Reference:
        - Ghiasi et al., "DropBlock: A regularization method for convolutional networks", NeurIPS
          2018, algorithm 1 and eq. 1.
    """

    def __init__(
        self,
        block_size: int | Sequence[int] = 7,
        keep_prob: float = 0.9,
        ramp_steps: int = 0,
        granularity: str = "channel",
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        block_size = _standardize_block_size(block_size)
        validate_probability("keep_prob", keep_prob)
        validate_count("ramp_steps", ramp_steps)
        validate_choice("granularity", granularity, ("channel", "sample"))
        data_format = standardize_data_format(data_format)
        super().__init__(seed=seed, **kwargs)
        self.block_size = block_size
        self.keep_prob = float(keep_prob)
        self.ramp_steps = ramp_steps
        self.granularity = granularity
        self.data_format = data_format
        self.input_spec = keras.layers.InputSpec(min_ndim=3, max_ndim=5)

    def build(self, input_shape: tuple) -> None:
        self._blocks(len(input_shape))
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> Any:
        validate_floating(inputs)
        if not training or self.keep_prob == 1:
            return inputs
        kept = self._kept(inputs)
        number = ops.sum(ops.cast(kept, "float32"))
        size = math.prod(ops.cast(n, "float32") for n in ops.shape(kept))
        scale = ops.cast(size / ops.maximum(number, 1), inputs.dtype)
        # A choice and not a product: what is dropped may be infinite.
        return ops.where(kept, inputs * scale, ops.zeros_like(inputs))

    def _kept(self, x: Any) -> Any:
        """Boolean, of the input's shape; with size 1 for the channels where they share it."""
        sizes = list(ops.shape(x))
        space = self._space(len(sizes))
        if self.granularity == "sample":
            sizes[self._channels(len(sizes))] = 1
        gamma = 1 - self._keep_prob_now()
        blocks, places = {}, list(sizes)
        for axis, block in zip(space, self._blocks(len(sizes))):
            # Both are Python numbers where the size is known.
            blocks[axis] = _smaller(block, sizes[axis])
            places[axis] = sizes[axis] - blocks[axis] + 1
            gamma = gamma * _ratio(sizes[axis], blocks[axis] * places[axis])
        drawn = keras.random.uniform(places, dtype="float32", seed=self.seed_generator)
        dropped = ops.cast(drawn < gamma, "int32")
        for axis in space:
            dropped = _spread(dropped, axis, blocks[axis], sizes[axis])
        return ops.equal(dropped, 0)

    def _keep_prob_now(self) -> Any:
        if not self.ramp_steps:
            return self.keep_prob
        # The second word of a generator's state counts its draws, one a call.
        calls = ops.cast(self.seed_generator.state.value[1], "float32")
        return 1 - (1 - self.keep_prob) * ops.minimum(calls / self.ramp_steps, 1.0)

    def _channels(self, ndim: int) -> int:
        return ndim - 1 if self.data_format == "channels_last" else 1

    def _space(self, ndim: int) -> list[int]:
        return [axis for axis in range(1, ndim) if axis != self._channels(ndim)]

    def _blocks(self, ndim: int) -> tuple[int, ...]:
        if isinstance(self.block_size, int):
            return (self.block_size,) * (ndim - 2)
        if len(self.block_size) != ndim - 2:
            raise ValueError(
                f"`block_size` must be one integer, or {ndim - 2} for an input of rank {ndim}. "
                f"Received: block_size={self.block_size}"
            )
        return self.block_size

    def get_config(self) -> dict:
        config = {
            "block_size": self.block_size,
            "keep_prob": self.keep_prob,
            "ramp_steps": self.ramp_steps,
            "granularity": self.granularity,
            "data_format": self.data_format,
        }
        return {**super().get_config(), **config}


def _spread(begun: Any, axis: int, block: Any, size: Any) -> Any:
    """From the beginnings of blocks along an axis to what they cover: int32, 0 or 1."""
    # Blocks that begin in the `block` places up to here cover it: a difference of two sums.
    padding = [(1, 0) if each == axis else (0, 0) for each in range(len(begun.shape))]
    sums = ops.cumsum(ops.pad(begun, padding), axis=axis)
    here = ops.arange(size)
    up_to = ops.take(sums, ops.minimum(here + 1, size - block + 1), axis=axis)
    before = ops.take(sums, ops.maximum(here - block + 1, 0), axis=axis)
    return ops.cast(up_to > before, "int32")


def _smaller(block: int, size: Any) -> Any:
    return min(block, size) if isinstance(size, int) else ops.minimum(block, size)


def _ratio(size: Any, of: Any) -> Any:
    return ops.cast(size, "float32") / ops.cast(of, "float32")


def _standardize_block_size(block_size: Any) -> int | tuple[int, ...]:
    if not isinstance(block_size, (list, tuple)):
        return positive_integer("block_size", block_size)
    if not 1 <= len(block_size) <= 3:
        raise ValueError(
            "`block_size` must be a positive integer, or one per dimension. "
            f"Received: block_size={block_size!r}"
        )
    return tuple(positive_integer("block_size", size) for size in block_size)
