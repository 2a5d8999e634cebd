"""Images sorted into one folder a class, as ImageNet's are: `DIR/<split>/<class>/<image>`."""

import dataclasses
import os
from collections.abc import Sequence

from pipelines.layouts import annotations, folder

IMAGE_SUFFIXES = (".jpeg", ".jpg", ".png")
_IMAGES_PER_SHARD = 2048


def image_folder(source: annotations.Source) -> annotations.Listing:
    """Lists `DIR/<split>/<class>/<image>`, or `DIR/<class>/<image>` as the layout `folder` does.

    The folder of a split may have any of its usual names (`val` for `validation`). Class ids follow
    the sorted names of the classes; ImageNet's are in their usual order then.

    Args:
        source: `videos`, `split` and `validation_share` are used.

    Raises:
        ValueError: there is no image, or the split's folder holds images and another's classes.
    """
    names = annotations.SPLIT_NAMES.get(annotations.canonical_split(source.split), (source.split,))
    present = [name for name in names if _holds_folders(os.path.join(source.videos, name))]
    if not present:
        _check_no_flat_split(source.videos, names)
    if present:
        source = dataclasses.replace(source, validation_share=0)
    listing = folder.class_folders(source, "image", IMAGE_SUFFIXES, *present[:1])
    return dataclasses.replace(listing, clips_per_shard=_IMAGES_PER_SHARD)


def _holds_folders(path: str) -> bool:
    """Whether this is the folder of a split; there are classes that are called train."""
    return os.path.isdir(path) and any(entry.is_dir() for entry in os.scandir(path))


def _check_no_flat_split(videos: str, names: Sequence[str]) -> None:
    """Refuses ImageNet's validation images as they come, which would be a class of their own."""
    flat = [name for name in names if os.path.isdir(os.path.join(videos, name))]
    others = {name for each in annotations.SPLIT_NAMES.values() for name in each} - {*names}
    if flat and any(_holds_folders(os.path.join(videos, name)) for name in others):
        raise ValueError(
            f"{os.path.join(videos, flat[0])} holds no folder a class, as another split does. Sort "
            "its images into folders of their classes."
        )
