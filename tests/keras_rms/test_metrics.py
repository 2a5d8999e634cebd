"""Metrics against counts and means written out in NumPy."""

from math import comb

import numpy as np
import pytest

from keras_rms.inference import metrics
from keras_rms.inference.saved_scores import SavedScores

SEED = 5


@pytest.fixture(scope="module")
def saved():
    """40 videos of 5 classes, of which the last has none; about half are right."""
    random = np.random.default_rng(SEED)
    labels = random.integers(0, 4, 40)
    logits = random.normal(size=(40, 5)) + 1.2 * np.eye(5)[labels]
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    keys = [f"{number:02}" for number in range(40)]
    return SavedScores(keys, labels, scores.astype(np.float32), list("abcde"))


def brute_force_confusion(saved):
    counts = np.zeros((5, 5), int)
    for label, row in zip(saved.labels, saved.scores):
        counts[label, list(row).index(max(row))] += 1
    return counts


def test_accuracies(saved):
    found = metrics.accuracies(saved)
    counts = brute_force_confusion(saved)
    assert found["top1"] == pytest.approx(np.trace(counts) / 40)
    with_videos = counts[:4]
    by_class = [with_videos[i, i] / with_videos[i].sum() for i in range(4)]
    assert found["mean_class_accuracy"] == pytest.approx(np.mean(by_class))
    assert found["top1"] != pytest.approx(found["mean_class_accuracy"])
    assert found["top5"] == 1
    low, high = found["top1_interval"]
    p, n, z = found["top1"], 40, 1.959964
    # Wilson's bounds are where |p - bound| is z standard deviations at the bound.
    for bound in (low, high):
        assert abs(p - bound) == pytest.approx(z * np.sqrt(bound * (1 - bound) / n), rel=1e-4)


def test_classes_and_confusion(saved):
    counts = brute_force_confusion(saved)
    np.testing.assert_array_equal(metrics.confusion(saved), counts)
    lines = metrics.by_class(saved)
    for number, line in enumerate(lines[:4]):
        assert line["videos"] == counts[number].sum()
        assert line["accuracy"] == pytest.approx(counts[number, number] / counts[number].sum())
        assert line["precision"] == pytest.approx(counts[number, number] / counts[:, number].sum())
        wrong = counts[number].copy()
        wrong[number] = 0
        assert line["times"] == wrong.max()
        assert line["most_taken_for"] == "abcde"[wrong.argmax()]
    assert lines[4]["accuracy"] is None and lines[4]["most_taken_for"] == ""


def test_confused_pairs_count_both_directions(saved):
    counts = brute_force_confusion(saved)
    pairs = metrics.confused_pairs(saved, most=3)
    both = {(i, j): counts[i, j] + counts[j, i] for i in range(5) for j in range(i)}
    assert [pair["times"] for pair in pairs] == sorted(both.values(), reverse=True)[:3]
    first, second = ("abcde".index(name) for name in pairs[0]["classes"])
    assert pairs[0]["first_for_second"] == counts[first, second]
    assert pairs[0]["second_for_first"] == counts[second, first]


def test_calibration_by_brute_force(saved):
    found = metrics.calibration(saved, bins=4)
    confidence = saved.scores.max(1)
    right = saved.scores.argmax(1) == saved.labels
    error = 0
    for number in range(4):
        inside = (confidence >= number / 4) & (confidence < (number + 1) / 4)
        assert found.videos[number] == inside.sum()
        if inside.any():
            assert found.accuracy[number] == pytest.approx(right[inside].mean())
            gap = abs(right[inside].mean() - confidence[inside].mean())
            error += inside.mean() * gap
    assert found.error == pytest.approx(error, abs=1e-6)
    certain = SavedScores(["a"], np.array([0]), np.array([[1.0, 0.0]], np.float32), ["x", "y"])
    assert metrics.calibration(certain, bins=4).videos.tolist() == [0, 0, 0, 1]


def test_difference_of_two_networks(saved):
    predicted = saved.labels.copy()
    predicted[:10] = 4  # wrong for ten, right for all others
    second = SavedScores(
        saved.keys, saved.labels, np.eye(5, dtype=np.float32)[predicted], saved.class_names
    )
    found = metrics.difference(saved, second)
    right = saved.scores.argmax(1) == saved.labels
    gained = int((~right[10:]).sum())
    lost = int(right[:10].sum())
    assert (found.only_second, found.only_first) == (gained, lost)
    assert found.difference == pytest.approx((gained - lost) / 40)
    assert found.interval[0] < found.difference < found.interval[1]
    # McNemar's exact test: both tails of a fair coin's binomial distribution.
    n, k = gained + lost, min(gained, lost)
    tail = sum(comb(n, i) for i in range(k + 1)) / 2**n
    assert found.p_value == pytest.approx(min(1, 2 * tail))
    same = metrics.difference(saved, saved)
    assert (same.difference, same.p_value) == (0, 1)
    # No video differs of 40, as of many where a few would.
    assert same.interval == pytest.approx((-0.066, 0.066), abs=1e-3)


def test_the_interval_holds_the_true_difference():
    """19 times of 20 over draws of 60 videos, of which 3 % are gained and 10 % lost."""
    random = np.random.default_rng(SEED)
    drawn = random.choice([1, -1, 0], (4000, 60), p=[0.03, 0.10, 0.87])
    found = [metrics._interval((row < 0).sum(), (row > 0).sum(), 60) for row in drawn]
    holds = np.mean([low <= -0.07 <= high for low, high in found])
    assert 0.935 < holds < 0.985


def test_no_video_has_no_accuracy():
    none = SavedScores([], np.zeros(0, int), np.zeros((0, 2), np.float32), ["x", "y"])
    with pytest.raises(ValueError, match="at least one video"):
        metrics.accuracies(none)
