"""Insertion into existing networks: places, names, seeds, weights, and what is refused."""

import keras
import numpy as np
import pytest

import keras_rms

pytestmark = pytest.mark.any_backend


def small_network():
    inputs = keras.Input((8, 9, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", name="conv1")(inputs)
    x = keras.layers.BatchNormalization(name="bn1")(x)
    shortcut = x
    x = keras.layers.ReLU(name="relu")(x)
    x = keras.layers.Conv2D(4, 3, padding="same", name="conv2")(x)
    x = keras.layers.BatchNormalization(name="bn2")(x)
    x = keras.layers.Add(name="add")([x, shortcut])
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, keras.layers.Dense(2, name="head")(x), name="small")


def network_with_attention():
    query, value = keras.Input((8, 3)), keras.Input((9, 3))
    attention = keras.layers.MultiHeadAttention(1, 2, name="attention")
    return keras.Model([query, value], attention(query, value))


SUMS = ("twins", "inputs", "three", "itself")


def sum_of(kind):
    """A network that ends in a sum in which none is the residual branch."""
    x, a, b = (keras.Input((4,), name=name) for name in ("input", "a", "b"))
    left, right = (keras.layers.Dense(4, name=name)(x) for name in ("left", "right"))
    summands = {"twins": [left, right], "inputs": [a, b], "three": [left, right, x]}
    summands = summands.get(kind, [left, left])
    return keras.Model([x, a, b], keras.layers.Add(name="sum")(summands))


def with_random_weights(model, seed=0):
    rng = np.random.default_rng(seed)
    model.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in model.get_weights()])
    return model


def inserted(model):
    """The names of the inserted layers, in order."""
    return [x.name for x in model.layers if isinstance(x, keras_rms.RandomMeanScaling)]


def input_of(model, name):
    """The layer that feeds the layer of this name."""
    return model.get_layer(name).input._keras_history.operation.name


def predictions(model, shape=(2, 8, 9, 3)):
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    return keras.ops.convert_to_numpy(model(x, training=False))


TEMPLATE = {"spread": 0.3, "seed": 5, "name": "rms"}


@pytest.mark.parametrize(
    "choice",
    [
        keras.layers.BatchNormalization,
        (keras.layers.BatchNormalization, keras.layers.LSTM),
        lambda layer: layer.name.startswith("bn"),
    ],
)
def test_the_layer_comes_before_each_chosen_place(choice):
    model = with_random_weights(small_network())
    expected = predictions(model)
    new = keras_rms.insert_before(model, choice, keras_rms.RandomMeanScaling(**TEMPLATE))
    assert inserted(new) == ["bn1_rms", "bn2_rms"]
    assert input_of(new, "bn1") == "bn1_rms" and input_of(new, "bn1_rms") == "conv1"
    assert input_of(new, "bn2") == "bn2_rms" and input_of(new, "bn2_rms") == "conv2"
    np.testing.assert_array_equal(predictions(new), expected)
    assert inserted(model) == []
    seeds = [new.get_layer(name).seed for name in inserted(new)]
    assert len(set(seeds)) == 2
    assert [new.get_layer(name).spread for name in inserted(new)] == [0.3, 0.3]


def test_the_copy_is_independent_and_random_in_training():
    model = with_random_weights(small_network())
    before = model.get_weights()
    new = keras_rms.insert_before(
        model, keras.layers.BatchNormalization, keras_rms.RandomMeanScaling(**TEMPLATE)
    )
    new.compile(keras.optimizers.SGD(1e-3), "mse")
    x = np.random.default_rng(1).normal(size=(4, 8, 9, 3))
    first = [float(new.train_on_batch(x, np.zeros((4, 2)))) for _ in range(2)]
    assert np.isfinite(first).all()
    for a, b in zip(before, model.get_weights()):
        np.testing.assert_array_equal(a, b)
    noisy = [keras.ops.convert_to_numpy(new(x, training=True)) for _ in range(2)]
    assert np.abs(noisy[0] - noisy[1]).max() > 1e-4


def test_the_new_network_saves_and_loads(tmp_path):
    new = keras_rms.insert_before(
        with_random_weights(small_network()),
        keras.layers.BatchNormalization,
        keras_rms.RandomMeanScaling(),
    )
    new.save(path := str(tmp_path / "model.keras"))
    loaded = keras.models.load_model(path)
    assert inserted(loaded) == inserted(new)
    np.testing.assert_array_equal(predictions(loaded), predictions(new))


def test_a_shared_layer_gets_one_layer_at_each_place():
    inputs = keras.Input((8, 9, 3))
    conv = keras.layers.Conv2D(3, 3, padding="same", name="conv")
    model = with_random_weights(keras.Model(inputs, conv(conv(inputs))))
    new = keras_rms.insert_before(model, keras.layers.Conv2D, keras_rms.RandomMeanScaling(seed=0))
    assert len(inserted(new)) == 2
    assert len([x for x in new.layers if isinstance(x, keras.layers.Conv2D)]) == 1
    np.testing.assert_array_equal(predictions(new), predictions(model))


def test_models_inside_the_model_are_searched():
    inner = small_network()
    inputs = keras.Input((8, 9, 3))
    model = with_random_weights(keras.Model(inputs, keras.layers.ReLU()(inner(inputs))))
    new = keras_rms.insert_before(
        model, keras.layers.BatchNormalization, keras_rms.RandomMeanScaling(name="rms")
    )
    assert inserted(new.get_layer("small")) == ["bn1_rms", "bn2_rms"]
    np.testing.assert_array_equal(predictions(new), predictions(model))


def test_a_sequential_model():
    model = keras.Sequential(
        [keras.Input((8, 9, 3)), keras.layers.Conv2D(2, 3), keras.layers.BatchNormalization()]
    )
    new = keras_rms.insert_before(
        with_random_weights(model), keras.layers.BatchNormalization, keras_rms.RandomMeanScaling()
    )
    assert len(inserted(new)) == 1
    np.testing.assert_array_equal(predictions(new), predictions(model))


def test_sequential_models_inside_the_model_are_searched():
    inner = keras.Sequential(
        [
            keras.Input((8, 9, 3)),
            keras.layers.BatchNormalization(name="bn"),
            keras.Sequential([keras.layers.BatchNormalization(name="deeper")], name="pair"),
        ],
        name="inner",
    )
    inputs = keras.Input((8, 9, 3))
    # Twice in the graph: it stays one model with one set of weights.
    model = with_random_weights(keras.Model(inputs, inner(keras.layers.ReLU()(inner(inputs)))))
    new = keras_rms.insert_before(
        model, keras.layers.BatchNormalization, keras_rms.RandomMeanScaling(name="rms", seed=0)
    )
    assert inserted(new.get_layer("inner")) == ["bn_rms"]
    assert inserted(new.get_layer("inner").get_layer("pair")) == ["deeper_rms"]
    assert len(new.weights) == len(model.weights)
    np.testing.assert_array_equal(predictions(new), predictions(model))
    noisy = keras.ops.convert_to_numpy(new(np.ones((2, 8, 9, 3)), training=True))
    assert np.abs(noisy[0] - noisy[1]).max() > 1e-4


def test_several_inputs_and_outputs_and_operations():
    left, right = keras.Input((8, 9, 3), name="left"), keras.Input((8, 9, 3), name="right")
    conv = keras.layers.Conv2D(3, 3, padding="same", name="conv")
    x = keras.ops.maximum(conv(left), 0) + conv(right) * 2
    outputs = {"map": keras.layers.BatchNormalization(name="bn")(inputs=x), "sum": keras.ops.sum(x)}
    model = with_random_weights(keras.Model({"left": left, "right": right}, outputs))
    new = keras_rms.insert_before(
        model,
        (keras.layers.Conv2D, keras.layers.BatchNormalization),
        keras_rms.RandomMeanScaling(name="rms"),
    )
    assert sorted(inserted(new)) == ["bn_rms", "conv_rms", "conv_rms_1"]
    rng = np.random.default_rng(0)
    images = {name: rng.normal(size=(2, 8, 9, 3)).astype("float32") for name in ("left", "right")}
    expected, got = (network(images, training=False) for network in (model, new))
    assert set(got) == {"map", "sum"}
    for name, value in expected.items():
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(got[name]), keras.ops.convert_to_numpy(value), rtol=1e-6
        )


def test_inserting_twice():
    """Names that are taken are left to their owners."""
    template = keras_rms.RandomMeanScaling(name="rms")
    once = keras_rms.insert_before(small_network(), keras.layers.BatchNormalization, template)
    twice = keras_rms.insert_before(once, keras.layers.BatchNormalization, template)
    assert inserted(twice) == ["bn1_rms", "bn1_rms_1", "bn2_rms", "bn2_rms_1"]
    assert input_of(twice, "bn1") == "bn1_rms_1" and input_of(twice, "bn1_rms_1") == "bn1_rms"


def test_what_is_frozen_stays_frozen_and_precision_is_kept():
    model = small_network()
    model.get_layer("conv1").trainable = False
    inputs = keras.Input((8, 9, 3))
    half = keras.layers.Conv2D(2, 3, dtype="mixed_bfloat16", name="half")(inputs)
    model = keras.Model(inputs, [model(inputs), half])
    new = keras_rms.insert_before(model, keras.layers.ReLU, keras_rms.RandomMeanScaling())
    assert not new.get_layer("small").get_layer("conv1").trainable
    assert new.get_layer("half").compute_dtype == "bfloat16"
    assert len(new.trainable_weights) == len(model.trainable_weights)


def test_any_layer_can_be_inserted():
    new = keras_rms.insert_before(
        small_network(), keras.layers.Dense, keras.layers.Dropout(0.5, seed=1)
    )
    assert isinstance(new.get_layer(input_of(new, "head")), keras.layers.Dropout)


@pytest.mark.parametrize("layer", [keras_rms.RandomDrop(0.5), keras_rms.ShakeDrop(0.5)])
def test_before_a_sum_it_ends_the_residual_branch(layer):
    """Whatever the order of the summands and however the shortcut is made; `+` is a sum too."""

    def block(x, number, shortcut, swapped, plus=False):
        branch = keras.layers.ReLU()(keras.layers.Conv2D(3, 3, padding="same")(x))
        branch = keras.layers.Conv2D(3, 3, padding="same", name=f"branch_{number}")(branch)
        shortcut = keras.layers.Conv2D(3, 1)(x) if shortcut else x
        summands = [shortcut, branch] if swapped else [branch, shortcut]
        return summands[0] + summands[1] if plus else keras.layers.Add()(summands)

    inputs = keras.Input((8, 9, 3))
    x = block(inputs, 0, False, False)
    x = block(x, 1, True, True)
    x = block(x, 2, True, False)
    inner = block(keras.layers.ReLU()(y := keras.Input((8, 9, 3))), 3, False, True)
    x = keras.Model(y, inner, name="inner")(x)
    x = block(x, 4, False, True, plus=True)
    model = with_random_weights(keras.Model(inputs, x))
    new = keras_rms.insert_before(model, lambda each: type(each).__name__ == "Add", layer)
    places = [*new.layers, *new.get_layer("inner").layers]
    drops = [each for each in places if isinstance(each, type(layer))]
    before = sorted(each.input._keras_history.operation.name for each in drops)
    assert before == [f"branch_{number}" for number in range(5)]
    # With a survival of 1 nothing changes.
    kept = type(layer)(1.0)
    same = keras_rms.insert_before(model, lambda each: type(each).__name__ == "Add", kept)
    np.testing.assert_array_equal(predictions(same), predictions(model))


def test_a_function_makes_the_layer_for_its_depth():
    """Stochastic depth as in its paper: survival falls along a line, to that of the last block."""
    model = small_network()
    new = keras_rms.insert_before(
        model,
        keras.layers.BatchNormalization,
        lambda depth: keras_rms.RandomDrop(1 - 0.5 * depth, seed=3),
    )
    drops = [layer for layer in new.layers if isinstance(layer, keras_rms.RandomDrop)]
    assert [(drop.survival, drop.seed) for drop in drops] == [(0.75, 3), (0.5, 4)]
    first, second = (drop.name for drop in drops)
    assert first.removeprefix("bn1_") == second.removeprefix("bn2_")


def last_bn_of_res4_and_res5(layer):
    return layer.name.startswith(("conv4", "conv5")) and layer.name.endswith("_3_bn")


@pytest.mark.slow
@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="the backends differ in nothing here that small networks do not show",
)
def test_resnet_50_of_keras_applications():
    model = keras.applications.ResNet50(weights=None, input_shape=(64, 64, 3), classes=10)
    new = keras_rms.insert_before(
        model, last_bn_of_res4_and_res5, keras_rms.RandomMeanScaling(seed=0)
    )
    assert len(inserted(new)) == 6 + 3
    assert new.count_params() == model.count_params()
    expected = predictions(model, (1, 64, 64, 3))
    np.testing.assert_allclose(predictions(new, (1, 64, 64, 3)), expected, rtol=1e-5)
    new = keras_rms.insert_before(model, keras.layers.Add, lambda depth: keras_rms.RandomDrop(1.0))
    drops = [layer for layer in new.layers if isinstance(layer, keras_rms.RandomDrop)]
    assert len(drops) == 3 + 4 + 6 + 3
    for drop in drops:
        # Never the projection, which is conv..._0_bn.
        assert drop.input._keras_history.operation.name.endswith("_3_bn"), drop.name
    np.testing.assert_allclose(predictions(new, (1, 64, 64, 3)), expected, rtol=1e-5)


@pytest.mark.slow
def test_a_resnet_of_keras_hub():
    keras_hub = pytest.importorskip("keras_hub")
    backbone = keras_hub.models.ResNetBackbone(
        input_conv_filters=[16],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 128],
        stackwise_num_blocks=[1, 2],
        stackwise_num_strides=[1, 2],
        block_type="bottleneck_block",
        image_shape=(32, 32, 3),
    )
    model = keras_hub.models.ImageClassifier(backbone=backbone, num_classes=4)
    for network in (backbone, model):
        new = keras_rms.insert_before(
            network, lambda layer: layer.name.endswith("3_bn"), keras_rms.RandomMeanScaling()
        )
        assert new.count_params() == network.count_params()
        np.testing.assert_allclose(
            predictions(new, (1, 32, 32, 3)), predictions(network, (1, 32, 32, 3)), rtol=1e-5
        )


@pytest.mark.parametrize(
    ("model", "choice", "layer", "message"),
    [
        (None, keras.layers.ReLU, keras.layers.ReLU(), "`model`.*Received: model=None"),
        ("new", 3, keras.layers.ReLU(), "`layer_type_or_predicate`.*Received"),
        ("new", (), keras.layers.ReLU(), "`layer_type_or_predicate`.*Received"),
        ("new", (3,), keras.layers.ReLU(), "`layer_type_or_predicate`.*Received"),
        ("new", keras.layers.ReLU, "rms", "`layer`.*Received: layer='rms'"),
        ("new", keras.layers.LSTM, keras.layers.ReLU(), "at least one layer.*Received"),
        ("new", keras.layers.Dense, lambda depth: "rms", "`layer`.*Received: layer='rms'"),
        (
            "twins",
            keras.layers.Add,
            keras.layers.ReLU(),
            "longer residual branch.*Received: the layer 'sum' of left and right",
        ),
        ("inputs", keras.layers.Add, keras.layers.ReLU(), "Received: the layer 'sum' of a and b"),
        ("three", keras.layers.Add, keras.layers.ReLU(), "of left and right and input"),
        ("itself", keras.layers.Add, keras.layers.ReLU(), "of left and left"),
        (
            "two",
            keras.layers.MultiHeadAttention,
            keras.layers.ReLU(),
            "single input.*the layer 'attention'",
        ),
    ],
)
def test_bad_arguments(model, choice, layer, message):
    made = {"new": small_network, "two": network_with_attention}
    made |= {name: lambda kind=model: sum_of(kind) for name in SUMS}
    model = made.get(model, lambda: model)()
    with pytest.raises(ValueError, match=message):
        keras_rms.insert_before(model, choice, layer)


def test_the_names_of_inputs_stay():
    named = keras.Sequential([keras.Input((3,), name="features"), keras.layers.Dense(2)])
    unnamed = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    inputs = keras.Input((3,))
    for model in (named, unnamed, keras.Model(inputs, keras.layers.Dense(2)(inputs))):
        new = keras_rms.insert_before(model, keras.layers.Dense, keras.layers.ReLU())
        assert new.inputs[0].name and new.layers[0].name == model.inputs[0]._keras_history[0].name
    assert new.layers[0].name == inputs._keras_history[0].name


def test_a_compiled_model_comes_out_uncompiled():
    model = small_network()
    model.compile("sgd", "mse")
    inner = keras.Sequential([keras.Input((8, 9, 3)), keras.layers.BatchNormalization()])
    inner.compile("sgd", "mse")
    inputs = keras.Input((8, 9, 3), name="x")
    outer = keras.Model({"x": inputs}, {"y": inner(inputs)})
    outer.compile("sgd", "mse")
    layer = keras_rms.RandomMeanScaling()
    for network in (model, inner, outer):
        new = keras_rms.insert_before(network, keras.layers.BatchNormalization, layer)
        assert not new.compiled and network.compiled
        assert new.name == network.name
    assert list(new.input) == ["x"] and list(new.output) == ["y"]


@keras.saving.register_keras_serializable(package="test_insertion")
class Block(keras.layers.Layer):
    """A custom layer around another."""

    def __init__(self, **options):
        super().__init__(**options)
        self.bn = keras.layers.BatchNormalization()

    def call(self, x):
        return self.bn(x)


def test_layers_that_are_not_entered_are_named():
    inputs = keras.Input((8, 9, 3))
    x = Block(name="block")(inputs)
    choice, layer = keras.layers.BatchNormalization, keras_rms.RandomMeanScaling()
    with pytest.raises(ValueError, match=r"inside of block are chosen too.*cannot be rebuilt"):
        keras_rms.insert_before(keras.Model(inputs, x), choice, layer)
    model = keras.Model(inputs, keras.layers.BatchNormalization(name="bn")(x))
    with pytest.warns(UserWarning, match="inside of block .*Nothing was inserted there"):
        new = keras_rms.insert_before(with_random_weights(model), choice, layer)
    assert len(inserted(new)) == 1
    np.testing.assert_array_equal(predictions(new), predictions(model))


class Task(keras.Model):
    """A functional model that carries more, as keras_hub's tasks do."""

    def __init__(self, backbone):
        super().__init__(backbone.input, backbone.output, name="task")
        self.preprocessor = "resize"


def test_what_a_class_of_models_adds_is_said_to_be_lost():
    with pytest.warns(UserWarning, match=r"copy of 'task' .* without what Task adds"):
        new = keras_rms.insert_before(
            Task(small_network()), keras.layers.BatchNormalization, keras_rms.RandomMeanScaling()
        )
    assert not hasattr(new, "preprocessor") and len(inserted(new)) == 2


def test_an_unbuilt_sequential_model_is_refused():
    model = keras.Sequential([keras.layers.Dense(2)])
    with pytest.raises(ValueError, match=r"`model` must be a functional"):
        keras_rms.insert_before(model, keras.layers.Dense, keras.layers.ReLU())


def test_a_subclassed_model_is_refused():
    class Own(keras.Model):
        pass

    with pytest.raises(ValueError, match=r"`model` must be a functional"):
        keras_rms.insert_before(Own(), keras.layers.Dense, keras.layers.ReLU())
