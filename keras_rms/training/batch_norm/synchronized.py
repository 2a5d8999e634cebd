"""Batch normalisation over the clips of all replicas together."""

import keras

from keras_rms.training.batch_norm.layers_of import batch_norms


def synchronize_batch_norm(model: keras.Model) -> None:
    """Lets a model's batch normalisation see the batches of all replicas.

    Args:
        model: On the TensorFlow backend, and not yet called under `tf.function`, which would have
            kept what it was.
    """
    for layer in batch_norms(model):
        layer.synchronized = True
