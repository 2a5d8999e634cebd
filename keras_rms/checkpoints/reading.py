"""Checkpoint files of PyTorch and Caffe2 -> NumPy arrays, without either being installed."""

from __future__ import annotations

import contextlib
import functools
import io
import mmap
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from keras_rms.checkpoints.pickles import RestrictedUnpickler, Storage, Tensor, array_of
from keras_rms.foreign_files import Allowance, foreign_kind

# The first number in the files of PyTorch before 1.6, and of later ones that keep the old form.
LEGACY_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
STATE_KEYS = ("model_state", "state_dict", "model_state_dict", "blobs", "model")


class StoredTensor(NamedTuple):
    """A tensor of a checkpoint whose numbers are not read yet.

    Attributes:
        shape: Its sizes, which the file was seen to have numbers for.
        read: Reads them; raises a `ValueError` if that fails.
    """

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


class _Storages(NamedTuple):
    """Where a file keeps the numbers of its tensors."""

    size: Callable[[Storage], int]  # in elements
    read: Callable[[Storage], np.ndarray]


def read_tensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The parameters and buffers in a checkpoint file, by their own names and in its layout.

    Reads what `torch.save` writes, in the zip form and in the one before PyTorch 1.6, and the
    pickles of Caffe2. Nothing that the file holds is run, whatever it is. Half precisions come as
    float32. It takes at most some ten times the file's size of memory.

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
        ValueError: If the file cannot be read as a checkpoint, holds anything but data, or would
            take more memory or time than its size accounts for.
    """
    with open_tensors(path) as tensors:
        return {name: tensor.read() for name, tensor in tensors.items()}


@contextlib.contextmanager
def open_tensors(path: str | os.PathLike) -> Iterator[dict[str, StoredTensor]]:
    """The same without the numbers, for as long as the file is open.

    Example:

    ```python
    with open_tensors("SLOW_8x8_R50.pyth") as tensors:
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
    ```

    Args:
        path: Of the file.

    Yields:
        A dict from name to `StoredTensor`, in the order of the file.

    Raises:
        ValueError: As `read_tensors`.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise ValueError(
            f"`path` must be a checkpoint file, and there is none. Received: path={path!r}"
        )
    kind = foreign_kind(path)
    if kind is not None:
        raise ValueError(
            f"{path} cannot be read as a checkpoint of PyTorch (.pyth, .pth) or Caffe2 (.pkl): it "
            f"is {kind.name}. {kind.remedy}."
        )
    allowance = Allowance(path)
    with contextlib.ExitStack() as stack:
        with _explained(path):
            contents = _zip_contents if zipfile.is_zipfile(path) else _stream_contents
            value, storages = contents(path, allowance, stack)
            tensors = _stored(_state(value), storages, allowance)
        yield {
            name: StoredTensor(shape, _explained(path)(read))
            for name, (shape, read) in tensors.items()
        }


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    try:
        yield
    # What a damaged or hostile pickle can raise is not bounded by its documentation.
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise ValueError(
            f"{path} cannot be read as a checkpoint of PyTorch (.pyth, .pth) or Caffe2 (.pkl): "
            f"{reason}. If it is whole and trusted, save its state dict alone with torch.save."
        ) from error


def _zip_contents(
    path: str, allowance: Allowance, stack: contextlib.ExitStack
) -> tuple[Any, _Storages]:
    archive = stack.enter_context(zipfile.ZipFile(path))
    names = archive.namelist()
    pickles = [name for name in names if name.rsplit("/", 1)[-1] == "data.pkl"]
    if len(pickles) != 1:
        raise ValueError("it is a zip file, but not one that torch.save wrote")
    folder = pickles[0][: -len("data.pkl")]
    file = io.BytesIO(allowance.read_entry(archive, pickles[0]))
    value = RestrictedUnpickler(file, allowance).load()
    order = f"{folder}byteorder"
    is_big = order in names and allowance.read_entry(archive, order).strip() == b"big"

    def size(storage: Storage) -> int:
        declared = archive.getinfo(f"{folder}data/{storage.key}").file_size
        return declared // storage.dtype.itemsize

    def read(storage: Storage) -> np.ndarray:
        data = allowance.read_entry(archive, f"{folder}data/{storage.key}")
        return np.frombuffer(data, storage.dtype.newbyteorder(">" if is_big else "<"))

    return value, _Storages(size, read)


def _stream_contents(
    path: str, allowance: Allowance, stack: contextlib.ExitStack
) -> tuple[Any, _Storages]:
    # Mapped into memory: however much a read asks for, it gets what the file has.
    handle = stack.enter_context(open(path, "rb"))
    file = stack.enter_context(mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ))
    value = RestrictedUnpickler(file, allowance).load()
    places: dict[str, tuple[int, int]] = {}
    if isinstance(value, int) and value == LEGACY_MAGIC_NUMBER:
        for _ in ("protocol version", "sizes of C types"):
            RestrictedUnpickler(file, allowance).load()
        unpickler = RestrictedUnpickler(file, allowance)
        value = unpickler.load()
        for key in RestrictedUnpickler(file, allowance).load():
            count = int.from_bytes(file.read(8), "little")
            end = file.tell() + count * unpickler.storages[key].dtype.itemsize
            if end > len(file):
                raise ValueError("it ends too early")
            places[key] = file.tell(), count
            file.seek(end)

    def size(storage: Storage) -> int:
        if storage.key not in places:
            raise ValueError(f"it holds no storage {storage.key}")
        return places[storage.key][1]

    def read(storage: Storage) -> np.ndarray:
        position, count = places[storage.key]
        allowance.take(count * storage.dtype.itemsize)
        return np.fromfile(path, storage.dtype.newbyteorder("<"), count, offset=position)

    return value, _Storages(size, read)


def _state(value: Any) -> Mapping[str, Any]:
    """The dict of tensors inside of what a file holds."""
    for key in STATE_KEYS:
        if isinstance(value, Mapping) and isinstance(value.get(key), Mapping):
            return value[key]
    if isinstance(value, Mapping) and any(isinstance(v, Tensor) for v in value.values()):
        return value
    raise ValueError(f"it holds no dict of tensors under any of {', '.join(STATE_KEYS)}")


def _stored(
    state: Mapping[str, Any], storages: _Storages, allowance: Allowance
) -> dict[str, tuple[tuple[int, ...], Callable[[], np.ndarray]]]:
    """The shape of each entry, and what reads it."""
    latest: dict[Storage, np.ndarray] = {}

    def read(tensor: Tensor) -> np.ndarray:
        # Tensors that share a storage follow each other.
        key = tensor.storage._replace(start=0)
        if key not in latest:
            latest.clear()
            latest[key] = storages.read(key)
        numbers = latest[key]
        # The copy, and what becomes of it where it is of half precision.
        allowance.take(3 * tensor.num_elements * numbers.itemsize)
        return tensor.array(numbers)

    found: dict[str, tuple[tuple[int, ...], Callable[[], np.ndarray]]] = {}
    for name, value in state.items():
        if not isinstance(name, (str, int)):
            raise ValueError("it holds a parameter whose name is no text")
        if isinstance(value, Tensor):
            value.check(storages.size(value.storage))
            found[str(name)] = value.shape, functools.partial(read, value)
            continue
        array = array_of(value)
        if array is None:
            raise ValueError(f"its entry {name} is not a tensor")
        found[str(name)] = array.shape, functools.partial(np.asarray, array)
    return found
