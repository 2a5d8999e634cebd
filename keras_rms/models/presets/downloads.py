"""A publisher's file in Keras's cache: there as a whole, and the same as at first."""

import contextlib
import hashlib
import json
import os
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import keras

from keras_rms.models.presets.catalog import Preset
from keras_rms.whole_files import UNFINISHED, whole_file

_FOLDER = "models/keras_rms"
PATIENCE = 60.0  # seconds without a byte after which a download is given up
_ABANDONED = 24 * 3600  # seconds after which nobody writes an unfinished file any more


class ChangedFileError(ValueError):
    """A download is not the file that it has to be."""


def cache_folder() -> Path:
    """Where downloads and what is made of them are kept: `$KERAS_HOME/models/keras_rms`."""
    home = os.environ.get("KERAS_HOME") or os.path.join("~", ".keras")
    return Path(home).expanduser() / _FOLDER


def downloaded(name: str, preset: Preset) -> tuple[Path, str]:
    """The checkpoint of a preset, from the publisher unless it is in the cache, and its SHA-256.

    Raises:
        ChangedFileError: If it has another checksum than published, or than at the first time.
        OSError: If it cannot be fetched or stored.
    """
    folder = _writable_folder()
    path = folder / preset.file_name
    if not path.exists():
        _fetch(name, preset, path)
    return path, _checked(name, preset, path)


def set_aside(path: Path) -> Path:
    """Renames a file that is not what it should be, so that it is neither used again nor lost."""
    aside = path.with_name(f"refused.{path.name}")
    os.replace(path, aside)
    return aside


def remember(preset: Preset, path: Path, sha256: str) -> None:
    """Notes the checksum of a checkpoint that turned out to be what it should be."""
    note = {"address": preset.address, "sha256": sha256}
    with whole_file(_note_of(path), shared=True) as unfinished:
        unfinished.write_text(json.dumps(note, indent=1), encoding="utf-8")


def _fetch(name: str, preset: Preset, path: Path) -> None:
    _remove_abandoned(path.parent)
    # Under a name of its own: whoever is killed, or is not alone, leaves no half of a file.
    unfinished = f"{UNFINISHED}{secrets.token_hex(4)}.{path.name}"
    try:
        with _patient():
            received = keras.utils.get_file(
                unfinished, preset.address, cache_dir=str(path.parent), cache_subdir="."
            )
        os.replace(received, path)
    except Exception as error:  # get_file raises a bare Exception
        (path.parent / unfinished).unlink(missing_ok=True)
        silent = isinstance(error, TimeoutError)
        why = f"no byte came for {PATIENCE:g} seconds" if silent else error
        raise OSError(
            f"The preset {name} could not be downloaded from {preset.address} ({why}). It is "
            "needed once; after that no network is. Without one fetch the file elsewhere, put it "
            f"there as {path} and call this again."
        ) from error


@contextlib.contextmanager
def _patient() -> Iterator[None]:
    """Sets how long a server may be silent, which get_file leaves to the default of sockets."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _checked(name: str, preset: Preset, path: Path) -> str:
    """The SHA-256 of the file, if it is the published and the remembered one."""
    sha256 = _sha256(path)
    start = preset.sha256_start
    if start and not sha256.startswith(start):
        aside = set_aside(path)
        raise ChangedFileError(
            f"The file of the preset {name} from {preset.address} has the SHA-256 {sha256}; its "
            f"publisher says that it begins with {start}. It was damaged on the way, or is "
            f"another file. It is set aside as {aside}. Call this again to download it anew."
        )
    first = _remembered(path)
    if first not in (None, sha256):
        aside = set_aside(path)
        raise ChangedFileError(
            f"The file of the preset {name} from {preset.address} has changed: its SHA-256 is "
            f"{sha256}, and was {first} when it was first downloaded. It is set aside as "
            f"{aside}. If the publisher says that this is right, delete {_note_of(path)} "
            "and call this again."
        )
    return sha256


def _remembered(path: Path) -> str | None:
    note = _note_of(path)
    try:
        return str(json.loads(note.read_text(encoding="utf-8"))["sha256"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ChangedFileError(
            f"{note}, which remembers the checksum of a download, is damaged ({error!r}). Delete "
            "it, if you trust the publisher's file, and call this again."
        ) from error


def _note_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256.json")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _writable_folder() -> Path:
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"no permission to write in {folder}")
    except OSError as error:
        # get_file would take a folder below /tmp, where others may put files too.
        raise OSError(
            f"Downloads cannot be stored in {folder} ({error}). Set the environment variable "
            "KERAS_HOME to a folder that you may write in."
        ) from error
    return folder


def _remove_abandoned(folder: Path) -> None:
    """Removes what killed processes left long ago."""
    for left in folder.glob(f"{UNFINISHED}*"):
        try:
            if time.time() - left.stat().st_mtime > _ABANDONED:
                left.unlink()
        except OSError:  # another process was faster
            continue
