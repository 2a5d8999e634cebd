"""Random seeds that differ on each replica of a distributed training."""

import sys
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_rms.recomputation import check_draw

# Odd and far from any seed that people write: the streams of the replicas stay apart.
_REPLICA_STRIDE = 0x3C6EF372


@keras.saving.register_keras_serializable(package="keras_rms")
class ReplicaSeedGenerator(keras.random.SeedGenerator):
    """A `keras.random.SeedGenerator` whose numbers differ on each replica.

    Under `tf.distribute` every replica owns an equal copy of a seed generator's state, so that
    `keras.random.normal(shape, seed=generator)` and `keras.layers.Dropout` draw the *same* numbers
    on every replica. This generator adds the replica's index to each seed that it hands out. The
    stored state stays equal on all replicas, and replica 0 draws what a single device draws.

    So it is in `jax.shard_map` and `jax.pmap`, over all axes that these map (JAX 0.5 and later).
    Under `keras.distribution` and in `jax.jit` the devices compute one batch together, and draw
    what one device would draw for it.

    It refuses to draw in a function that is recomputed for its gradient (`tf.recompute_grad`,
    `jax.checkpoint`, `torch.utils.checkpoint`, `keras.remat`), where the second pass would draw
    other numbers, unless `stateless_call` is what runs there.

    Example:

    >>> generator = keras_rms.ReplicaSeedGenerator(seed=0)
    >>> noise = keras.random.normal((2, 3), seed=generator)

    Args:
        seed: Non-negative integer, or `None` for a random one. Neighbouring seeds (a network's
            layers are often numbered) give unrelated numbers on every backend.
        name: String, the generator's name.

    Raises:
        ValueError: If `seed` is not one of the above; from `next`, in a recomputed function.
    """

    def __init__(self, seed: int | None = None, name: str | None = None, **kwargs: Any) -> None:
        validate_seed(seed)
        # The PyTorch backend adds the seed and the step counter, so that seed 1 would repeat the
        # numbers of seed 0 one step later: the seeds are spread over all 31 bits first.
        spread = None if seed is None else _spread(seed)
        super().__init__(seed=spread, name=name, **kwargs)
        self._initial_seed = None if seed is None else int(seed)

    def next(self, ordered: bool = True) -> Any:
        check_draw(self.state)
        seed = super().next(ordered=ordered)
        replica = _replica_id()
        if replica is None:
            return seed
        offset = ops.cast(replica, seed.dtype) * _REPLICA_STRIDE
        return seed + ops.stack([offset, ops.zeros_like(offset)])


def validate_seed(seed: Any) -> None:
    """Raises a `ValueError` unless `seed` is `None` or a non-negative integer."""
    is_integer = isinstance(seed, (int, np.integer)) and not isinstance(seed, bool)
    if seed is not None and not (is_integer and seed >= 0):
        raise ValueError(f"`seed` must be None or a non-negative integer. Received: seed={seed!r}")


def _spread(seed: int) -> int:
    return int(np.random.SeedSequence(int(seed)).generate_state(1)[0] >> 1)


def _replica_id() -> Any:
    """The index of the replica that runs this code, or `None` outside of replicas."""
    backend = keras.backend.backend()
    if backend == "jax":
        return _shard_id()
    if backend != "tensorflow":
        return None
    # Keras has imported TensorFlow, or JAX: this package itself does without.
    context = sys.modules["tensorflow"].distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return None
    return context.replica_id_in_sync_group


def _shard_id() -> Any:
    """The index of the device that runs this part of a `jax.shard_map`; `None` outside of one.

    In a program of all devices (`jax.jit`, `keras.distribution`) there is nothing to tell apart.
    """
    jax = sys.modules["jax"]
    # What older versions of JAX lack.
    mesh = getattr(jax.sharding, "get_abstract_mesh", lambda: None)()
    axes = tuple(getattr(mesh, "manual_axes", ()))
    return jax.lax.axis_index(axes) if axes else None
