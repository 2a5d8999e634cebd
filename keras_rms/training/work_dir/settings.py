"""settings.json: what a work folder's run was made with, and whether another run fits it."""

import fcntl
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from keras_rms.training.work_dir.checkpoints import Checkpoints
from keras_rms.training.work_dir.whole_files import write_whole

FILE = "settings.json"
_PACKAGES = ("keras", "tensorflow", "jax", "numpy", "keras_rms")


def provenance(source: str | os.PathLike) -> dict:
    """Versions of the packages and of Python, and the commit of the source, where there is one."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"versions": versions, "git_commit": _commit(Path(source))}


def begun(work_dir: str | os.PathLike) -> bool:
    """Whether the folder holds something of a run: a checkpoint, or the finished network."""
    work_dir = Path(work_dir)
    return (work_dir / "model.keras").exists() or bool(
        Checkpoints(work_dir / "checkpoints", {}).paths()
    )


def earlier(work_dir: str | os.PathLike, made_with: dict) -> list[dict]:
    """The `provenance` of the parts of a run that were made with something else, oldest first.

    Args:
        work_dir: The work folder.
        made_with: The `provenance` of the part to come.
    """
    if not _has_settings_of_a_run(work_dir):
        return []
    before = read(work_dir)
    last = {name: before.get(name) for name in made_with}
    return before.get("earlier", []) + ([] if last == made_with else [last])


def _has_settings_of_a_run(work_dir: str | os.PathLike) -> bool:
    # A run that ended before its first checkpoint leaves the folder to any other.
    return begun(work_dir) and (Path(work_dir) / FILE).exists()


def _commit(source: Path) -> str | None:
    """The commit of `source`, with "+changes" where files differ from it."""
    git = ["git", "-C", str(source)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
        status = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True
        )
    except OSError:  # git is not installed
        return None
    if commit.returncode:
        return None
    return commit.stdout.strip() + ("+changes" if status.stdout.strip() else "")


def read(work_dir: str | os.PathLike) -> dict:
    """The settings of a work folder.

    Raises:
        ValueError: If it holds none.
    """
    path = Path(work_dir) / FILE
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise ValueError(
            f"{path} does not exist: {work_dir} is not the work folder of a training. Give the "
            "folder that was the --work_dir of scripts/train.py."
        ) from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON ({error}). Restore it.") from error


def write(work_dir: str | os.PathLike, settings: dict) -> None:
    """Saves the settings; a reader sees the old file or the new one, never a part."""
    text = json.dumps(settings, indent=2) + "\n"
    write_whole(Path(work_dir) / FILE, lambda file: file.write(text.encode()))


def check_same(work_dir: str | os.PathLike, settings: dict, names: Iterable[str]) -> None:
    """Compares `settings` with those of the run in the folder, if there is one.

    Args:
        work_dir: The work folder.
        settings: Those of the run to come.
        names: Which of them have to be equal.

    Raises:
        ValueError: If one differs; says which and how.
    """
    if not _has_settings_of_a_run(work_dir):
        return
    before = read(work_dir)
    # A setting that an older version did not know is taken as it is now.
    different = [name for name in names if name in before and before[name] != settings.get(name)]
    if different:
        listed = "; ".join(
            f"{name} was {_short(before[name])} and is now {_short(settings.get(name))}"
            for name in different
        )
        raise ValueError(
            f"{work_dir} holds a training with other settings: {listed}. Run it with its own "
            "settings to continue it, or choose another work_dir for this one."
        )


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) < 80 else text[:77] + "..."


class InUseError(ValueError):
    """Another process trains in the folder."""


def lock(work_dir: str | os.PathLike) -> BinaryIO:
    """Claims the folder for this process until the returned file is closed or the process ends.

    Raises:
        InUseError: If another process has it.
    """
    path = Path(work_dir) / ".lock"
    file = open(path, "a+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().decode(errors="replace").strip()
        file.close()
        raise InUseError(
            f"Another training is running in {work_dir} ({holder}). Wait for it, stop it, or "
            "choose another work_dir."
        ) from None
    except OSError:  # a file system without locks; better unprotected than unusable
        return file
    file.truncate(0)
    file.write(f"process {os.getpid()} on {platform.node()}\n".encode())
    file.flush()
    return file
