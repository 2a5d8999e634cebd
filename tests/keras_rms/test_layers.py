"""What all layers have in common: settings, shapes, precisions, training and saving."""

import pytest
from layer_checks import check_layer

import keras_rms
from keras_rms.models.layers.compact_generalized_non_local import CompactGeneralizedNonLocal
from keras_rms.models.layers.compact_global_descriptor import CompactGlobalDescriptor
from keras_rms.models.layers.depthwise_conv_3d import DepthwiseConv3D
from keras_rms.models.layers.frame_subsampling import FrameSubsampling
from keras_rms.models.layers.framewise_conv_3d import FramewiseConv3D
from keras_rms.models.layers.framewise_pooling import FramewiseMaxPooling3D
from keras_rms.models.layers.non_local import NonLocal

pytestmark = pytest.mark.any_backend

SHAPE = (2, 4, 6, 5, 8)
SMOOTHING = {"kernel_size": [1, 3, 5], "smoothing": "gaussian", "smoothing_stddev": 0.8}
CASES = [
    (
        keras_rms.RandomMeanScaling,
        {
            **SMOOTHING,
            "distribution": "uniform",
            "mean": 0.75,
            "spread": 0.25,
            "component": "residual",
            "granularity": "channel",
            "border": "zeros",
            "data_format": "channels_first",
            "seed": 0,
        },
        {},
    ),
    (
        keras_rms.FrequencyScaling,
        {**SMOOTHING, "low": 0.5, "high": 2.0, "border": "zeros", "data_format": "channels_first"},
        {},
    ),
    (keras_rms.Dropout, {"rate": 0.25, "seed": 0}, {}),
    (keras_rms.RandomDrop, {"survival": 0.6, "granularity": "sample", "seed": 0}, {}),
    (
        keras_rms.ShakeDrop,
        {
            "survival": 0.6,
            "alpha": [-1.0, 0.5],
            "beta": [0.25, 1.0],
            "granularity": "sample",
            "data_format": "channels_first",
            "seed": 0,
        },
        {},
    ),
    (
        keras_rms.DropBlock,
        {
            "block_size": [1, 3, 3],
            "keep_prob": 0.8,
            "ramp_steps": 2,
            "granularity": "sample",
            "data_format": "channels_first",
            "seed": 0,
        },
        {},
    ),
    (
        DepthwiseConv3D,
        {"kernel_size": [3, 5, 3], "strides": [2, 1, 1], "implementation": "taps"},
        {"output_shape": (2, 2, 6, 5, 8), "weights": 1},
    ),
    (
        FramewiseMaxPooling3D,
        {"pool_size": [2, 3, 3], "strides": [2, 2, 1], "padding": "same"},
        {"output_shape": (2, 2, 3, 5, 8)},
    ),
    (
        FramewiseConv3D,
        {"filters": 3, "kernel_size": [3, 1, 3], "strides": [1, 2, 2], "padding": "valid"},
        {"output_shape": (2, 2, 3, 2, 3), "weights": 2},
    ),
    (FrameSubsampling, {"alpha": 2, "rule": "stride"}, {"output_shape": (2, 2, 6, 5, 8)}),
    (
        NonLocal,
        {
            "filters": 3,
            "kernel": "gaussian",
            "scale": False,
            "pool_size": [1, 2, 2],
            "epsilon": 1e-4,
            "momentum": 0.8,
            "seed": 0,
        },
        {"weights": 8},
    ),
    (
        CompactGeneralizedNonLocal,
        {
            "filters": 4,
            "groups": 2,
            "kernel": "gaussian_rbf",
            "order": 2,
            "gamma": 1e-3,
            "scale": False,
            "epsilon": 1e-4,
            "seed": 0,
        },
        {"weights": 6},
    ),
    (CompactGlobalDescriptor, {"seed": 0}, {"weights": 6}),
]


@pytest.mark.parametrize(
    ("layer_class", "arguments", "options"), CASES, ids=[case[0].__name__ for case in CASES]
)
def test_layer(layer_class, arguments, options, tmp_path):
    check_layer(layer_class, arguments, SHAPE, tmp_path, **options)
