"""Examples and labels as arrays: what both trainings read of an .npz file, and check of any."""

import zipfile
import zlib
from collections.abc import Sequence

import numpy as np

# uint8 (examples, ...) and a label each, a number or a word.
Labelled = tuple[np.ndarray, np.ndarray]


def from_npz(path: str) -> tuple[Labelled, Labelled]:
    """The arrays x_train, y_train, x_test and y_test of a file that `numpy.savez` wrote.

    Raises:
        ValueError: If the file is damaged or incomplete.
    """
    names = ("x_train", "y_train", "x_test", "y_test")
    try:
        with open(path, "rb") as file, zipfile.ZipFile(file) as members:
            missing = sorted({f"{name}.npy" for name in names} - set(members.namelist()))
        if missing:
            raise ValueError(f"it has no {', '.join(missing)}")
        with np.load(path) as arrays:
            x_train, y_train, x_test, y_test = (arrays[name] for name in names)
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path} is damaged, or no .npz file of {', '.join(names)}: {error}"
        ) from error
    return (x_train, y_train), (x_test, y_test)


def check(source: str, form: Sequence[str], train: Labelled, test: Labelled) -> None:
    """Refuses what a training could not begin with, or its test not end with.

    Args:
        source: Where the arrays come from.
        form: The axes of an example, as "height", "width" and "3".
        train: With labels of any shape, one an example.
        test: The same.

    Raises:
        ValueError: If they have another type, form or number, or if a class cannot be learnt.
    """
    for examples, labels in (train, test):
        is_rgb = examples.ndim == len(form) + 1 and examples.shape[-1] == 3
        if examples.dtype != "uint8" or not is_rgb or not 0 < len(examples) == labels.size:
            raise ValueError(
                f"{source} must have examples to train on and to test, uint8 (examples, "
                f"{', '.join(form)}), with a label each. "
                f"Received: {examples.dtype} {examples.shape} and {labels.size} labels"
            )
    check_classes(train[1], test[1])


def check_classes(labels: np.ndarray, test_labels: np.ndarray) -> None:
    """Refuses a test of what cannot be learnt.

    Args:
        labels: Of the training examples, numbers or words.
        test_labels: Of the test examples.

    Raises:
        ValueError: If a class has test examples only, or if there are fewer than two.
    """
    unknown = np.setdiff1d(test_labels, labels)
    if len(unknown):
        raise ValueError(
            f"Each class must have training examples. {len(unknown)} have test examples only, "
            f"{unknown[0]} for one: leave them out, or split the data otherwise."
        )
    classes = np.unique(labels)
    if len(classes) < 2:
        raise ValueError(f"There must be two classes at least. Received: {classes[0]} alone")
