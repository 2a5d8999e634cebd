"""A recipe's augmentation in the training step: where it acts, and that it resumes exactly."""

import numpy as np
import pytest
import tensorflow as tf
from replicas import mirrored_strategy
from small_training import small_batches, small_model

from keras_rms.augmentation import RandAugment
from keras_rms.training.learner import Learner
from keras_rms.training.loop.train_step import make_several_steps
from keras_rms.training.recipe import Recipe

RECIPE = Recipe(
    "small",
    batch_size=8,
    epochs=1,
    learning_rate=0.05,
    color_jitter=(0.4,),
    random_erasing=0.5,
    mixing="cutmix",
).completed(80)
AUGMENTATION = ["color_jitter", "random_erasing"]


class Training:
    """A network in training, on one device."""

    def __init__(self):
        self.learner = Learner(small_model(), RECIPE)
        self.several = make_several_steps(tf.distribute.get_strategy(), self.learner.step)

    def sums(self, first, count):
        numbers = (tf.constant(n, tf.int64) for n in (first, count))
        return self.several(iter(small_batches(first)), *numbers, tf.zeros(2))["sums"].numpy()

    def state(self):
        return {name: variable.numpy() for name, variable in self.learner.state.items()}


@pytest.mark.slow
def test_it_resumes_exactly_and_leaves_the_network_as_it_is():
    whole, continued = Training(), Training()
    learner = whole.learner
    assert [layer.name for layer in learner.step.model.layers[1:3]] == AUGMENTATION
    assert not {layer.name for layer in learner.model.layers} & {*AUGMENTATION}
    whole.sums(0, 2)
    for name, value in whole.state().items():
        continued.learner.state[name].assign(value)
    np.testing.assert_array_equal(continued.sums(2, 2), whole.sums(2, 2))
    state = continued.state()
    for name, value in whole.state().items():
        np.testing.assert_array_equal(state[name], value, name)
    # The second word of a state counts the draws: one a step, and of erasing two.
    assert [int(state[f"random/{name}/0"][1]) for name in AUGMENTATION] == [4, 8]


def test_replicas_change_the_same_clip_each_in_its_own_way():
    """And the first as a single device does, whatever the number of replicas."""
    clips = np.random.default_rng(0).integers(0, 256, (4, 2, 9, 8, 3)).astype("uint8")
    with mirrored_strategy().scope():
        layer = RandAugment(seed=3)
    layer(clips[:1], training=True)  # its random state is there before the replicas are
    alone = RandAugment(seed=3)
    alone(clips[:1], training=True)
    run = tf.function(lambda: mirrored_strategy().run(lambda: layer(clips, training=True)))
    first, second = mirrored_strategy().experimental_local_results(run())
    np.testing.assert_array_equal(first, alone(clips, training=True))
    assert (first.numpy() != second.numpy()).any(axis=(1, 2, 3, 4)).sum() >= 3
