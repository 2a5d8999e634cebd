"""The networks of the paper and its rivals."""

from keras_rms.models.catalog import build
from keras_rms.models.catalog import list_names as list
from keras_rms.models.slow_fast import SlowFast
from keras_rms.models.slow_only import SlowOnly

__all__ = ["SlowFast", "SlowOnly", "build", "list"]
