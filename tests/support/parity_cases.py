"""Narrow networks with weights defined by their names, for the comparison with PyTorch.

Shared by the script that runs PyTorch and the tests: both make the same arrays.
"""

import math
import zlib

import numpy as np

NUM_CLASSES = 5

# name in the catalog: (arguments, frames of the canonical and of the odd case)
CASES = {
    "slow_only_18": ({"width": 8}, (8, 7)),
    "slow_only_34": ({"width": 8}, (8, 7)),
    "slow_only_50": ({"width": 8}, (8, 7)),
    "slow_only_101": ({"width": 8}, (8, 7)),
    "slow_fast_50_4x16": ({"width": 16}, (32, 24)),
    "slow_fast_50_8x8": ({"width": 16}, (32, 24)),
    "slow_fast_101_8x8": ({"width": 16}, (32, 24)),
    "slow_fast_101_16x8": ({"width": 16}, (32, 24)),
    "ip_csn_50": ({"width": 8}, (16, 13)),
    "ip_csn_101": ({"width": 8}, (16, 13)),
    "ip_csn_152": ({"width": 8}, (16, 13)),
    "ir_csn_50": ({"width": 8}, (16, 13)),
    "ir_csn_101": ({"width": 8}, (16, 13)),
    "ir_csn_152": ({"width": 8}, (16, 13)),
}
# (clips, height, width): the first canonical, with H unlike W; the second odd.
SIZES = ((2, 64, 96), (1, 75, 57))
LABELS = (3, 1)
# Gradients kept of the networks that are compared in training too, one of each family.
TRAINED = {
    "slow_only_50": ("stem_conv/kernel", "res4_block2_bn2/gamma", "head_dense/kernel"),
    "slow_fast_50_8x8": (
        "fast_stem_conv/kernel",
        "lateral_res2_conv/kernel",
        "slow_res5_block1_bn1/beta",
    ),
    "ir_csn_50": ("stem_conv/kernel", "res3_block0_conv2/kernel", "res5_block1_bn2/beta"),
}


def weight(name: str, shape: tuple) -> np.ndarray:
    """The array of a weight `layer/role` of that shape, in Keras's layout.

    BN statistics and scales are far from their initial values and some scales negative, so that a
    wrong epsilon, order or sign shows.
    """
    rng = np.random.RandomState(zlib.crc32(name.encode()))
    role = name.rsplit("/", 1)[-1]
    if role == "kernel" and len(shape) == 2:
        value = rng.normal(size=shape) * 0.1
    elif role == "kernel":
        value = rng.normal(size=shape) * math.sqrt(0.7 / math.prod(shape[:-1]))
    elif role == "moving_variance":
        value = rng.uniform(0.5, 1.5, shape)
    elif role == "gamma":
        value = rng.uniform(0.5, 1.5, shape) * np.where(rng.uniform(size=shape) < 0.1, -1, 1)
    else:
        value = rng.normal(size=shape) * 0.1
    return value.astype("float32")


def clip(name: str, case: int) -> np.ndarray:
    """The input of case 0 or 1, (clips, time, height, width, 3), without any symmetry."""
    clips, height, width = SIZES[case]
    shape = (clips, CASES[name][1][case], height, width, 3)
    rng = np.random.RandomState(zlib.crc32(f"{name}/{case}".encode()))
    ramps = sum(
        np.linspace(0, 0.3 * axis, shape[axis]).reshape([-1 if i == axis else 1 for i in range(5)])
        for axis in range(1, 5)
    )
    return (rng.normal(size=shape) + ramps).astype("float32")
