"""Validation over several workers, some of which have no video."""

import numpy as np
import pytest
import tensorflow as tf

from keras_rms.inference.view_scores import Scores
from keras_rms.training.loop import validation

LOSSES = -np.log([0.7, 0.2, 0.5])


class Scorer:
    """Has scored already."""

    def __init__(self, labels, scores):
        labels = np.array(labels, np.int32)
        self._scores = Scores(np.arange(len(labels)), labels, np.array(scores, np.float32))

    def scores_of_part(self, batches):
        return self._scores


def with_videos():
    """Three of seven classes: the first is right, the second among five, the third among none."""
    others = [[0.7] + [0.05] * 6, [0.4, 0.2, 0.4] + [0.0] * 4, [0.5] + [0.5] * 6]
    return Scorer([0, 1, 6], others)


def without_videos():
    return Scorer([], np.zeros((0, 7)))


def of_two_workers(monkeypatch, first, second):
    """What the first worker finds, who is given the second's sums."""
    other = validation._sums(second.scores_of_part(None))
    monkeypatch.setattr(validation, "num_workers", lambda strategy: 2)
    monkeypatch.setattr(validation, "_over_workers", lambda strategy, own: own + other)
    return validation.validate(first, None, tf.distribute.get_strategy())


@pytest.mark.parametrize("swapped", [False, True])
def test_a_worker_without_videos_counts_nothing(monkeypatch, swapped):
    both = [with_videos(), without_videos()]
    found = of_two_workers(monkeypatch, *(reversed(both) if swapped else both))
    assert found == {
        "validation_loss": pytest.approx(LOSSES.mean(), rel=1e-6),
        "validation_top1": pytest.approx(1 / 3),
        "validation_top5": pytest.approx(2 / 3),
    }


def test_each_video_counts_the_same_on_whatever_worker(monkeypatch):
    """Not the mean of the workers' means, which would be 3/4 here."""
    right = Scorer([0], [[1.0] + [0.0] * 6])
    found = of_two_workers(monkeypatch, with_videos(), right)
    assert found["validation_top1"] == pytest.approx(2 / 4)
    assert found["validation_loss"] == pytest.approx(LOSSES.sum() / 4, rel=1e-6)


def test_no_video_on_any_worker_is_an_error(monkeypatch):
    with pytest.raises(ValueError, match="no video to validate on: the split is empty, or all"):
        of_two_workers(monkeypatch, without_videos(), without_videos())
