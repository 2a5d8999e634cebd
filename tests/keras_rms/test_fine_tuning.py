"""Training a part of a network: frozen stages, a rate of its own for the head, weighted classes."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from replicas import mirrored_strategy
from small_training import final, output, run, small_batches, starts, training

import keras_rms
from keras_rms.models.stages import stage_of
from keras_rms.training.batch_norm.precise import PreciseBatchNorm
from keras_rms.training.freezing import FrozenStages
from keras_rms.training.learner import Learner
from keras_rms.training.loop.train_step import make_several_steps
from keras_rms.training.recipe import Recipe
from keras_rms.training.workers import strategies

WEIGHTS = (0.5, 2.0, 3.0)


def staged_model():
    """uint8 clips (4, 5, 6, 3) -> 3 logits, with a layer of each kind in its first stage."""
    inputs = keras.Input((4, 5, 6, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(inputs)
    init = keras.initializers.GlorotUniform
    x = keras.layers.Conv3D(4, 3, name="stem_conv", kernel_initializer=init(1))(x)
    x = keras_rms.RandomMeanScaling(seed=1, name="stem_rms")(x)
    x = keras.layers.BatchNormalization(name="stem_bn", momentum=0.9)(x)
    x = keras.layers.ReLU(name="stem_relu")(x)
    x = keras.layers.Conv3D(5, 1, name="res2_conv", kernel_initializer=init(2))(x)
    x = keras_rms.RandomMeanScaling(seed=2, name="res2_rms")(x)
    x = keras.layers.BatchNormalization(name="res2_bn", momentum=0.9)(x)
    x = keras.layers.GlobalAveragePooling3D(name="head_pool")(x)
    x = keras.layers.Dense(3, kernel_initializer=init(3), name="head_dense")(x)
    model = keras.Model(inputs, x)
    # Statistics that no layer begins with, and that are not those of the batches.
    for layer in (model.get_layer("stem_bn"), model.get_layer("res2_bn")):
        layer.moving_mean.assign(np.linspace(-0.3, 0.2, layer.moving_mean.shape[0]))
        layer.moving_variance.assign(np.linspace(0.5, 3.7, layer.moving_mean.shape[0]))
    return model


class Steps:
    """A learner of the staged model and its steps."""

    def __init__(self, replicas=1, jit_compile=False, **recipe):
        recipe = {"batch_size": 8, "warmup_epochs": 0, "learning_rate": 0.1} | recipe
        self.strategy = mirrored_strategy() if replicas > 1 else tf.distribute.get_strategy()
        with self.strategy.scope():
            recipe = Recipe("staged", epochs=9, **recipe).completed(80)
            self.learner = Learner(staged_model(), recipe, jit_compile)
        self.model = self.learner.model
        self.batches = iter(strategies.distribute(self.strategy, small_batches(0)))

    def take(self, first, count):
        several = make_several_steps(self.strategy, self.learner.step)
        numbers = [tf.constant(n, tf.int64) for n in (first, count)]
        assert several(self.batches, *numbers, tf.zeros(2))["finite"]

    def state(self):
        """All that a checkpoint would hold, of every replica."""
        return {
            name: [v.numpy() for v in self.strategy.experimental_local_results(variable.value)]
            for name, variable in self.learner.state.items()
        }


def changed(before, after):
    assert before.keys() == after.keys()
    return {
        name
        for name in before
        if any(a.tobytes() != b.tobytes() for a, b in zip(before[name], after[name], strict=True))
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("replicas", "options"),
    [
        (1, {}),
        (1, {"jit_compile": True}),
        (2, {"optimizer": "adamw", "average_decay": 0.5}),
    ],
)
def test_frozen_stages_stay_bit_for_bit_until_they_are_unfrozen(replicas, options):
    steps = Steps(replicas, freeze=("stem",), unfreeze_epoch=2, weight_decay=0.1, **options)
    begun = steps.state()
    steps.take(0, 4)
    trained = steps.state()
    moved = changed(begun, trained)
    assert not {name for name in moved if "stem" in name}
    weights = {f"weight/{weight.path}" for weight in steps.model.weights}
    assert weights - moved == {name for name in weights if "/stem_" in name}
    assert "random/res2_rms/0" in moved
    assert not steps.learner.enter_epoch(1)
    assert steps.learner.enter_epoch(2) and not steps.learner.enter_epoch(3)
    # What the optimizer has of the other stages stays: it is not made anew.
    assert not changed(trained, steps.state())
    steps.take(4, 1)
    unfrozen = changed(trained, steps.state())
    assert set(begun) - unfrozen <= {name for name in begun if name.endswith("_conv/bias")}
    assert {"random/stem_rms/0", "weight/stem_bn/moving_mean", "weight/stem_bn/gamma"} <= unfrozen


def test_a_frozen_stage_is_in_inference_mode_and_precise_statistics_leave_it_alone():
    steps = Steps(freeze=("stem",))
    model = steps.model
    clips, _ = next(iter(small_batches(0)))
    features = keras.Model(model.input, model.get_layer("stem_relu").output)
    bn, conv = model.get_layer("stem_bn"), model.get_layer("stem_conv")
    x = keras.ops.convert_to_numpy(conv(tf.cast(clips, tf.float32) / 255))
    scale = 1 / np.sqrt(bn.moving_variance.numpy() + bn.epsilon)
    expected = np.maximum(0, (x - bn.moving_mean.numpy()) * scale)
    np.testing.assert_allclose(features(clips, training=True), expected, rtol=1e-4, atol=1e-5)
    before = steps.state()
    with PreciseBatchNorm(model, steps.strategy).in_use(steps.batches, 2):
        measured = changed(before, steps.state())
        assert {name for name in measured if "moving" in name} == {
            "weight/res2_bn/moving_mean", "weight/res2_bn/moving_variance"
        }  # fmt: skip
    for layer in (bn, model.get_layer("res2_bn")):
        layer.trainable = False
    with PreciseBatchNorm(model, steps.strategy).in_use(steps.batches, 2):
        assert not changed(before, steps.state())


@pytest.mark.parametrize(
    "layer",
    [
        keras_rms.RandomMeanScaling(spread=1.0),
        keras_rms.RandomDrop(0.5),
        keras_rms.ShakeDrop(0.5),
        keras_rms.DropBlock(2, 0.5),
        keras_rms.Dropout(0.5),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_frozen_random_layers_are_as_at_inference(layer):
    x = np.random.default_rng(0).normal(size=(6, 4, 5, 6, 3)).astype("float32")
    state = layer.seed_generator.state.numpy()
    layer.trainable = False
    for _ in range(3):
        np.testing.assert_array_equal(layer(x, training=True), layer(x, training=False))
    np.testing.assert_array_equal(layer.seed_generator.state.numpy(), state)
    layer.trainable = True
    layer(x, training=True)
    assert (layer.seed_generator.state.numpy() != state).any()


@pytest.mark.parametrize("accumulation", [1, 2])
def test_one_step_of_the_head_with_weighted_classes_is_that_of_numpy(accumulation):
    steps = Steps(
        freeze=("stem", "res2"),
        head_rate=10.0,
        weight_decay=0.05,
        label_smoothing=0.1,
        class_weights=WEIGHTS,
        accumulation=accumulation,
    )
    clips, labels = (part.numpy() for part in next(iter(small_batches(0))))
    model, dense = steps.model, steps.model.get_layer("head_dense")
    features = keras.Model(model.input, model.get_layer("head_pool").output)(clips).numpy()
    kernel, bias = dense.kernel.numpy(), dense.bias.numpy()
    logits = features @ kernel + bias
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    targets = 0.9 * np.eye(3)[labels] + 0.1 / 3
    weights = np.take(WEIGHTS, labels)[:, None]
    assert len(set(labels)) == 3
    of_logits = weights * (chances - targets) / 8  # clips, whatever their weights
    # At the first step Nesterov's update is 1.9 times the gradient; the rate is ten times 0.1.
    own = 1.9 * (features.T @ of_logits + 0.05 * kernel), 1.9 * of_logits.sum(0)
    rate = 10 * float(steps.learner.schedule(0))
    steps.take(0, 1)
    np.testing.assert_allclose(dense.kernel.numpy(), kernel - rate * own[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(dense.bias.numpy(), bias - rate * own[1], rtol=1e-4, atol=1e-5)
    clips = tf.constant(clips)
    _, sums = steps.learner.step.loss(tf.constant(logits, tf.float32), tf.one_hot(labels, 3))
    loss = -(weights * targets * np.log(chances)).sum()
    np.testing.assert_allclose(sums.numpy(), [loss, (logits.argmax(1) == labels).sum(), 8], 1e-5)


def test_stages_have_the_names_of_layers():
    names = {
        "stem": "stem_conv stem fast_stem_bn lateral_stem_conv",
        "res2": "res2_pointwise_conv slow_res2_block0_bn1 lateral_res2_bn",
        "res4": "res4_block0_rms1 mixed_4b_branch0_conv",
        "head": "head_dense slow_head_pool",
        "backbone": "backbone_of_another_kind",
    }
    for stage, layers in names.items():
        assert {stage_of(name) for name in layers.split()} == {stage}


@pytest.mark.parametrize(
    ("freeze", "message"),
    [
        (("stem", "res3"), r"which are stem, res2, head\. .* has no res3\. Received: freeze="),
        (("rescaling",), "has no rescaling"),
        (("head", "res2", "stem"), "must leave a stage to train; the stages are stem, res2, head"),
    ],
)
def test_stages_that_cannot_be_frozen(freeze, message):
    with pytest.raises(ValueError, match=message):
        FrozenStages(staged_model(), freeze)


def test_a_rate_of_the_head_needs_a_head():
    inputs = keras.Input((4, 5, 6, 3))
    x = keras.layers.Conv3D(3, 1)(inputs)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling3D()(x))
    recipe = Recipe("small", head_rate=2.0).completed(80)
    with pytest.raises(ValueError, match=r"ends in a dense layer.*head_rate=2.0"):
        Learner(model, recipe)


@pytest.mark.slow
def test_everything_together_resumes_exactly_and_stops_early(tmp_path):
    # It unfreezes after one epoch; the accuracy is always the same, so that two more are the last.
    options = {
        "freeze": ("conv", "bn"),
        "unfreeze_epoch": 1,
        "optimizer": "adamw",
        "learning_rate": 0.01,
        "head_rate": 3.0,
        "class_weights": WEIGHTS,
        "average_decay": 0.9,
        "stop_after": 2,
        "epochs": 9,
        "warmup_epochs": 0,
        "steps_per_epoch": 3,
        "steps_per_call": 1,
        "checkpoint_every": 1,
        "validation_seconds": 0.001,
    }
    whole, parts = (training(tmp_path / name, **options) for name in ("whole", "parts"))
    assert run(whole) == 0, output(whole)
    # In the frozen epoch, and when one validation was no better.
    parts.faults = (2, 8)
    assert run(parts) == 0, output(parts)
    assert starts(parts) == [0, 1, 7]
    parts.faults = ()
    (tmp_path / "parts" / "model.keras").unlink()
    assert run(parts) == 0, output(parts)
    assert starts(parts)[-1] == 9
    stopped = "Stopped after epoch 3 of 9: 2 validations in a row were no better than 33.3%."
    assert stopped in output(whole) and output(parts).count(stopped) == 2
    state, expected = final(parts), final(whole)
    assert {"first_moment/conv/kernel", "second_moment/bn/gamma", "updates/later"} <= state.keys()
    assert (state["updates/first"], state["updates/later"]) == (9, 6)
    assert state.keys() == expected.keys()
    for name in state:
        np.testing.assert_array_equal(state[name], expected[name], err_msg=name)
    other = training(tmp_path / "parts", **options | {"head_rate": 2.0, "freeze": ("conv",)})
    assert run(other) == 1
    found = output(other)
    assert 'freeze was ["conv", "bn"] and is now ["conv"]; head_rate was 3.0 and is now 2' in found


def test_what_keras_compiled_for_other_weights_is_made_anew():
    model = staged_model()
    stages = FrozenStages(model, ("stem",))
    for change in (stages.freeze, stages.unfreeze):
        model.predict_function = "compiled"
        change()
        assert model.predict_function is None
