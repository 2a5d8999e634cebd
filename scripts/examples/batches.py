"""Augmented batches of images or clips from arrays in memory, with nothing but NumPy and Keras."""

import math
from collections.abc import Callable

import keras
import numpy as np

Augment = Callable[[np.ndarray, np.random.Generator], np.ndarray]


class Batches(keras.utils.PyDataset):
    """Augmented batches in an order of their own each epoch, all decided by the seed.

    Args:
        examples: uint8 (examples, ...), images or clips.
        targets: float32 (examples, classes), see `one_hot`.
        augment: Takes a batch and a generator of random numbers, and returns the batch changed.
        batch_size: Examples in a batch; those that are left at an epoch's end are left out.
        cutmix_share: Share of the batches that CutMix mixes.
        seed: Non-negative integer.

    Raises:
        ValueError: If there is not one whole batch.
    """

    def __init__(
        self,
        examples: np.ndarray,
        targets: np.ndarray,
        augment: Augment,
        batch_size: int,
        cutmix_share: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        validate_batch_size(batch_size, len(examples))
        self.examples = examples
        self.targets = targets
        self.augment = augment
        self.batch_size = batch_size
        self.cutmix_share = cutmix_share
        self.seed = seed
        self.epoch = -1
        self.on_epoch_end()

    def __len__(self) -> int:
        return len(self.examples) // self.batch_size

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([self.seed, self.epoch, index])
        rows = self.order[index * self.batch_size :][: self.batch_size]
        examples = self.augment(self.examples[rows], rng)
        if rng.random() < self.cutmix_share:
            return cutmix(examples, self.targets[rows], rng)
        return examples, self.targets[rows]

    def on_epoch_end(self) -> None:
        self.epoch += 1
        rng = np.random.default_rng([self.seed, self.epoch])
        self.order = rng.permutation(len(self.examples))


def validate_batch_size(batch_size: int, num_examples: int) -> None:
    """Raises ValueError if there is not one whole batch."""
    if num_examples < batch_size:
        raise ValueError(
            f"`batch_size` must be at most the number of training examples, {num_examples}. "
            f"Received: batch_size={batch_size}"
        )


def cutmix(
    examples: np.ndarray, targets: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Puts one box of another example into each, and weighs the targets by what is left.

    Args:
        examples: (batch, ..., height, width, channels).
        targets: (batch, classes).
        rng: Decides the box and the pairs.

    Reference: [Yun et al., 2019](https://arxiv.org/abs/1905.04899), algorithm 1.
    """
    height, width = examples.shape[-3:-1]
    side, order = math.sqrt(1 - rng.random()), rng.permutation(len(examples))
    rows, columns = _interval(height, side, rng), _interval(width, side, rng)
    mixed = examples.copy()
    mixed[..., rows, columns, :] = examples[order][..., rows, columns, :]
    own = 1 - (rows.stop - rows.start) * (columns.stop - columns.start) / (height * width)
    return mixed, (own * targets + (1 - own) * targets[order]).astype("float32")


def _interval(size: int, share: float, rng: np.random.Generator) -> slice:
    length, centre = int(size * share), int(rng.integers(size))
    start = centre - length // 2
    return slice(max(start, 0), min(start + length, size))


def random_crop_and_flip(
    examples: np.ndarray, height: int, width: int, rng: np.random.Generator
) -> np.ndarray:
    """For each example a window of its own, the same in all frames of a clip, half of them flipped.

    Args:
        examples: (batch, ..., height, width, channels), at least as large as the window.
        height: Of the window.
        width: Of the window.
        rng: Decides the windows and the flips.
    """
    tops = rng.integers(examples.shape[-3] - height + 1, size=len(examples))
    lefts = rng.integers(examples.shape[-2] - width + 1, size=len(examples))
    flips = rng.random(len(examples)) < 0.5
    crops = [
        example[..., top : top + height, left : left + width, :][..., :: -1 if flip else 1, :]
        for example, top, left, flip in zip(examples, tops, lefts, flips)
    ]
    return np.stack(crops)


def one_hot(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """float32 (examples, classes)."""
    return np.eye(num_classes, dtype="float32")[labels]
