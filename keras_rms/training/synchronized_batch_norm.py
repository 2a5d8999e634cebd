"""Batch normalisation over the clips of all replicas together."""

import keras


def synchronize_batch_norm(model: keras.Model) -> keras.Model:
    """A copy of a functional model whose batch normalisation sees the batches of all replicas.

    Args:
        model: Built in the strategy's scope, where this too has to be called.

    Returns:
        A model with the same layer names and the same weights.
    """

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if isinstance(layer, keras.layers.BatchNormalization):
            config["synchronized"] = True
        return layer.__class__.from_config(config)

    synchronized = keras.models.clone_model(model, clone_function=copy)
    synchronized.set_weights(model.get_weights())
    return synchronized
