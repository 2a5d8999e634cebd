"""What a conversion would take away from a split that is finished already."""

import os

from pipelines.conversion import shard_conversion
from pipelines.conversion.conversion_plan import Plan
from pipelines.shards import split_index
from pipelines.system import filesystems
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
        ValueError: The split, finished or begun, was made with other settings, or holds videos
            that are not in the plan; says which.
    """
    try:
        index = split_index.load_index(output, split, check_shards=False)
    except ValueError:  # there is no split that anything could read
        _check_begun(output, split, plan)
        return
    changed = plan.settings.differing(index.conversion)
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


def _check_begun(output: str, split: str, plan: Plan) -> None:
    """Raises ValueError if shards, of a run that was stopped or of other parts, are of others."""
    reports = {
        os.path.basename(shard_conversion.report_path(plan.shard_path(number)))
        for number in range(plan.num_shards)
    }
    # One speaks for all: each run compared its settings with an earlier one.
    for name in sorted(reports & filesystems.names(output)):
        recorded = shard_conversion.recorded_settings(os.path.join(output, name))
        if recorded is None:
            continue
        if changed := plan.settings.differing(recorded):
            raise ValueError(
                f"{os.path.join(output, split)} is converted already in part, and otherwise: "
                f"{'; '.join(changed)}. Go on with the same settings, choose another --output, or "
                "replace it by --overwrite."
            )
        return
