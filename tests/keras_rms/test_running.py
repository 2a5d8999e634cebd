"""How a run is carried out is checked before it begins."""

import pytest

from keras_rms.training.running import Running


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("checkpoint_every", 0),
        ("keep_checkpoints", 0),
        ("replicas", -1),
        ("steps_per_call", -1),
        ("worker_timeout", 0.0),
    ],
)
def test_what_is_out_of_range_is_named(name, value):
    with pytest.raises(ValueError, match=f"`{name}`.*Received: {name}={value}"):
        Running("run", **{name: value})


def test_the_defaults_are_allowed():
    assert Running("run").replicas == 0
