"""Parts of training that work with Keras's own `model.fit` too."""

from keras_rms.training.networks import build_network
from keras_rms.training.optimization.mixing import CutMix, MixUp
from keras_rms.training.optimization.schedules import WarmupCosine, WarmupSteps

__all__ = ["CutMix", "MixUp", "WarmupCosine", "WarmupSteps", "build_network"]
