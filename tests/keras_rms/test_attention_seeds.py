"""The initial weights of the three attention blocks follow their seeds."""

import keras
import numpy as np
import pytest

from keras_rms.models.layers.compact_generalized_non_local import CompactGeneralizedNonLocal
from keras_rms.models.layers.compact_global_descriptor import CompactGlobalDescriptor
from keras_rms.models.layers.non_local import NonLocal

pytestmark = pytest.mark.any_backend


@pytest.mark.parametrize(
    "block",
    [CompactGeneralizedNonLocal, CompactGlobalDescriptor, NonLocal],
    ids=lambda b: b.__name__,
)
def test_seed_fixes_the_initial_weights(block):
    def initial(seed):
        layer = block(seed=seed)
        layer.build((None, 3, 4, 5, 16))
        return [
            keras.ops.convert_to_numpy(weight)
            for weight in layer.weights
            if "kernel" in weight.path
        ]

    for seed in (0, 7):
        for first, second in zip(initial(seed), initial(seed)):
            np.testing.assert_array_equal(first, second)
    assert all(np.abs(a - b).max() > 0 for a, b in zip(initial(0), initial(7)))
    assert all(np.abs(a - b).max() > 0 for a, b in zip(initial(None), initial(None)))
    kernels = [kernel.ravel() for kernel in initial(0)]
    assert len({round(float(kernel[0]), 7) for kernel in kernels}) == len(kernels)
    with pytest.raises(ValueError, match="seed"):
        block(seed=-1)
