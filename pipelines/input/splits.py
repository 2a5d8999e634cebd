"""Opening a split: its index, and what reads its videos, by the format of the shards."""

from collections.abc import Callable

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


def reader_of(index: Index | SequenceIndex) -> ClipReader | SequenceReader:
    """What reads the videos of a split inside a tf.data function."""
    return SequenceReader(index) if isinstance(index, SequenceIndex) else ClipReader(index)


def largest_ratio(index: Index | SequenceIndex, side: int) -> int:
    """Largest reduction while decoding that any video of the split can call for."""
    if isinstance(index, SequenceIndex):
        return 8
    height, width = int(index.heights.max()), int(index.widths.max())
    return augmentation.largest_ratio(height, width, side, side)
