"""Random Mean Scaling for Keras 3 and the action-recognition networks that use it."""

from keras_rms import augmentation, models
from keras_rms.drop_block import DropBlock
from keras_rms.dropout import Dropout
from keras_rms.frequency_scaling import FrequencyScaling
from keras_rms.insertion import insert_before
from keras_rms.random_drop import RandomDrop
from keras_rms.random_mean_scaling import RandomMeanScaling
from keras_rms.replica_seed import ReplicaSeedGenerator
from keras_rms.shake_drop import ShakeDrop
from keras_rms.smoothing import gaussian_smooth, local_mean
from keras_rms.version import __version__

__all__ = [
    "DropBlock",
    "Dropout",
    "FrequencyScaling",
    "RandomDrop",
    "RandomMeanScaling",
    "ReplicaSeedGenerator",
    "ShakeDrop",
    "__version__",
    "augmentation",
    "gaussian_smooth",
    "insert_before",
    "local_mean",
    "models",
]
