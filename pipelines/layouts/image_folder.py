"""Images sorted into one folder a class, as ImageNet's are: `DIR/<split>/<class>/<image>`."""

import dataclasses

from pipelines.layouts import annotations
from pipelines.layouts.folder import split_folders

IMAGE_SUFFIXES = (".jpeg", ".jpg", ".png")
_IMAGES_PER_SHARD = 2048


def image_folder(source: annotations.Source) -> annotations.Listing:
    """Lists `DIR/<split>/<class>/<image>`, or `DIR/<class>/<image>` as the layout `folder` does.

    The folder of a split may have any of its usual names (`val` for `validation`). Class ids follow
    the sorted names of the classes; ImageNet's are in their usual order then.

    Args:
        source: `videos`, `split` and `validation_share` are used.

    Raises:
        ValueError: There is no image, or the split's folder holds images and another's classes.
    """
    listing = split_folders(source, "image", IMAGE_SUFFIXES)
    return dataclasses.replace(listing, clips_per_shard=_IMAGES_PER_SHARD)
