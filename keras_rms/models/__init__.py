"""The networks of the paper and its rivals."""

from keras_rms.models.catalog import build
from keras_rms.models.catalog import list_names as list
from keras_rms.models.csn import CSN
from keras_rms.models.i3d import I3D
from keras_rms.models.layers.compact_generalized_non_local import CompactGeneralizedNonLocal
from keras_rms.models.layers.compact_global_descriptor import CompactGlobalDescriptor
from keras_rms.models.layers.depthwise_conv_3d import DepthwiseConv3D
from keras_rms.models.layers.non_local import NonLocal
from keras_rms.models.presets import (
    VideoPreprocessor,
    decode_predictions,
    from_preset,
    save_to_preset,
)
from keras_rms.models.resnet_2d import ResNet2D
from keras_rms.models.s3d import S3D
from keras_rms.models.slow_fast import SlowFast
from keras_rms.models.slow_only import SlowOnly

__all__ = [
    "CSN",
    "I3D",
    "S3D",
    "CompactGeneralizedNonLocal",
    "CompactGlobalDescriptor",
    "DepthwiseConv3D",
    "NonLocal",
    "ResNet2D",
    "SlowFast",
    "SlowOnly",
    "VideoPreprocessor",
    "build",
    "decode_predictions",
    "from_preset",
    "list",
    "save_to_preset",
]
