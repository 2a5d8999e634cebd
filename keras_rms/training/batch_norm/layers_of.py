"""The layers of batch normalisation in a network, and what they remember of the clips."""

import keras

from keras_rms.training.weight_names import STATISTICS


def batch_norms(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    """Those of a model, of the models inside it and of layers made of layers, as `NonLocal`."""
    # Keras has no public way to the layers inside a layer.
    layers = model._flatten_layers()
    return [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]


def statistics(model: keras.Model) -> list[keras.Variable]:
    """The moving means and variances, which no gradient changes."""
    # By name: the seeds of random layers are not trained either, and have to differ.
    return [v for v in model.non_trainable_variables if v.name in STATISTICS]
