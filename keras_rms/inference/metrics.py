"""What the scores of a split amount to: accuracies, confusions, calibration.

Words:
    mean class accuracy   the accuracy of each class, averaged over the classes that have videos
    confidence            the probability of the class with the highest score
    calibrated            of the videos with a confidence of p, a share p is right

Formulas are scikit-learn's and SciPy's where they have them.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats
from sklearn import metrics

from keras_rms.inference.saved_scores import SavedScores
from keras_rms.inference.scores import top_k_accuracy

BINS = 15  # of confidence, as in the paper that made the measure known


@dataclass(frozen=True)
class Calibration:
    """Accuracy by confidence (Guo et al., "On Calibration of Modern Neural Networks", 2017).

    Attributes:
        edges: float (bins + 1,), from 0 to 1.
        videos: int (bins,), with a confidence in each bin.
        accuracy, confidence: float (bins,), their means; NaN in a bin without videos.
        error: The expected calibration error: |accuracy - confidence| averaged over the videos.
    """

    edges: np.ndarray
    videos: np.ndarray
    accuracy: np.ndarray
    confidence: np.ndarray
    error: float


def accuracies(saved: SavedScores) -> dict:
    """Top-1 with its 95 % interval, top-5, mean class accuracy and calibration error, as shares.

    The interval is Wilson's; it is of other videos of the same kind, not of other trainings.

    Raises:
        ValueError: If there is no video.
    """
    if not len(saved.labels):
        raise ValueError("`saved` must hold at least one video. Received: 0 videos")
    hits = round(top_k_accuracy(saved.scores, saved.labels, 1) * len(saved.labels))
    interval = stats.binomtest(hits, len(saved.labels)).proportion_ci(method="wilson")
    present = np.unique(saved.labels)
    by_class = metrics.recall_score(
        saved.labels, saved.predicted, labels=present, average=None, zero_division=0
    )
    return {
        "top1": top_k_accuracy(saved.scores, saved.labels, 1),
        "top1_interval": [float(interval.low), float(interval.high)],
        # Of fewer than five classes all are among the best five.
        "top5": top_k_accuracy(saved.scores, saved.labels, 5),
        "mean_class_accuracy": float(np.mean(by_class)),
        "calibration_error": calibration(saved).error,
    }


def confusion(saved: SavedScores) -> np.ndarray:
    """int (classes, classes): videos by label (rows) and by predicted class (columns)."""
    classes = np.arange(len(saved.class_names))
    return metrics.confusion_matrix(saved.labels, saved.predicted, labels=classes)


def by_class(saved: SavedScores) -> list[dict]:
    """A line a class: its videos, accuracy, precision, F1, and what it is most taken for.

    What is divided by zero videos is None.
    """
    counts = confusion(saved)
    precision, recall, f1, videos = metrics.precision_recall_fscore_support(
        saved.labels,
        saved.predicted,
        labels=np.arange(len(counts)),
        average=None,
        zero_division=np.nan,
    )
    wrong = counts - np.diag(np.diag(counts))
    lines = []
    for number, name in enumerate(saved.class_names):
        other = int(wrong[number].argmax())
        lines.append(
            {
                "class": name,
                "videos": int(videos[number]),
                "accuracy": _share(recall[number]),
                "precision": _share(precision[number]),
                "f1": _share(f1[number]),
                "most_taken_for": saved.class_names[other] if wrong[number, other] else "",
                "times": int(wrong[number, other]),
            }
        )
    return lines


def confused_pairs(saved: SavedScores, most: int = 10) -> list[dict]:
    """The pairs of classes that are most often taken for each other, most often first.

    Args:
        saved: The scores.
        most: Give at most so many pairs.
    """
    counts = confusion(saved)
    both = np.triu(counts + counts.T, k=1)
    order = np.argsort(-both, axis=None, kind="stable")[:most]
    pairs = []
    for first, second in zip(*np.unravel_index(order, both.shape)):
        if both[first, second]:
            names = [saved.class_names[first], saved.class_names[second]]
            pairs.append(
                {
                    "classes": names,
                    "times": int(both[first, second]),
                    "first_for_second": int(counts[first, second]),
                    "second_for_first": int(counts[second, first]),
                }
            )
    return pairs


def calibration(saved: SavedScores, bins: int = BINS) -> Calibration:
    """Accuracy by confidence, in bins of equal width."""
    confidence = saved.scores.max(axis=1).astype(np.float64)
    right = saved.predicted == saved.labels
    edges = np.linspace(0, 1, bins + 1)
    # A confidence of 1 belongs to the last bin, and rounding may make it a little more.
    place = np.clip(np.digitize(confidence, edges) - 1, 0, bins - 1)
    videos = np.bincount(place, minlength=bins)
    accuracy = _means(place, right, videos)
    mean_confidence = _means(place, confidence, videos)
    gaps = np.abs(np.nan_to_num(accuracy - mean_confidence))
    error = float((gaps * videos).sum() / len(confidence))
    return Calibration(edges, videos, accuracy, mean_confidence, error)


def _means(place: np.ndarray, values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    sums = np.bincount(place, weights=values, minlength=len(counts))
    return np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)


def _share(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


@dataclass(frozen=True)
class Difference:
    """Two networks on the same videos.

    Attributes:
        difference: Top-1 of the second minus that of the first, as a share.
        interval: Its 95 % interval over videos (Bonett and Price, "Adjusted Wald Confidence
            Interval for a Difference of Binomial Proportions Based on Paired Data", 2012).
        only_first, only_second: Videos that only the one, only the other gets right.
        p_value: McNemar's test, exact: of as uneven a division of these, if both were equal.
    """

    difference: float
    interval: tuple[float, float]
    only_first: int
    only_second: int
    p_value: float


def difference(first: SavedScores, second: SavedScores) -> Difference:
    """Compares two networks video by video.

    Raises:
        ValueError: If they were not evaluated on the same videos.
    """
    second = second.ordered_as(first)
    right = [(each.predicted == each.labels).astype(int) for each in (first, second)]
    gains = right[1] - right[0]
    only_first, only_second = int((gains < 0).sum()), int((gains > 0).sum())
    changed = only_first + only_second
    p_value = stats.binomtest(only_second, changed).pvalue if changed else 1.0
    interval = _interval(only_first, only_second, len(gains))
    return Difference(float(gains.mean()), interval, only_first, only_second, float(p_value))


def _interval(only_first: int, only_second: int, videos: int) -> tuple[float, float]:
    """Of the difference of two paired shares; of width also where no video or each one differs."""
    first, second = ((count + 1) / (videos + 2) for count in (only_first, only_second))
    middle = second - first
    variance = (first + second - middle**2) / (videos + 2)
    half = stats.norm.ppf(0.975) * variance**0.5
    return max(-1.0, float(middle - half)), min(1.0, float(middle + half))
