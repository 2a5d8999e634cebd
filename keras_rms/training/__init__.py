"""A training in a work folder, and parts of it that work with Keras's own `model.fit` too."""

from keras_rms.training.networks import build_network
from keras_rms.training.optimization.mixing import CutMix, MixUp
from keras_rms.training.optimization.schedules import WarmupCosine, WarmupSteps
from keras_rms.training.recipe import Recipe
from keras_rms.training.run import Run
from keras_rms.training.running import Running
from keras_rms.training.training_data import TrainingData

__all__ = [
    "CutMix",
    "MixUp",
    "Recipe",
    "Run",
    "Running",
    "TrainingData",
    "WarmupCosine",
    "WarmupSteps",
    "build_network",
]
