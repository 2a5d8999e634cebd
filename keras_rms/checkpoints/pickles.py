"""Pickles of arrays and tensors, read without running anything that they hold."""

from __future__ import annotations

import collections
import math
import pickle
from typing import IO, Any, NamedTuple

import ml_dtypes
import numpy as np

STORAGE_DTYPES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
# Training logs and settings that some checkpoints carry beside the tensors: passed over.
PASSED_OVER = ("mmengine", "mmcv", "mmaction", "fvcore", "yacs", "argparse", "pathlib")
ARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
BYTE_ORDERS = {"<": "<", ">": ">", "=": "=", "|": "="}


class Storage(NamedTuple):
    """A block of numbers, filed outside of the pickle under `key`."""

    key: str
    dtype: np.dtype
    start: int = 0


class Tensor(NamedTuple):
    """A view of a storage; offset and strides count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self, numbers: np.ndarray) -> np.ndarray:
        """The tensor's values, given those of its storage.

        Raises:
            ValueError: If it reaches beyond its storage.
        """
        sizes = (self.storage.start, self.offset, *self.shape, *self.strides)
        if len(self.shape) != len(self.strides) or any(
            not isinstance(size, int) or size < 0 for size in sizes
        ):
            raise ValueError(f"a tensor of shape {self.shape} and strides {self.strides}")
        if 0 in self.shape:
            return np.zeros(self.shape, numbers.dtype)
        start = self.storage.start + self.offset
        last = start + sum((n - 1) * step for n, step in zip(self.shape, self.strides))
        # A stride of 0 would let a small file fill the memory.
        if last >= len(numbers) or math.prod(self.shape) > len(numbers):
            raise ValueError(f"a tensor of shape {self.shape} reaches beyond its storage")
        strides = tuple(step * numbers.itemsize for step in self.strides)
        view = np.lib.stride_tricks.as_strided(numbers[start:], self.shape, strides)
        return _plain(np.array(view))


class RestrictedUnpickler(pickle.Unpickler):
    """Unpickles numbers, text, containers, NumPy arrays and PyTorch tensors; refuses the rest.

    No class or function of a checkpoint's choice is ever looked up: the few names that tensors and
    arrays need are answered by the stand-ins of this file, which build nothing but data.

    Example:

    >>> RestrictedUnpickler(io.BytesIO(pickle.dumps({"epoch": 3}))).load()
    {'epoch': 3}

    Args:
        file: Opened for reading bytes.

    Raises:
        pickle.UnpicklingError: From `load`, when the pickle names anything else.
    """

    def __init__(self, file: IO[bytes]) -> None:
        # Files of Python 2 hold byte strings; Latin-1 keeps every byte.
        super().__init__(file, encoding="latin1")
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in STORAGE_DTYPES:
            return _StorageType(np.dtype(STORAGE_DTYPES[name]))
        if module.split(".")[0] in PASSED_OVER:
            return _PassedOver
        module = ARRAY_MODULES[0] if module in ARRAY_MODULES else module
        stand_ins = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch", "Size"): tuple,
            ("torch._utils", "_rebuild_tensor"): self._tensor,
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch._utils", "_rebuild_parameter"): self._parameter,
            ("numpy", "ndarray"): _Array,
            ("numpy", "dtype"): _Dtype,
            (ARRAY_MODULES[0], "_reconstruct"): self._empty_array,
            (ARRAY_MODULES[0], "scalar"): self._scalar,
            ("_codecs", "encode"): self._bytes,
        }
        if (module, name) not in stand_ins:
            raise pickle.UnpicklingError(
                f"it holds {module}.{name}, which has no place in a checkpoint of tensors; nothing "
                "of it was run"
            )
        return stand_ins[module, name]

    def persistent_load(self, pid: Any) -> Storage:
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            raise pickle.UnpicklingError("it refers to something that is not a tensor's storage")
        _, kind, key, _, _, *view = pid
        if not isinstance(kind, _StorageType):
            raise pickle.UnpicklingError("it holds a storage of unknown kind")
        storage = Storage(str(key), kind.dtype)
        self.storages[storage.key] = storage
        # Files older than PyTorch 1.6 may share one storage between views: (key, start, size).
        return storage._replace(start=view[0][1]) if view and view[0] is not None else storage

    def _tensor(self, storage: Any, offset: int, shape: Any, strides: Any, *_: Any) -> Tensor:
        if not isinstance(storage, Storage):
            raise pickle.UnpicklingError("it holds a tensor without a storage")
        return Tensor(storage, offset, tuple(shape), tuple(strides))

    def _parameter(self, tensor: Any, *_: Any) -> Any:
        return tensor

    def _empty_array(self, *_: Any) -> _Array:
        return _Array()

    def _scalar(self, dtype: Any, data: Any) -> Any:
        return _array_of((1, (), dtype, False, data))[()]

    def _bytes(self, text: str, encoding: str = "latin1") -> bytes:
        return _as_bytes(text)


class _StorageType(NamedTuple):
    dtype: np.dtype


class _PassedOver:
    """Takes the place of an object that no tensor depends on, and keeps nothing of it."""

    def __new__(cls, *args: Any, **kwargs: Any) -> _PassedOver:
        return object.__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        pass

    def extend(self, values: Any) -> None:
        pass


class _Dtype:
    """What pickles of a NumPy dtype say: a code such as `f4`, then its byte order."""

    def __init__(self, code: Any = "f4", *_: Any) -> None:
        self.code = str(code).lstrip("<>=|")
        self.order = "="

    def __setstate__(self, state: Any) -> None:
        self.order = BYTE_ORDERS.get(state[1], "=")

    def dtype(self) -> np.dtype:
        if self.code[:1] not in tuple("fiub?") or len(self.code) > 2:
            raise pickle.UnpicklingError(f"it holds an array of type {self.code!r}, not of numbers")
        return np.dtype(self.order + self.code)


class _Array:
    """What pickles of a NumPy array say: version, shape, dtype, order of the axes, bytes."""

    value: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        self.value = _array_of(state)


def _array_of(state: Any) -> np.ndarray:
    _, shape, dtype, is_fortran, data = state
    if not isinstance(dtype, _Dtype):
        raise pickle.UnpicklingError("it holds an array without a type")
    numbers = dtype.dtype()
    flat = np.frombuffer(_as_bytes(data), numbers)
    return _plain(flat.reshape(shape, order="F" if is_fortran else "C"))


def _as_bytes(data: Any) -> bytes:
    if not isinstance(data, (str, bytes)):
        raise pickle.UnpicklingError("it holds an array without bytes")
    return data.encode("latin1") if isinstance(data, str) else data


def array_of(value: Any) -> np.ndarray | None:
    """The array behind a stand-in or a plain number; `None` for other things."""
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, (int, float, np.generic)):
        return np.asarray(value)
    return None


def _plain(array: np.ndarray) -> np.ndarray:
    """In the machine's byte order; half precisions, which not all of NumPy knows, as float32."""
    is_half = array.dtype in (np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))
    return array.astype(np.float32 if is_half else array.dtype.newbyteorder("="))
