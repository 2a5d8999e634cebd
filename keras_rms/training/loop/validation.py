"""Accuracy on the validation split during training, over all workers together."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import tensorflow as tf

from keras_rms.inference.scores import Scores
from keras_rms.inference.view_scores import ViewScorer
from keras_rms.training.workers.strategies import num_workers


def validate(
    scorer: ViewScorer,
    batches: tf.data.Dataset,
    strategy: tf.distribute.Strategy,
    exchange: Callable[[], AbstractContextManager] = nullcontext,
) -> dict[str, float]:
    """Scores this worker's share of the videos and adds up the results of all workers.

    Args:
        scorer: Of the network in training.
        batches: See `ViewScorer.scores`; each worker has another part of the videos, or none.
        strategy: The training's own.
        exchange: Entered around what waits for the other workers, after the scoring.

    Returns:
        "validation_loss" (cross-entropy of the averaged probabilities), "validation_top1" and
        "validation_top5".

    Raises:
        ValueError: If there is no video on any worker.
    """
    sums = _sums(scorer.scores_of_part(batches))
    if num_workers(strategy) > 1:
        with exchange():
            sums = _over_workers(strategy, sums)
    loss, top1, top5, videos = sums
    if not videos:
        raise ValueError(
            "There is no video to validate on: the split is empty, or all its videos are damaged. "
            "Convert it again, or train without a validation split."
        )
    return {
        "validation_loss": float(loss / videos),
        "validation_top1": float(top1 / videos),
        "validation_top5": float(top5 / videos),
    }


def _sums(scores: Scores) -> np.ndarray:
    videos = len(scores.labels)
    # Of fewer videos than workers some get none: a mean of nothing would be NaN for all workers.
    if not videos:
        return np.zeros(4)
    of_label = scores.scores[np.arange(videos), scores.labels]
    loss = -np.log(np.maximum(of_label, np.finfo(np.float32).tiny)).sum()
    return np.array([loss, scores.top_k(1) * videos, scores.top_k(5) * videos, videos])


def _over_workers(strategy: tf.distribute.Strategy, sums: np.ndarray) -> np.ndarray:
    @tf.function(autograph=False)
    def add(own: tf.Tensor) -> tf.Tensor:
        # Every replica of a worker holds the worker's sums, hence the mean within a worker.
        return strategy.reduce("MEAN", strategy.run(lambda x: x, args=(own,)), axis=None)

    return add(tf.constant(sums)).numpy() * num_workers(strategy)
