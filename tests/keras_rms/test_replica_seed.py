"""Numbers that differ on each replica, in every random layer of the package."""

import keras
import numpy as np
import pytest
from replicas import mirrored_strategy

import keras_rms

tensorflow_only = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="tf.distribute belongs to TensorFlow"
)


class NaiveScaling(keras.layers.Layer):
    """What RandomMeanScaling would be with Keras's own seed generator."""

    def __init__(self):
        super().__init__()
        self.seed_generator = keras.random.SeedGenerator(0)

    def call(self, inputs, training=False):
        return inputs * keras.random.normal((1, 1, 1), 1, 0.5, seed=self.seed_generator)


RANDOM_LAYERS = {
    "RandomMeanScaling": lambda: keras_rms.RandomMeanScaling(seed=0),
    "Dropout": lambda: keras_rms.Dropout(0.5, seed=0),
    "RandomDrop": lambda: keras_rms.RandomDrop(0.5, granularity="sample", seed=0),
    "ShakeDrop": lambda: keras_rms.ShakeDrop(0.0, alpha=(0.0, 1.0), seed=0),
}


@pytest.fixture
def strategy():
    return mirrored_strategy()


def replica_outputs(strategy, build, steps=1):
    """What each of two replicas makes of ones, in each step: (steps, 2, 64, 1, 1)."""
    import tensorflow as tf

    with strategy.scope():
        layer = build()
        layer.build((64, 1, 1))

    @tf.function
    def step():
        return strategy.run(lambda: layer(tf.ones((64, 1, 1)), training=True))

    outputs = [[v.numpy() for v in strategy.experimental_local_results(step())]
               for _ in range(steps)]  # fmt: skip
    return layer, np.asarray(outputs)


@tensorflow_only
@pytest.mark.parametrize("naive", [NaiveScaling, lambda: keras.layers.Dropout(0.5, seed=0)])
def test_the_naive_layers_draw_alike_on_all_replicas(strategy, naive):
    """The defect that the generator mends; once this fails the generator is not needed."""
    _, outputs = replica_outputs(strategy, naive)
    np.testing.assert_array_equal(outputs[0, 0], outputs[0, 1])


@tensorflow_only
@pytest.mark.parametrize("name", RANDOM_LAYERS)
def test_replicas_differ_and_repeat_from_the_seed(strategy, name):
    layer, outputs = replica_outputs(strategy, RANDOM_LAYERS[name], steps=3)
    assert layer.name
    assert (outputs[:, 0] != outputs[:, 1]).any(axis=(1, 2, 3)).all()
    _, again = replica_outputs(strategy, RANDOM_LAYERS[name], steps=3)
    np.testing.assert_array_equal(outputs, again)
    single = RANDOM_LAYERS[name]()
    for step in range(3):
        alone = single(np.ones((64, 1, 1), "float32"), training=True)
        np.testing.assert_array_equal(outputs[step, 0], alone)


@tensorflow_only
def test_replicas_are_uncorrelated(strategy):
    _, outputs = replica_outputs(strategy, RANDOM_LAYERS["RandomMeanScaling"], steps=100)
    first, second = outputs[:, 0].ravel(), outputs[:, 1].ravel()
    bound = 4 / first.size**0.5
    assert abs(np.corrcoef(first, second)[0, 1]) < bound
    assert abs(np.corrcoef(first[64:], second[:-64])[0, 1]) < bound
    assert abs(np.corrcoef(first[:-64], second[64:])[0, 1]) < bound


@tensorflow_only
@pytest.mark.parametrize("ending", [".keras", ".weights.h5"])
@pytest.mark.parametrize("name", RANDOM_LAYERS)
def test_replicas_resume_after_saving_and_reloading(strategy, tmp_path, name, ending):
    import tensorflow as tf

    path = str(tmp_path / f"model{ending}")

    def build():
        inputs = keras.Input((5, 2))
        return keras.Model(inputs, RANDOM_LAYERS[name]()(inputs))

    def outputs(model):
        @tf.function
        def step():
            return strategy.run(lambda: model(tf.ones((64, 5, 2)), training=True))

        return np.asarray([v.numpy() for v in strategy.experimental_local_results(step())])

    with strategy.scope():
        model = build()
    before = outputs(model)
    (model.save if ending == ".keras" else model.save_weights)(path)
    expected = outputs(model)
    assert (before != expected).any()
    with strategy.scope():
        if ending == ".keras":
            resumed = keras.models.load_model(path)
        else:
            resumed = build()
            resumed.load_weights(path)
    actual = outputs(resumed)
    assert (actual[0] != actual[1]).any()
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.any_backend
@pytest.mark.parametrize("seed", [0, 1, 7, 2**40])
def test_a_seed_repeats_and_neighbours_differ(seed):
    def draws(seed):
        generator = keras_rms.ReplicaSeedGenerator(seed)
        return [
            keras.ops.convert_to_numpy(keras.random.normal((100,), seed=generator))
            for _ in range(3)
        ]

    np.testing.assert_array_equal(draws(seed), draws(seed))
    mine, neighbour = draws(seed), draws(seed + 1)
    assert all((a != b).all() for a in mine for b in neighbour)
    assert (mine[0] != mine[1]).all()


@pytest.mark.any_backend
def test_config_round_trip():
    generator = keras_rms.ReplicaSeedGenerator(0, name="noise")
    copy = keras_rms.ReplicaSeedGenerator.from_config(generator.get_config())
    assert copy.get_config() == {"seed": 0, "name": "noise"}
    first, second = (keras.random.normal((5,), seed=g) for g in (generator, copy))
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(first), keras.ops.convert_to_numpy(second)
    )


@pytest.mark.any_backend
@pytest.mark.parametrize("seed", [-1, 0.5, "0", False])
def test_bad_seeds(seed):
    with pytest.raises(ValueError, match=f"`seed`.*Received: seed={seed!r}"):
        keras_rms.ReplicaSeedGenerator(seed)
