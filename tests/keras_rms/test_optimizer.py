"""MomentumSGD against PyTorch's SGD, AdamW against Keras's, step by step with a falling rate."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_rms.training.optimization.adamw import AdamW
from keras_rms.training.optimization.optimizer import MomentumSGD, is_kernel
from keras_rms.training.optimization.schedules import WarmupCosine


def variables(seed=0):
    random = np.random.default_rng(seed)
    kernel = keras.Variable(random.normal(size=(3, 2)).astype("float32"), name="kernel")
    bias = keras.Variable(random.normal(size=(2,)).astype("float32"), name="bias")
    return kernel, bias


def gradients(step):
    random = np.random.default_rng(100 + step)
    return [random.normal(size=shape).astype("float32") for shape in ((3, 2), (2,))]


@pytest.mark.parametrize("momentum", [0.9, 0.0])
def test_it_is_the_sgd_of_pytorch_with_weight_decay_on_kernels(momentum):
    torch = pytest.importorskip("torch")
    kernel, bias = variables()
    schedule = WarmupCosine(0.3, 6, 2)
    optimizer = MomentumSGD([kernel, bias], schedule, momentum, weight_decay=0.05)
    theirs = [torch.nn.Parameter(torch.tensor(v.numpy())) for v in (kernel, bias)]
    groups = [{"params": theirs[:1], "weight_decay": 0.05}, {"params": theirs[1:]}]
    reference = torch.optim.SGD(groups, lr=1.0, momentum=momentum, nesterov=momentum > 0)
    for step in range(6):
        for group in reference.param_groups:
            group["lr"] = float(schedule(step))
        for parameter, gradient in zip(theirs, gradients(step)):
            parameter.grad = torch.tensor(gradient)
        reference.step()
        optimizer.apply([tf.constant(g) for g in gradients(step)], tf.constant(step, tf.int64))
    for ours, other in zip((kernel, bias), theirs):
        np.testing.assert_allclose(ours.numpy(), other.detach().numpy(), rtol=1e-5, atol=1e-6)


def keras_adamw(kernel, bias):
    reference = keras.optimizers.AdamW(1.0, weight_decay=0.05, beta_1=0.8)
    reference.exclude_from_weight_decay([bias])
    reference.build([kernel, bias])
    return reference


@pytest.mark.parametrize("unfrozen_at", [0, 3])
def test_adamw_is_that_of_keras_with_weight_decay_on_kernels(unfrozen_at):
    """Also where the kernel is unfrozen later: from there on it moves as from the first step."""
    (kernel, bias), theirs = variables(), variables()
    schedule = WarmupCosine(0.3, 6, 2)
    kernel.trainable = not unfrozen_at
    optimizer = AdamW([kernel, bias], schedule, 0.8, weight_decay=0.05)
    references = [keras_adamw(*theirs) for _ in range(2)]
    for step in range(6):
        kernel.trainable = step >= unfrozen_at
        assert optimizer.trained == ([kernel, bias] if step >= unfrozen_at else [bias])
        own = gradients(step)
        given = own if step >= unfrozen_at else own[1:]
        optimizer.apply([tf.constant(g) for g in given], tf.constant(step, tf.int64))
        for reference, variable, gradient, begins in zip(references, theirs, own, (unfrozen_at, 0)):
            if step >= begins:
                reference.learning_rate = float(schedule(step))
                reference.apply([tf.constant(gradient)], [variable])
        for ours, other in zip((kernel, bias), theirs):
            np.testing.assert_allclose(ours.numpy(), other.numpy(), rtol=1e-5, atol=1e-6)


def test_each_variable_has_its_factor_of_the_rate():
    (kernel, bias), (first_kernel, first_bias) = variables(), variables()
    optimizer = MomentumSGD([kernel, bias], lambda step: 0.5, 0.0, factors=[1.0, 10.0])
    optimizer.apply([tf.constant(g) for g in gradients(0)], 0)
    moved = [before.numpy() - after.numpy() for before, after in
             [(first_kernel, kernel), (first_bias, bias)]]  # fmt: skip
    np.testing.assert_allclose(moved[0], 0.5 * gradients(0)[0], rtol=1e-5)
    np.testing.assert_allclose(moved[1], 5.0 * gradients(0)[1], rtol=1e-5)


def test_the_gradient_is_clipped_over_all_variables_together():
    kernel, bias = variables()
    before = [kernel.numpy(), bias.numpy()]
    optimizer = MomentumSGD([kernel, bias], lambda step: 1.0, momentum=0.0, clip_norm=0.5)
    optimizer.apply([tf.constant(g) for g in gradients(0)], 0)
    moved = np.concatenate([(a - b.numpy()).ravel() for a, b in zip(before, (kernel, bias))])
    raw = np.concatenate([g.ravel() for g in gradients(0)])
    np.testing.assert_allclose(moved, raw * 0.5 / np.linalg.norm(raw), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", [MomentumSGD, AdamW])
def test_an_unhealthy_step_changes_nothing(kind):
    kernel, bias = variables()
    optimizer = kind([kernel, bias], lambda step: 1.0, weight_decay=0.1)
    everything = (kernel, bias, *optimizer.state().values())
    before = [v.numpy() for v in everything]
    bad = [tf.fill((3, 2), np.nan), tf.fill((2,), np.inf)]
    optimizer.apply(bad, 0, healthy=tf.constant(False))
    for variable, value in zip(everything, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_weight_decay_leaves_biases_and_batch_normalisation_alone():
    model = keras.Sequential(
        [
            keras.Input((4, 4, 4, 3)),
            keras.layers.Conv3D(2, 1),
            keras.layers.BatchNormalization(),
            keras.layers.GlobalAveragePooling3D(),
            keras.layers.Dense(2),
        ]
    )
    decayed = {v.path for v in model.trainable_variables if is_kernel(v)}
    assert decayed == {layer.kernel.path for layer in (model.layers[0], model.layers[3])}


def test_the_state_is_named_after_the_weights():
    kernel, bias = variables()
    optimizer = MomentumSGD([kernel, bias], lambda step: 1.0)
    assert list(optimizer.state()) == [f"velocity/{kernel.path}", f"velocity/{bias.path}"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"momentum": 1.0}, "momentum=1.0"),
        ({"momentum": -0.1}, "momentum=-0.1"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0"),
        ({"clip_norm": 0.0}, "clip_norm=0.0"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        MomentumSGD([], lambda step: 1.0, **options)


@pytest.mark.parametrize("name", ["beta_1", "beta_2"])
def test_bad_arguments_of_adamw(name):
    with pytest.raises(ValueError, match=f"Received: {name}=1.0"):
        AdamW([], lambda step: 1.0, **{name: 1.0})
