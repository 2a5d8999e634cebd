"""Flags that say where results go, which are looked at before any work is done for them.

    _OUTPUT = flags.DEFINE_string("output", "report.html", "Write the page into this file.")
    output_paths.names_file(_OUTPUT)

What cannot be written would otherwise show when the work is done, and lose it.
"""

import os

from absl import flags

_files: list[flags.FlagHolder] = []
_folders: list[flags.FlagHolder] = []


def names_file(*holders: flags.FlagHolder) -> None:
    """Says that each of these flags names a file that is written."""
    _files.extend(holders)


def names_folder(*holders: flags.FlagHolder) -> None:
    """Says that each of these flags names a folder that files are written into."""
    _folders.extend(holders)


def check() -> None:
    """Looks at all of them, once the flags are known; nothing is made.

    Raises:
        ValueError: If there cannot be such a file or folder; names the flag and the remedy.
    """
    for holders, wants_folder in ((_files, False), (_folders, True)):
        for holder in holders:
            if holder.value and (fault := fault_of(holder.value, wants_folder)):
                raise ValueError(f"--{holder.name}={holder.value} {fault}")


def fault_of(path: str, wants_folder: bool) -> str | None:
    """What is wrong with a path to write to, with the remedy; None if nothing is.

    Args:
        path: Folders that are not there yet can be made. Of an object store nothing is known here.
        wants_folder: Whether a folder is to be there, and not a file.
    """
    # Not by `filesystems`, which imports TensorFlow: commands on other backends do without.
    path = path.removeprefix("file://")
    if "://" in path:
        return None
    if not wants_folder and (os.path.isdir(path) or path.endswith("/")):
        return "is a folder, and a file is to be written. Name a file, in it or elsewhere."
    if wants_folder and os.path.lexists(path) and not os.path.isdir(path):
        return "is a file, and a folder is needed. Name another."
    if not wants_folder and os.path.lexists(path):
        return None
    above = os.path.abspath(path)
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    if not os.path.isdir(above):
        return f"lies below {above}, which is a file. Name another place."
    if not os.access(above, os.W_OK):
        return f"cannot be written: there is no permission to write in {above}. Name another place."
    return None
