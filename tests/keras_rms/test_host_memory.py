"""A batch that memory cannot hold is refused, and how much there is."""

import pytest

from keras_rms.models.training_memory import TrainingMemory
from keras_rms.training import host_memory

GB = 10**9
# Of SlowOnly-50 at 224 pixels.
MEMORY = TrainingMemory(fixed=390_086_592, per_sample=779_828_608)


@pytest.mark.parametrize(
    ("clips", "options"),
    [
        (24, {}),
        (64, {"accumulation": 4}),
        (24, {"replicas": 2}),
    ],
)
def test_what_fits_is_taken(clips, options):
    host_memory.check_fits(MEMORY, clips, available=20 * GB, **options)


@pytest.mark.parametrize(
    ("clips", "options", "available", "said"),
    [
        (
            64,
            {},
            20,
            ["64 clips needs about 50.3 GB", "20.0 GB are free", "=4 (12.9 GB)", "25 clips"],
        ),
        (64, {"accumulation": 2}, 20, ["64 clips in 2 parts needs about 25.3 GB", "=4 (12.9 GB)"]),
        # Of the 13 of each of two replicas no part but each single one is as long as another.
        (26, {"replicas": 2}, 8, ["about 21.1 GB", "=13 (2.3 GB)", "8 clips fit"]),
        (64, {}, 1, ["1.0 GB are free", "Not even one clip fits."]),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(clips, options, available, said):
    with pytest.raises(ValueError, match="the kernel would end the training") as error:
        host_memory.check_fits(MEMORY, clips, available=available * GB, **options)
    for part in [*said, "`width` or smaller frames"]:
        assert part in str(error.value)


def test_a_system_that_does_not_tell_is_trusted(tmp_path, monkeypatch):
    assert host_memory.available_memory(tmp_path) is None
    monkeypatch.setattr(host_memory, "available_memory", lambda: None)
    host_memory.check_fits(MEMORY, 10**6)


def system(root, files):
    """Writes files below `root`, beside those of a machine with 20 GB and a GB of swap."""
    meminfo = f"MemTotal: 24000000 kB\nMemAvailable: {20 * GB // 1024} kB\nSwapFree: 1000000 kB\n"
    for name, text in {"proc/meminfo": meminfo, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


OF_MACHINE = 20 * GB // 1024 * 1024 + 1_024_000_000


def test_of_a_machine_with_its_swap(tmp_path):
    assert host_memory.available_memory(system(tmp_path, {})) == OF_MACHINE
    system(tmp_path, {"proc/meminfo": "MemTotal: 24000000 kB\n"})
    assert host_memory.available_memory(tmp_path) is None


def group(folder, limit, used, cache):
    return {
        f"sys/fs/cgroup/{folder}memory.max": limit,
        f"sys/fs/cgroup/{folder}memory.current": used,
        f"sys/fs/cgroup/{folder}memory.stat": f"anon 5\ninactive_file {cache}\n",
    }


def test_the_tightest_group_around_the_process_counts(tmp_path):
    files = {
        "proc/self/cgroup": "0::/job/step\n",
        **group("job/step/", "max\n", "100\n", 0),
        **group("job/", f"{8 * GB}\n", f"{3 * GB}\n", GB),
        **group("job/step/within/", "1\n", "1\n", 0),  # not around it
    }
    assert host_memory.available_memory(system(tmp_path, files)) == 6 * GB


def test_of_a_container_that_sees_its_own_group_at_the_root(tmp_path):
    files = {"proc/self/cgroup": "0::/host/path\n", **group("", f"{4 * GB}\n", f"{GB}\n", 0)}
    assert host_memory.available_memory(system(tmp_path, files)) == 3 * GB


def test_of_groups_of_the_first_version(tmp_path):
    folder = "sys/fs/cgroup/memory/slurm/job_7"
    files = {
        "proc/self/cgroup": "9:cpuset:/slurm\n4:memory:/slurm/job_7\n0::/\n",
        f"{folder}/memory.limit_in_bytes": f"{10 * GB}\n",
        f"{folder}/memory.usage_in_bytes": f"{4 * GB}\n",
        f"{folder}/memory.stat": f"inactive_file 1\ntotal_inactive_file {2 * GB}\n",
    }
    assert host_memory.available_memory(system(tmp_path, files)) == 8 * GB
