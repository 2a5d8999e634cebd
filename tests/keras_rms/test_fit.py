"""Keras's own `fit` and `evaluate`, and the views of evaluation, on converted videos."""

import keras
import numpy as np
import pytest
from coded_videos import LENGTHS, write_all_sizes
from replicas import mirrored_strategy

from keras_rms.inference import ViewScorer
from pipelines.input import evaluation_dataset, open_split, training_dataset, validation_dataset

SIZES = {"batch_size": 4, "num_frames": 2, "span": 4, "crop_size": 16}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_all_sizes(tmp_path_factory.mktemp("data"))


def colour_model():
    """Puts clips by their mean blue, which tells the frames: the nearest of one hue a class."""
    clip = keras.Input((2, 16, 16, 3), dtype="uint8")
    x = keras.layers.GlobalAveragePooling3D()(keras.layers.Rescaling(4 / 255, -2)(clip))
    model = keras.Model(clip, keras.layers.Dense(len(LENGTHS))(x))
    hues = np.linspace(-2, 0, len(LENGTHS))
    model.set_weights([np.outer([0, 0, 20], hues), -10 * hues**2])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=["accuracy"])
    return model


def probabilities(model, clips):
    kernel, bias = model.get_weights()
    colours = clips.mean((-4, -3, -2), dtype=np.float64) * 4 / 255 - 2
    exponentials = np.exp(colours @ kernel + bias)
    return exponentials / exponentials.sum(-1, keepdims=True)


def loss_and_accuracy(model, batches):
    clips, labels = (np.concatenate(column) for column in zip(*batches.as_numpy_iterator()))
    scores = probabilities(model, clips)
    assert len(labels) == len(LENGTHS) and len(set(scores.argmax(1))) > 2
    loss = -np.log(scores[np.arange(len(labels)), labels]).mean()
    return [loss, (scores.argmax(1) == labels).mean()]


@pytest.mark.any_backend
def test_evaluate_counts_every_video_once(folder):
    model = colour_model()
    validation = validation_dataset(folder, "train", **SIZES)
    expected = loss_and_accuracy(model, validation)
    np.testing.assert_allclose(model.evaluate(validation, verbose=0), expected, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.any_backend
def test_fit_needs_no_number_of_steps(folder):
    model = colour_model()
    before = loss_and_accuracy(model, validation_dataset(folder, "train", **SIZES))
    validation = validation_dataset(folder, "train", **SIZES)
    train = training_dataset(folder, flip=False, **SIZES)
    history = model.fit(train, validation_data=validation, epochs=3, verbose=0).history
    assert int(model.optimizer.iterations) == 3 * 2
    expected = loss_and_accuracy(model, validation)
    last = [history["val_loss"][-1], history["val_accuracy"][-1]]
    np.testing.assert_allclose(last, expected, rtol=1e-4)
    assert expected[0] < before[0]


@pytest.mark.any_backend
def test_thirty_views_are_averaged(folder):
    model = colour_model()
    views = evaluation_dataset(folder, "train", num_clips=10, num_crops=3, **SIZES)
    scores = ViewScorer(model).scores(views)
    batches = list(views.as_numpy_iterator())
    clips, mask = (np.concatenate([batch[name] for batch in batches]) for name in ("views", "mask"))
    assert clips.shape[1] == 30 and mask.sum() == len(LENGTHS) < len(mask)
    np.testing.assert_array_equal(scores.labels, open_split(folder, "train").labels[scores.index])
    expected = probabilities(model, clips[mask]).mean(1)
    np.testing.assert_allclose(scores.scores, expected, rtol=1e-4)


@pytest.mark.slow
def test_two_replicas_share_the_batches_of_fit(folder):
    strategy = mirrored_strategy()
    with strategy.scope():
        model = colour_model()
    train = training_dataset(folder, **SIZES)
    validation = validation_dataset(folder, "train", **SIZES)
    history = model.fit(train, validation_data=validation, epochs=2, verbose=0).history
    assert keras.ops.convert_to_numpy(model.optimizer.iterations) == 2 * 2
    expected = loss_and_accuracy(model, validation)
    last = [history["val_loss"][-1], history["val_accuracy"][-1]]
    np.testing.assert_allclose(last, expected, rtol=1e-4)
