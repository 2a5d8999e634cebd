"""Whether a training on CPUs fits into memory: the kernel ends one that does not without a word."""

from pathlib import Path

from keras_rms.models.training_memory import TrainingMemory

_GB = 1e9
# Files of a control group: its limit and what it uses, in the kernel's second and first version.
_LIMITS = {"memory.max": "memory.current", "memory.limit_in_bytes": "memory.usage_in_bytes"}


def check_fits(
    memory: TrainingMemory,
    clips: int,
    *,
    replicas: int = 1,
    accumulation: int = 1,
    available: int | None = None,
) -> None:
    """Refuses a batch that memory cannot hold, before the first step tries.

    Args:
        memory: See `training_memory`.
        clips: Of a step, over all replicas of this machine.
        replicas: How many there are; each has the weights.
        accumulation: Parts that each replica takes its clips in.
        available: Bytes; by default `available_memory()`.

    Raises:
        ValueError: If the calculated memory is more than there is; names what would fit.
    """
    available = available_memory() if available is None else available
    memory = TrainingMemory(replicas * memory.fixed, memory.per_sample)
    needed = memory.of(clips // accumulation)
    if available is None or needed <= available:
        return
    parts = "" if accumulation == 1 else f" in {accumulation} parts"
    raise ValueError(
        f"A step of {clips} clips{parts} needs about {needed / _GB:.1f} GB of memory, by "
        f"calculation from the network's activations, and {available / _GB:.1f} GB are free: the "
        f"kernel would end the training. {_remedy(memory, clips, replicas, available)} A smaller "
        "`width` or smaller frames need less memory and, on a CPU, much less time."
    )


def _remedy(memory: TrainingMemory, clips: int, replicas: int, available: int) -> str:
    # Each replica takes as many clips as the others.
    fitting = memory.largest_batch(available) // replicas * replicas
    if not fitting:
        return "Not even one clip fits."
    each = clips // replicas
    parts = next(n for n in range(1, each + 1) if each % n == 0 and clips // n <= fitting)
    return (
        f"Take the same batch in parts by accumulation={parts} "
        f"({memory.of(clips // parts) / _GB:.1f} GB), or a smaller one: {fitting} clips fit."
    )


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes that this process can still take, or None where the system does not tell.

    That is what the machine has, swap included, or less where a control group (a container, a job
    of a cluster) has a limit.

    Args:
        root: The folder of proc/ and sys/.
    """
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    fields = (line.partition(":") for line in lines)
    sizes = {name: int(rest.split()[0]) * 1024 for name, _, rest in fields}
    if "MemAvailable" not in sizes:
        return None
    of_machine = sizes["MemAvailable"] + sizes.get("SwapFree", 0)
    return min([of_machine, *_left_in_groups(root)])


def _left_in_groups(root: Path) -> list[int]:
    """What each control group that this process is in, and those around it, may still take."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    left = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        mount = root / "sys/fs/cgroup" / controllers
        group = mount / path.lstrip("/")
        # In a container the path may be the host's, which is not there.
        for folder in {mount, group, *group.parents}:
            if folder.is_relative_to(mount):
                left += _left_in_group(folder)
    return left


def _left_in_group(folder: Path) -> list[int]:
    left = []
    for limit, used in _LIMITS.items():
        try:
            bytes_limit = int((folder / limit).read_text())  # "max" where there is none
            bytes_used = int((folder / used).read_text())
            statistics = dict(
                line.split() for line in (folder / "memory.stat").read_text().splitlines()
            )
        except (OSError, ValueError):
            continue
        # The kernel gives the cache of files back when memory is short.
        cache = statistics.get("total_inactive_file", statistics.get("inactive_file", 0))
        left.append(bytes_limit - bytes_used + int(cache))
    return left
