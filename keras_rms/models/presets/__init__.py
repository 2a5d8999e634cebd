"""Networks with weights: published ones by name, and folders of one's own."""

from keras_rms.models.presets.catalog import PRESETS, Preset
from keras_rms.models.presets.class_names import class_names
from keras_rms.models.presets.conversion import network_file
from keras_rms.models.presets.decoding import decode_predictions
from keras_rms.models.presets.folders import save_to_preset
from keras_rms.models.presets.loading import from_preset, names_of
from keras_rms.models.presets.preprocessor import VideoPreprocessor

__all__ = [
    "PRESETS",
    "Preset",
    "VideoPreprocessor",
    "class_names",
    "decode_predictions",
    "from_preset",
    "names_of",
    "network_file",
    "save_to_preset",
]
