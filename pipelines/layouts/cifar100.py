"""CIFAR-100, from the file of its owners or Keras's copy of it."""

import functools
from collections.abc import Iterator

from pipelines.frames import cifar_file
from pipelines.layouts import annotations

_FILES = {"train": "train", "validation": "test", "test": "test"}
_IMAGES_PER_SHARD = 4096


def cifar100(source: annotations.Source) -> annotations.Listing:
    """Lists `train`, or `test` (also called `validation`), with the 100 fine labels.

    Args:
        source: `videos` is the folder of `cifar-100-python.tar.gz` or of what it unpacks to, or
            Keras's `~/.keras/datasets`.
    """
    name = _FILES.get(annotations.canonical_split(source.split))
    if name is None:
        raise ValueError(f"CIFAR-100 has the splits train and test. Received: split={source.split}")
    class_names, batch = cifar_file.read(source.videos, name)
    return annotations.Listing(
        annotations.check_class_names(class_names, source.videos),
        functools.partial(_clips, name, batch),
        clips_per_shard=_IMAGES_PER_SHARD,
    )


def _clips(name: str, batch: cifar_file.Batch) -> Iterator[annotations.Clip]:
    for number, label in enumerate(batch.labels):
        start = batch.first + number
        yield annotations.Clip(f"{name}/{number:05d}", batch.path, label, start)
