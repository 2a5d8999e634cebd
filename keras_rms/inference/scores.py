"""Class probabilities of videos, and how often the right class is among the best; no TensorFlow."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scores:
    """What a network says of each video.

    Attributes:
        index: int (videos,), each video's position in its split.
        labels: int (videos,).
        scores: float32 (videos, classes), averaged class probabilities; each row sums to 1.
    """

    index: np.ndarray
    labels: np.ndarray
    scores: np.ndarray

    def top_k(self, k: int) -> float:
        """Share of the videos whose label is among the k best classes."""
        return top_k_accuracy(self.scores, self.labels, k)


def top_k_accuracy(scores: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Share of the rows whose label is among the k highest scores.

    Of equal scores the class that comes first is the better one, as wherever a network's answer is
    named: what is counted here are the answers that people see. In half precision equal scores are
    common. A score that is not a number counts against the label.

    Args:
        scores: (videos, classes).
        labels: int (videos,).
        k: At least 1.

    Raises:
        ValueError: If k is below 1 or the shapes do not fit.
    """
    if k < 1:
        raise ValueError(f"`k` must be at least 1. Received: k={k}")
    if scores.ndim != 2 or labels.shape != scores.shape[:1]:
        raise ValueError(
            "`scores` must be (videos, classes) and labels (videos,). "
            f"Received: shapes {scores.shape} and {labels.shape}"
        )
    of_label = np.take_along_axis(scores, labels[:, None].astype(np.int64), axis=1)
    later = np.arange(scores.shape[1]) > labels[:, None]
    # Not "scores >= of_label", which is never true of NaN.
    not_behind = ~(scores < of_label) & ~((scores == of_label) & later)
    return float((not_behind.sum(axis=1) <= k).mean())
