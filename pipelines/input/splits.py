"""Opening a split: its index, and what reads its videos, by the format of the shards."""

import logging
import os
from collections.abc import Callable, Mapping

from pipelines.input import augmentation
from pipelines.input.clip_reader import ClipReader
from pipelines.input.sequence_examples import SequenceIndex, SequenceReader, load_sequence_index
from pipelines.shards.split_index import Index, load_index

# Formats by name, and how to load the index of a split.
FORMATS: dict[str, Callable[[str, str], Index | SequenceIndex]] = {
    "records": load_index,
    "sequence_example": load_sequence_index,
}


def open_split(data_dir: str, split: str, format: str = "records") -> Index | SequenceIndex:
    """The videos of a split: `keys`, `class_names` and `len()` of the result tell of them.

    Example:

    ```python
    index = open_split("data/kinetics400", "train")
    len(index), len(index.class_names)  # videos, classes
    ```

    Args:
        data_dir: A folder of shards, local or e.g. `gs://`.
        split: Name of the split.
        format: `"records"`, which `keras-rms convert` writes, or `"sequence_example"`, the
            shards of DMVR and the TensorFlow Model Garden.

    Raises:
        ValueError: If the format is unknown or the data cannot be read.
    """
    if format not in FORMATS:
        raise ValueError(f"`format` must be one of {sorted(FORMATS)}. Received: format={format!r}")
    return FORMATS[format](data_dir, split)


def check_conversion(
    index: Index | SequenceIndex, expected: Mapping[str, object], of: str, allowed: bool = False
) -> None:
    """Compares how a split was converted with what a network is or will be trained on.

    Clips of another frame rate or size are not what the network knows, and its accuracy on them is
    another one: 44 % where it is 74 %, in one case of 5 frames a second in the place of 25.

    Args:
        index: The split, from `open_split`.
        expected: `conversion` of the other split; empty where it is not known.
        of: What the other one is, for the message.
        allowed: Whether a difference is a warning only.

    Raises:
        ValueError: If they differ and that is not allowed; says in what.
    """
    own, name = index.conversion, os.path.join(index.data_dir, index.split)
    if expected and not own:
        logging.warning(
            "%s does not say how it was converted: make sure that it is as %s.", name, of
        )
    differing = {key: value for key, value in expected.items() if own.get(key, value) != value}
    if not differing:
        return
    listed = "; ".join(f"{key} is {own[key]} and not {value}" for key, value in differing.items())
    message = f"{name} was converted otherwise than {of}: {listed}."
    if not allowed:
        flags = " ".join(f"--{key}={value or 0}" for key, value in differing.items())
        raise ValueError(
            f"{message} Accuracies on it would be lower for that alone. Convert its videos with "
            f"{flags}, or take it as it is with --allow_other_conversion."
        )
    logging.warning("%s", message)


def reader_of(index: Index | SequenceIndex) -> ClipReader | SequenceReader:
    """What reads the videos of a split inside a tf.data function."""
    return SequenceReader(index) if isinstance(index, SequenceIndex) else ClipReader(index)


def largest_ratio(index: Index | SequenceIndex, side: int) -> int:
    """Largest reduction while decoding that any video of the split can call for."""
    if isinstance(index, SequenceIndex):
        return 8
    height, width = int(index.heights.max()), int(index.widths.max())
    return augmentation.largest_ratio(height, width, side, side)
