"""The slow pathway's frames, on clips whose frames hold their number."""

import keras
import numpy as np
import pytest
from layer_checks import check_refused

from keras_rms.models.layers.frame_subsampling import FrameSubsampling

pytestmark = pytest.mark.any_backend


def kept(num_frames, alpha, rule):
    frames = np.arange(2 * num_frames).reshape(2, num_frames, 1, 1, 1).astype("float32")
    y = keras.ops.convert_to_numpy(FrameSubsampling(alpha, rule)(frames))
    np.testing.assert_array_equal(y[1] - y[0], num_frames)
    return y[0, :, 0, 0, 0].astype(int).tolist()


def test_linspace():
    assert kept(32, 4, "linspace") == [0, 4, 8, 13, 17, 22, 26, 31]
    assert kept(32, 8, "linspace") == [0, 10, 20, 31]
    assert kept(24, 4, "linspace") == [0, 4, 9, 13, 18, 23]
    assert kept(4, 4, "linspace") == [0]
    assert kept(5, 1, "linspace") == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("alpha", [2, 4, 8])
def test_linspace_is_that_of_pytorch(alpha):
    torch = pytest.importorskip("torch")
    for num_frames in (alpha, 8 * alpha, 15 * alpha, 32 * alpha):
        expected = torch.linspace(0, num_frames - 1, num_frames // alpha).long().tolist()
        assert kept(num_frames, alpha, "linspace") == expected


def test_stride():
    assert kept(32, 4, "stride") == [0, 4, 8, 12, 16, 20, 24, 28]
    assert kept(16, 8, "stride") == [0, 8]


@pytest.mark.parametrize("rule", ["linspace", "stride"])
def test_open_number_of_frames(rule):
    inputs = keras.Input((None, 2, 3, 1))
    model = keras.Model(inputs, FrameSubsampling(4, rule)(inputs))
    assert model.output_shape == (None, None, 2, 3, 1)
    for num_frames in (8, 20):
        x = np.arange(num_frames)[None, :, None, None, None] * np.ones((1, 1, 2, 3, 1))
        received = model.predict(x.astype("float32"), verbose=0)[0, :, 1, 2, 0]
        np.testing.assert_array_equal(received, kept(num_frames, 4, rule))


@pytest.mark.parametrize(
    ("kwargs", "name"),
    [({"alpha": 0}, "alpha"), ({"alpha": 2.0}, "alpha"), ({"alpha": 4, "rule": "last"}, "rule")],
)
def test_bad_arguments(kwargs, name):
    check_refused(FrameSubsampling, name, **kwargs)


def test_number_of_frames_that_alpha_does_not_divide():
    with pytest.raises(ValueError, match=r"multiple of alpha=4.*Received: input_shape="):
        FrameSubsampling(4)(keras.Input((30, 2, 2, 1)))
    # Without a graph Keras does not ask for the shape.
    for rule in ("linspace", "stride"):
        with pytest.raises(ValueError, match=r"multiple of alpha=4.*Received: input_shape="):
            FrameSubsampling(4, rule)(np.zeros((1, 30, 2, 2, 1), "float32"))
