"""Checkpoint files of PyTorch and Caffe2 -> NumPy arrays, without either being installed."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from keras_rms.checkpoints.pickles import RestrictedUnpickler, Storage, Tensor, array_of

# The first number in the files of PyTorch before 1.6, and of later ones that keep the old form.
LEGACY_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
STATE_KEYS = ("model_state", "state_dict", "model_state_dict", "blobs", "model")

# From a storage to its numbers.
StorageReader = Callable[[Storage], np.ndarray]


def read_tensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The parameters and buffers in a checkpoint file, by their own names and in its layout.

    Reads what `torch.save` writes, in the zip form and in the one before PyTorch 1.6, and the
    pickles of Caffe2. Nothing that the file holds is run, whatever it is. Half precisions come as
    float32.

    Example:

    ```python
    from keras_rms.checkpoints import read_tensors
    tensors = read_tensors("SLOW_8x8_R50.pyth")
    tensors["blocks.0.conv.weight"].shape  # (64, 3, 1, 7, 7)
    ```

    Args:
        path: Of the file.

    Returns:
        A dict from name to array, in the order of the file.

    Raises:
        ValueError: If the file cannot be read as a checkpoint, or holds anything but data.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise ValueError(
            f"`path` must be a checkpoint file, and there is none. Received: path={path!r}"
        )
    try:
        value, reader = _zip_contents(path) if zipfile.is_zipfile(path) else _stream_contents(path)
        return _arrays(_state(value), reader)
    # What a damaged or hostile pickle can raise is not bounded by its documentation.
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise ValueError(
            f"{path} cannot be read as a checkpoint of PyTorch (.pyth, .pth) or Caffe2 (.pkl): "
            f"{reason}. If it is whole and trusted, save its state dict alone with torch.save."
        ) from error


def _zip_contents(path: str) -> tuple[Any, StorageReader]:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        pickles = [name for name in names if name.rsplit("/", 1)[-1] == "data.pkl"]
        if len(pickles) != 1:
            raise ValueError("it is a zip file, but not one that torch.save wrote")
        folder = pickles[0][: -len("data.pkl")]
        with archive.open(pickles[0]) as file:
            value = RestrictedUnpickler(file).load()
        order = f"{folder}byteorder"
        is_big = order in names and archive.read(order).strip() == b"big"

    def read(storage: Storage) -> np.ndarray:
        with zipfile.ZipFile(path) as archive:
            data = archive.read(f"{folder}data/{storage.key}")
        return np.frombuffer(data, storage.dtype.newbyteorder(">" if is_big else "<"))

    return value, read


def _stream_contents(path: str) -> tuple[Any, StorageReader]:
    with open(path, "rb") as file:
        value = RestrictedUnpickler(file).load()
        if value != LEGACY_MAGIC_NUMBER:
            return value, _no_storage
        for _ in ("protocol version", "sizes of C types"):
            RestrictedUnpickler(file).load()
        unpickler = RestrictedUnpickler(file)
        value = unpickler.load()
        places = {}
        for key in RestrictedUnpickler(file).load():
            size = int.from_bytes(file.read(8), "little")
            places[str(key)] = file.tell(), size
            file.seek(size * unpickler.storages[str(key)].dtype.itemsize, os.SEEK_CUR)

    def read(storage: Storage) -> np.ndarray:
        position, size = places[storage.key]
        numbers = np.fromfile(path, storage.dtype.newbyteorder("<"), size, offset=position)
        if len(numbers) != size:
            raise ValueError("it ends too early")
        return numbers

    return value, read


def _no_storage(storage: Storage) -> np.ndarray:
    raise ValueError(f"it holds no storage {storage.key}")


def _state(value: Any) -> Mapping[str, Any]:
    """The dict of tensors inside of what a file holds."""
    for key in STATE_KEYS:
        if isinstance(value, Mapping) and isinstance(value.get(key), Mapping):
            return value[key]
    if isinstance(value, Mapping) and any(isinstance(v, Tensor) for v in value.values()):
        return value
    raise ValueError(f"it holds no dict of tensors under any of {', '.join(STATE_KEYS)}")


def _arrays(state: Mapping[str, Any], reader: StorageReader) -> dict[str, np.ndarray]:
    arrays = {}
    for name, value in state.items():
        array: np.ndarray | None
        if isinstance(value, Tensor):
            array = value.array(reader(value.storage))
        else:
            array = array_of(value)
        if array is None:
            raise ValueError(f"its entry {name} is not a tensor")
        arrays[str(name)] = array
    return arrays
