"""What a network's outputs say of its classes."""

from collections.abc import Sequence

import keras
import numpy as np

from pipelines.system.text import printable


def mean_scores(logits: np.ndarray) -> np.ndarray:
    """Logits (views, classes) -> probabilities (classes,), averaged over the views."""
    return keras.ops.convert_to_numpy(keras.ops.softmax(logits)).mean(axis=0)


def best_classes(scores: np.ndarray, class_names: Sequence[str], count: int) -> list[dict]:
    """The classes with the highest of the probabilities (classes,), the best first."""
    best = np.argsort(-scores, kind="stable")[:count]
    return [{"class": class_names[i], "probability": float(scores[i])} for i in best]


def as_text(path: str, classes: list[dict]) -> str:
    """The name of a video and a line for each of its best classes."""
    lines = [f"{row['probability']:8.2%}  {row['class']}" for row in classes]
    return "\n".join([printable(path), *lines])
