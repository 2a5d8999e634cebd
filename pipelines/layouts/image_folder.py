"""Images sorted into one folder a class, as ImageNet's are: `DIR/<split>/<class>/<image>`."""

import dataclasses
import os

from pipelines import annotations
from pipelines.layouts import folder

IMAGE_SUFFIXES = (".jpeg", ".jpg", ".png")
_IMAGES_PER_SHARD = 2048


def image_folder(source: annotations.Source) -> annotations.Listing:
    """Lists `DIR/<split>/<class>/<image>`, or `DIR/<class>/<image>` as the layout `folder` does.

    The folder of a split may have any of its usual names (`val` for `validation`). Class ids follow
    the sorted names of the classes; ImageNet's are in their usual order then.

    Args:
        source: `videos`, `split` and `validation_share` are used.
    """
    names = annotations.SPLIT_NAMES.get(annotations.canonical_split(source.split), (source.split,))
    present = [name for name in names if _holds_folders(os.path.join(source.videos, name))]
    if present:
        source = dataclasses.replace(source, validation_share=0)
    listing = folder.class_folders(source, "image", IMAGE_SUFFIXES, *present[:1])
    return dataclasses.replace(listing, clips_per_shard=_IMAGES_PER_SHARD)


def _holds_folders(path: str) -> bool:
    """Whether this is the folder of a split; there are classes that are called train."""
    return os.path.isdir(path) and any(entry.is_dir() for entry in os.scandir(path))
