"""The names of the classes of public datasets, in the order of the published networks' outputs.

Kinetics-400: PyTorchVideo's kinetics_classnames.json and mmaction2's label_map_k400.txt agree.
Something-Something-v2: mmaction2's label_map.txt and the dataset's own labels.json agree.
"""

import functools
from pathlib import Path

DATASETS = ("kinetics400", "something_something_v2")


@functools.cache
def class_names(dataset: str) -> tuple[str, ...]:
    """The names of a dataset's classes.

    Example:

    >>> len(class_names("kinetics400")), class_names("kinetics400")[0]
    (400, 'abseiling')

    Args:
        dataset: `"kinetics400"` or `"something_something_v2"`.

    Raises:
        ValueError: If there is no list of that name.
    """
    if dataset not in DATASETS:
        raise ValueError(f"`dataset` must be one of {DATASETS}. Received: dataset={dataset!r}")
    text = Path(__file__).with_name(f"{dataset}.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())
