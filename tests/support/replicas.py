"""Two replicas on this machine."""

import functools


@functools.cache
def mirrored_strategy():
    """Of two replicas, one for all tests: TensorFlow mixes up the collectives of several."""
    import tensorflow as tf

    # Those that the package makes start counting from 0.
    tf.distribute.MirroredStrategy._collective_key_base = 10_000
    try:
        return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    finally:
        tf.distribute.MirroredStrategy._collective_key_base = 0
