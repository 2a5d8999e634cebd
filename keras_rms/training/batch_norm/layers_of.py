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


def moving_batch_norms(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    """Those that are not frozen: frozen ones compute with their statistics and leave them alone."""
    return [layer for layer in batch_norms(model) if layer.trainable]


def moving_statistics(model: keras.Model) -> list[keras.Variable]:
    """The statistics that a training step moves."""
    moving = moving_batch_norms(model)
    frozen = [layer for layer in batch_norms(model) if layer not in moving]
    still = {id(weight) for layer in frozen for weight in layer.weights}
    return [statistic for statistic in statistics(model) if id(statistic) not in still]
