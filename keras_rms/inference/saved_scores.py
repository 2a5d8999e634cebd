"""What an evaluation leaves: the scores of each video, by its name."""

import io
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_ARRAYS = ("keys", "labels", "scores", "class_names")


@dataclass(frozen=True)
class SavedScores:
    """Class probabilities of the videos of a split, each video once.

    Attributes:
        keys: Name of each video in its dataset.
        labels: int (videos,).
        scores: float32 (videos, classes), probabilities averaged over the views.
        class_names: Name of each class, in the order of the scores.

    Raises:
        ValueError: If the arrays do not belong together, a key comes twice, or a score is not a
            number.
    """

    keys: list[str]
    labels: np.ndarray
    scores: np.ndarray
    class_names: list[str]

    def __post_init__(self) -> None:
        videos, classes = len(self.keys), len(self.class_names)
        if (
            self.scores.shape != (videos, classes)
            or self.labels.shape != (videos,)
            or not np.isin(self.labels, np.arange(classes)).all()
        ):
            raise ValueError(
                f"The arrays do not belong together: {videos} videos, {classes} classes, scores "
                f"{self.scores.shape}, labels {np.unique(self.labels)}. Evaluate again."
            )
        if len(set(self.keys)) < videos:
            raise ValueError(f"Each video must come once. Received: {videos} keys, some repeated")
        # The highest of scores that are no numbers would be the first class.
        bad = np.flatnonzero(~np.isfinite(self.scores).all(axis=1))
        if len(bad):
            raise ValueError(
                f"The scores of {len(bad)} of {videos} videos are not finite numbers, those of "
                f"{self.keys[bad[0]]!r} for one: the network's weights have diverged. Evaluate "
                "those of an earlier step, or train again with a lower learning rate."
            )

    def packed(self) -> bytes:
        """As the content of an .npz file, which `read_scores` reads."""
        content = io.BytesIO()
        np.savez_compressed(
            content,
            keys=np.array(self.keys, str),
            labels=self.labels,
            scores=self.scores,
            class_names=np.array(self.class_names, str),
        )
        return content.getvalue()

    @property
    def predicted(self) -> np.ndarray:
        """int (videos,): the class with the highest score."""
        return self.scores.argmax(axis=1)

    def ordered_as(self, other: "SavedScores") -> "SavedScores":
        """These scores with the videos and the classes in the order of `other`.

        Raises:
            ValueError: If the videos, their labels or the classes are not the same.
        """
        _check_same("classes", self.class_names, other.class_names)
        _check_same("videos", self.keys, other.keys)
        place = {key: number for number, key in enumerate(self.keys)}
        rows = [place[key] for key in other.keys]
        columns = self._columns(other.class_names)
        names = np.array(self.class_names, object)[self.labels[rows]]
        others = np.array(other.class_names, object)[other.labels]
        if wrong := [key for key, a, b in zip(other.keys, names, others) if a != b]:
            raise ValueError(
                f"{len(wrong)} videos have another label in the other evaluation, for example "
                f"{wrong[0]!r}. Evaluate both networks on the same converted data."
            )
        scores = self.scores[rows][:, columns]
        return SavedScores(other.keys, other.labels, scores, other.class_names)

    def _columns(self, class_names: list[str]) -> list[int]:
        """The place here of each of the classes."""
        if class_names == self.class_names:  # two of them may have one name, as ImageNet's crane
            return list(range(len(class_names)))
        column = {name: number for number, name in enumerate(self.class_names)}
        if len(column) < len(self.class_names) or len(class_names) != len(column):
            raise ValueError(
                "The two evaluations have their classes in another order, and classes of one name: "
                "they cannot be told apart. Evaluate both networks on the same converted data."
            )
        return [column[name] for name in class_names]


def read_scores(path: str | Path) -> SavedScores:
    """Reads the .npz file of an evaluation.

    Raises:
        ValueError: If it is not one.
        OSError: If it cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            keys, labels, scores, names = (arrays[name] for name in _ARRAYS)
    # A single array (.npy) is no archive.
    except (KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path} must be the .npz file that keras-rms evaluate wrote, with the arrays "
            f"{', '.join(_ARRAYS)}. Received: {type(error).__name__}: {error}"
        ) from error
    try:
        return SavedScores(keys.tolist(), labels.astype(np.int64), scores, names.tolist())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def mean_of(several: Sequence[SavedScores]) -> SavedScores:
    """The ensemble: the mean of the probabilities of several networks.

    Raises:
        ValueError: If they are not of the same videos and classes, or there is none.
    """
    if not several:
        raise ValueError("`several` must hold at least one evaluation. Received: []")
    first = several[0]
    scores = np.mean([each.ordered_as(first).scores for each in several], axis=0)
    return SavedScores(first.keys, first.labels, scores.astype(np.float32), first.class_names)


def _check_same(what: str, own: Sequence[str], others: Sequence[str]) -> None:
    missing, more = set(others) - set(own), set(own) - set(others)
    if missing or more:
        example = sorted(missing or more)[0]
        raise ValueError(
            f"The two evaluations are not of the same {what}: {len(own)} and {len(others)}, "
            f"{len(missing | more)} of them in one only, for example {example!r}. Evaluate both "
            "networks on the same split of the same converted data."
        )
