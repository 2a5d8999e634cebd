"""A network's logits -> names and probabilities."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_rms.arguments import positive_integer
from keras_rms.models.presets.class_names import DATASETS, class_names


def decode_predictions(
    logits: Any, top: int = 5, names: Sequence[str] | None = None
) -> list[list[tuple[str, float]]]:
    """The most probable classes of each clip, the best first.

    Example:

    >>> logits = np.eye(400)[[398]] * 9
    >>> keras_rms.models.decode_predictions(logits, top=1)[0][0][0]
    'yoga'

    Args:
        logits: (clips, classes), as a network gives them, before a softmax.
        top: How many classes of each.
        names: Of the classes. By default those of the dataset with as many: Kinetics-400 or
            Something-Something-v2 (174). Give your own for a network of other classes.

    Returns:
        For each clip a list of pairs (name, probability).

    Raises:
        ValueError: If the logits have another shape or are probabilities already, or if there are
            not as many names.
    """
    values = np.asarray(keras.ops.convert_to_numpy(logits), "float64")
    positive_integer("top", top)
    if values.ndim != 2:
        raise ValueError(
            f"`logits` must have the shape (clips, classes). Received: shape={values.shape}"
        )
    if len(values) and (values >= 0).all() and np.allclose(values.sum(axis=1), 1, atol=1e-3):
        raise ValueError(
            "`logits` must be the network's outputs before a softmax. Received: probabilities, "
            "each row of which sums to 1"
        )
    known = _names_of(values.shape[1]) if names is None else list(names)
    if len(known) != values.shape[1]:
        raise ValueError(
            f"`names` must be as many as the classes. Received: {len(known)} names for "
            f"{values.shape[1]} classes"
        )
    probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(values.astype("float32")))
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
    return [[(known[i], float(row[i])) for i in order] for row, order in zip(probabilities, best)]


def _names_of(number: int) -> tuple[str, ...]:
    for dataset in DATASETS:
        if len(class_names(dataset)) == number:
            return class_names(dataset)
    raise ValueError(
        f"`names` must be given for a network of {number} classes: those of its training, in "
        "their order. By number are known "
        f"{', '.join(f'{dataset} ({len(class_names(dataset))})' for dataset in DATASETS)}"
    )
