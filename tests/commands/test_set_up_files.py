"""scripts/setup.sh, slurm.sbatch and the Dockerfile, as far as one can tell without a cluster."""

import configparser
import os
import re
import signal
import subprocess
import time

import pytest
from paths import ROOT

EXTRAS = configparser.ConfigParser()
EXTRAS.read(ROOT / "setup.cfg")


def executable(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/usr/bin/env bash\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def cluster(tmp_path):
    """An environment whose srun ends with $STATUS, and whose scontrol writes down its words."""
    executable(tmp_path / "bin/srun", f'echo "$@" >{tmp_path}/srun; exec bash -c "$RUN"')
    executable(tmp_path / "bin/scontrol", f'echo "$@" >{tmp_path}/scontrol; exit "${{FAILS:-0}}"')
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "SLURM_JOB_ID": "41", "SLURM_CPUS_PER_TASK": "32"}


def sbatch(variables, *words):
    return ["bash", "scripts/slurm.sbatch", *words], {"cwd": ROOT, "env": variables}


@pytest.mark.parametrize(
    ("status", "requeued", "ends_with"),
    [
        (0, False, 0),
        (1, False, 1),
        (75, True, 0),
        (76, True, 0),
        (77, False, 77),
        (137, False, 137),
        (143, True, 0),
    ],
)
def test_what_can_continue_goes_back_into_the_queue(tmp_path, cluster, status, requeued, ends_with):
    words, options = sbatch({**cluster, "RUN": f"exit {status}"}, "--data=a b", "--work_dir=c")
    assert subprocess.run(words, **options).returncode == ends_with
    started = (tmp_path / "srun").read_text()
    assert started == ("--cpus-per-task=32 .venv/bin/keras-rms train --data=a b --work_dir=c\n")
    assert (tmp_path / "scontrol").exists() == requeued
    if requeued:
        assert (tmp_path / "scontrol").read_text() == "requeue 41\n"


def test_a_job_that_may_not_be_requeued_keeps_its_status(cluster):
    words, options = sbatch({**cluster, "RUN": "exit 75", "FAILS": "1"})
    assert subprocess.run(words, **options).returncode == 75


def test_the_script_outlives_the_signal_that_tells_the_training_to_save(tmp_path, cluster):
    save = f"touch {tmp_path}/begun; sleep 1; exit 75"
    words, options = sbatch({**cluster, "RUN": save})
    process = subprocess.Popen(words, **options)
    while not (tmp_path / "begun").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert (tmp_path / "scontrol").exists()


def test_a_job_has_one_task_on_a_node():
    text = (ROOT / "scripts/slurm.sbatch").read_text()
    assert re.search(r"^#SBATCH --ntasks-per-node=1$", text, re.MULTILINE)
    assert re.search(r"^#SBATCH --requeue$", text, re.MULTILINE)


def test_an_extra_that_does_not_exist_is_refused_before_anything_is_made(tmp_path):
    result = subprocess.run(
        ["bash", "scripts/setup.sh", "test,and-cud"],
        cwd=ROOT,
        env={**os.environ, "VENV": str(tmp_path / "venv")},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1 and not (tmp_path / "venv").exists()
    assert result.stderr == (
        "error: There is no extra 'and-cud'. setup.cfg lists all under [options.extras_require].\n"
    )


def test_the_extra_of_gpus_is_tensorflows():
    assert EXTRAS["options.extras_require"]["and-cuda"].split()[-1] == "tensorflow[and-cuda]"


def test_the_dockerfile_copies_what_there_is_and_installs_an_extra_that_exists():
    text = (ROOT / "scripts/Dockerfile").read_text()
    copied = [name for line in re.findall(r"^COPY (.*)$", text, re.M) for name in line.split()[:-1]]
    assert {"keras_rms", "pipelines", "scripts", "setup.cfg", "setup.py"} <= set(copied)
    assert all((ROOT / name).exists() for name in copied)
    (extra,) = re.findall(r"^ARG EXTRAS=\[(.*)\]$", text, re.MULTILINE)
    assert extra in EXTRAS["options.extras_require"]
