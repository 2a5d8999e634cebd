"""Random Mean Scaling for Keras 3 and the action-recognition networks that use it."""

from keras_rms.version import __version__

__all__ = ["__version__"]
