"""settings.json: what a work folder's run was made with, and whether another run fits it."""

import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from keras_rms.training.work_dir.whole_files import write_whole
from keras_rms.training.work_dir.work_folder import WorkFolder

_PACKAGES = ("keras", "tensorflow", "jax", "numpy", "keras_rms")


def provenance(source: str | os.PathLike) -> dict:
    """Versions of the packages and of Python, and the commit of the folder of the source.

    The commit is None where git does not know the folder, as inside a virtual environment.
    """
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"versions": versions, "git_commit": _commit(Path(source))}


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
    folder = WorkFolder(work_dir)
    return folder.begun and folder.settings.exists()


def _commit(source: Path) -> str | None:
    """The commit of `source`, with "+changes" where files differ from it."""
    try:
        if not _git(source, "ls-files"):
            return None
        changes = _git(source, "status", "--porcelain", "--untracked-files=no")
        return _git(source, "rev-parse", "HEAD") + ("+changes" if changes else "")
    except (OSError, subprocess.CalledProcessError):  # git is not installed, or knows no such place
        return None


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def read(work_dir: str | os.PathLike) -> dict:
    """The settings of a work folder.

    Raises:
        ValueError: If it holds none.
    """
    path = WorkFolder(work_dir).settings
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(
            f"{path} does not exist: {work_dir} is not the work folder of a training. Give the "
            "work_dir of a training that has begun."
        ) from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON ({error}). Restore it.") from error


def write(work_dir: str | os.PathLike, settings: dict) -> None:
    """Saves the settings; a reader sees the old file or the new one, never a part."""
    text = json.dumps(settings, indent=2) + "\n"
    write_whole(WorkFolder(work_dir).settings, lambda file: file.write(text.encode()))


def check_same(
    work_dir: str | os.PathLike,
    settings: dict,
    names: Iterable[str],
    defaults: Mapping[str, object] = MappingProxyType({}),
) -> None:
    """Compares `settings` with those of the run in the folder, if there is one.

    Args:
        work_dir: The work folder.
        settings: Those of the run to come.
        names: Which of them have to be equal.
        defaults: What a folder was made with whose version did not know a setting. Others that it
            did not know are taken as they are now.

    Raises:
        ValueError: If one differs; says which and how.
    """
    if not _has_settings_of_a_run(work_dir):
        return
    before = {**defaults, **read(work_dir)}
    different = [
        name
        for name in names
        if name in before and _numbers(before[name]) != _numbers(settings.get(name))
    ]
    if different:
        listed = "; ".join(
            f"{name} was {_short(before[name])} and is now {_short(settings.get(name))}"
            for name in different
        )
        further = (
            f" It is finished: to train its network further, start from it (init_from={work_dir})."
            if WorkFolder(work_dir).finished
            else ""
        )
        raise ValueError(
            f"{work_dir} holds a training with other settings: {listed}. Run it with its own "
            f"settings to continue it, or choose another work_dir for this one.{further}"
        )


def _numbers(value: object) -> object:
    """`value`, but words that older versions kept for numbers, as ["44", "88"], as these."""
    if not isinstance(value, list):
        return value
    try:
        return [float(each) for each in value]
    except (TypeError, ValueError):
        return value


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) < 80 else text[:77] + "..."
