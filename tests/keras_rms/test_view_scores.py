"""Averaging over views, padding, replicas and top-k."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from replicas import mirrored_strategy

from keras_rms.inference import metrics
from keras_rms.inference.saved_scores import SavedScores
from keras_rms.inference.scores import top_k_accuracy
from keras_rms.inference.view_scores import ViewScorer
from keras_rms.training.loop import validation

CLASSES = 3


def mean_colour_model():
    """Logits = 5 * the clip's mean colour, so that the expected scores can be written down."""
    clip = keras.Input((2, 4, 6, CLASSES), dtype="uint8")
    features = keras.layers.Rescaling(5 / 255)(clip)
    return keras.Model(clip, keras.layers.GlobalAveragePooling3D()(features))


def videos(count, views=4, seed=0):
    generator = np.random.default_rng(seed)
    colours = generator.integers(0, 256, (count, views, 1, 1, 1, CLASSES))
    return np.broadcast_to(colours, (count, views, 2, 4, 6, CLASSES)).astype(np.uint8)


def expected_scores(clips):
    logits = 5 / 255 * clips.mean(axis=(2, 3, 4), dtype=np.float64)
    exponentials = np.exp(logits)
    return (exponentials / exponentials.sum(-1, keepdims=True)).mean(axis=1)


def padded_batches(clips, batch_size):
    count = len(clips)
    padding = -count % batch_size
    rows = {
        "views": np.concatenate([clips, np.repeat(clips[-1:], padding, axis=0)]),
        "label": np.arange(count + padding, dtype=np.int32) % CLASSES,
        "index": np.arange(count + padding, dtype=np.int32),
        "mask": np.arange(count + padding) < count,
    }
    return tf.data.Dataset.from_tensor_slices(rows).batch(batch_size, drop_remainder=True)


@pytest.mark.any_backend
def test_scores_are_the_softmax_averaged_over_views_and_padding_is_left_out():
    clips = videos(5)
    seen = []
    result = ViewScorer(mean_colour_model()).scores(padded_batches(clips, 2), seen.append)
    np.testing.assert_array_equal(result.index, np.arange(5))
    np.testing.assert_array_equal(result.labels, np.arange(5) % CLASSES)
    np.testing.assert_allclose(result.scores, expected_scores(clips), rtol=1e-5)
    assert seen == [2, 2, 1]


def test_a_worker_without_videos_adds_nothing_to_a_validation():
    (batch,) = padded_batches(videos(2), 2)
    masked = tf.data.Dataset.from_tensors({**batch, "mask": tf.zeros_like(batch["mask"])})
    scorer = ViewScorer(mean_colour_model())
    assert validation._sums(scorer.scores_of_part(masked)).tolist() == [0, 0, 0, 0]
    with pytest.raises(ValueError, match="no video to validate on"):
        validation.validate(scorer, masked, tf.distribute.get_strategy())


@pytest.mark.any_backend
def test_averages_probabilities_and_not_logits():
    clips = videos(1, views=2)
    clips[0, 0], clips[0, 1] = (255, 0, 0), (0, 0, 0)
    averaged_logits = 5 / 255 * clips.mean(axis=(1, 2, 3, 4))
    softmax = keras.ops.convert_to_numpy(keras.ops.softmax(averaged_logits))
    result = ViewScorer(mean_colour_model()).scores(padded_batches(clips, 1))
    assert np.abs(result.scores - softmax).max() > 0.05


def with_softmax(as_layer):
    model = mean_colour_model()
    layer = keras.layers.Softmax() if as_layer else keras.layers.Activation("softmax")
    return keras.Model(model.input, layer(model.output))


@pytest.mark.any_backend
@pytest.mark.parametrize("as_layer", [True, False])
def test_a_model_that_gives_probabilities_gets_no_second_softmax(as_layer):
    clips = videos(5)
    model = with_softmax(as_layer)
    with pytest.raises(ValueError, match=r"ends in a softmax.*Received: from_logits=True"):
        ViewScorer(model)
    result = ViewScorer(model, from_logits=False).scores(padded_batches(clips, 2))
    np.testing.assert_allclose(result.scores, expected_scores(clips), rtol=1e-5)


def test_two_replicas_give_the_same_scores():
    clips = videos(5)
    strategy = mirrored_strategy()
    assert strategy.num_replicas_in_sync == 2
    with strategy.scope():
        model = mean_colour_model()
    result = ViewScorer(model, strategy).scores(padded_batches(clips, 4))
    order = np.argsort(result.index)
    np.testing.assert_array_equal(result.index[order], np.arange(5))
    np.testing.assert_allclose(result.scores[order], expected_scores(clips), rtol=1e-5)


def test_an_empty_dataset_is_an_error():
    with pytest.raises(ValueError, match="no video"):
        ViewScorer(mean_colour_model()).scores(padded_batches(videos(2), 2).take(0))


def test_a_split_that_is_damaged_throughout_has_no_score():
    batches = padded_batches(videos(2), 2).map(lambda b: {**b, "mask": tf.zeros(2, tf.bool)})
    with pytest.raises(ValueError, match=r"no video to evaluate.* all of it is damaged"):
        ViewScorer(mean_colour_model()).scores(batches)


def test_top_k():
    scores = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.4, 0.4, 0.2]])
    labels = np.array([0, 1, 1])
    assert top_k_accuracy(scores, labels, 1) == pytest.approx(1 / 3)
    assert top_k_accuracy(scores, labels, 2) == 1.0
    # A network that is broken must not look right.
    broken = np.array([[np.nan] * 4, [0.1, 0.9, np.nan, 0.0]])
    assert top_k_accuracy(broken, np.array([0, 1]), 1) == 0.0
    assert top_k_accuracy(broken, np.array([0, 1]), 2) == 0.5


def test_of_equal_scores_the_first_class_is_the_answer_everywhere():
    scores = np.random.default_rng(0).integers(0, 3, (200, 7)).astype(np.float32)
    labels = np.arange(200) % 7
    saved = SavedScores([str(n) for n in range(200)], labels, scores, list("abcdefg"))
    ranked = np.argsort(-scores, axis=1, kind="stable")  # as lists of the best classes are printed
    np.testing.assert_array_equal(saved.predicted, ranked[:, 0])
    assert np.trace(metrics.confusion(saved)) / 200 == top_k_accuracy(scores, labels, 1)
    for k in range(1, 8):
        expected = (ranked[:, :k] == labels[:, None]).any(axis=1).mean()
        assert top_k_accuracy(scores, labels, k) == expected


def test_top_k_refuses_what_it_cannot_count():
    with pytest.raises(ValueError, match="k=0"):
        top_k_accuracy(np.ones((2, 3)), np.zeros(2, int), 0)
    with pytest.raises(ValueError, match="shapes"):
        top_k_accuracy(np.ones((2, 3)), np.zeros(3, int), 1)
