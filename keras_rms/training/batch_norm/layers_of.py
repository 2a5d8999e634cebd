"""The layers of batch normalisation in a network."""

import keras


def batch_norms(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    """Those of a model, of the models inside it and of layers made of layers, as `NonLocal`."""
    # Keras has no public way to the layers inside a layer.
    layers = model._flatten_layers()
    return [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
