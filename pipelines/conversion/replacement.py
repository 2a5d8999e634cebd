"""What a conversion would take away from a split that is finished already."""

import dataclasses
import os

from pipelines.conversion.conversion_plan import Plan
from pipelines.shards import split_index
from pipelines.system.text import printable

_SHOWN = 3


def check_nothing_is_replaced(output: str, split: str, plan: Plan) -> None:
    """Refuses a conversion that other settings, or fewer videos, would make another dataset.

    Videos may be added, and those that failed may have gone.

    Args:
        output: Folder of the shards.
        split: Name of the split.
        plan: What is to be in it.

    Raises:
        ValueError: The finished split was made with other settings, or holds videos that are not
            in the plan; says which.
    """
    try:
        index = split_index.load_index(output, split, check_shards=False)
    except ValueError:
        return  # there is no split that anything could read
    # What an older version did not record is taken as it is now.
    changed = [
        f"{name} was {index.conversion[name]} and is now {value}"
        for name, value in dataclasses.asdict(plan.settings).items()
        if name in index.conversion and index.conversion[name] != value
    ]
    planned = {clip.key for clip, _ in plan.clips()}
    gone = [key for key in index.keys if key not in planned]
    if gone:
        names = ", ".join(map(printable, gone[:_SHOWN])) + (", ..." if gone[_SHOWN:] else "")
        changed.append(f"{len(gone)} of its {len(index)} videos would be gone ({names})")
    if changed:
        raise ValueError(
            f"{os.path.join(output, split)} is converted already, and this would replace it: "
            f"{'; '.join(changed)}. Choose another --output, or replace it by --overwrite."
        )
