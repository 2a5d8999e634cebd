"""What every layer of the package has to do, whatever it computes."""

import json
import math

import keras
import numpy as np
import pytest


def check_layer(
    layer_class, arguments, input_shape, folder, output_shape=None, weights=0, keeps_dtype=False
):
    """Settings, shapes, precisions, training and saving of one layer.

    Args:
        layer_class: The layer's class.
        arguments: Values other than the defaults; JSON must be able to hold them.
        input_shape: Of an input without open sizes, batch first.
        folder: Where to save.
        output_shape: Of its output; by default that of the input.
        weights: How many weights it has, trained or not, beside the state of its seeds.
        keeps_dtype: Whether the output has the input's type, and not that of the policy.
    """
    output_shape = output_shape or input_shape
    layer = layer_class(**arguments, name="checked")
    _check_config(layer, arguments)
    x = np.random.default_rng(0).normal(size=input_shape).astype("float32")
    assert layer(x).shape == output_shape
    assert len(layer.weights) == weights
    model = _model(layer_class(**arguments, name="checked"), input_shape)
    assert model.output_shape == (None, *output_shape[1:])
    _check_training(model, x, output_shape)
    _check_saving(model, x, folder / f"{layer_class.__name__}.keras")
    layer = layer_class(**arguments, dtype="mixed_bfloat16")
    assert layer_class.from_config(layer.get_config()).dtype_policy.name == "mixed_bfloat16"
    half = layer(x)
    expected = "float32" if keeps_dtype else "bfloat16"
    assert keras.backend.standardize_dtype(half.dtype) == expected and half.shape == output_shape


def check_refused(layer_class, name, *, received=None, **arguments):
    """The layer raises a ValueError that names the argument `name` and what it received of it.

    Where that is only a part of the value, `received` says which, as text.
    """
    said = rf"`{name}`(.|\n)*Received: (.*, )?{name}="
    with pytest.raises(ValueError, match=said) as caught:
        layer_class(**arguments)
    assert f"{name}={received or repr(arguments[name])}" in str(caught.value)


def _check_config(layer, arguments):
    config = layer.get_config()
    through_json = json.loads(json.dumps(config))
    for name, value in arguments.items():
        assert through_json[name] == json.loads(json.dumps(value)), name
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    for other in (copy, type(layer).from_config(config), type(layer).from_config(through_json)):
        assert other.get_config() == config and other.name == "checked"


def _model(layer, input_shape):
    inputs = keras.Input(input_shape[1:])
    return keras.Model(inputs, layer(inputs))


def _check_training(model, x, output_shape):
    model.compile(keras.optimizers.SGD(1e-3), "mse")
    before = [keras.ops.convert_to_numpy(weight) for weight in model.trainable_weights]
    assert math.isfinite(model.train_on_batch(x, np.ones(output_shape, "float32")))
    after = [keras.ops.convert_to_numpy(weight) for weight in model.trainable_weights]
    assert all(np.isfinite(weight).all() for weight in after)
    assert not before or any((new != old).any() for new, old in zip(after, before))


def _check_saving(model, x, path):
    for number, weight in enumerate(model.weights):
        weight.assign(np.random.default_rng(number).uniform(0.2, 1.0, weight.shape))
    model.save(path)
    loaded = keras.saving.load_model(path)
    assert loaded.get_layer("checked").get_config() == model.get_layer("checked").get_config()
    outputs = (keras.ops.convert_to_numpy(each(x, training=False)) for each in (model, loaded))
    np.testing.assert_allclose(*outputs, rtol=1e-6, atol=1e-6)
