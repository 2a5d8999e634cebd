"""Weights from elsewhere: published checkpoints of other projects."""

from keras_rms.checkpoints.importing import Imported, import_checkpoint
from keras_rms.checkpoints.inflation import inflate
from keras_rms.checkpoints.reading import read_tensors

__all__ = ["Imported", "import_checkpoint", "inflate", "read_tensors"]
