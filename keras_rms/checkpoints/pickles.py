"""Pickles of arrays and tensors, read without running anything that they hold.

Nor may a small pickle take much memory or time. What the reader does is counted: steps, and bytes
that are copied. What doubles with each step, as a tuple of a tuple twice does, is never followed: a
key of a dict holds no tuples, and whatever is turned into text was seen to be a text or a number.
"""

from __future__ import annotations

import collections
import math
import pickle
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import ml_dtypes
import numpy as np

from keras_rms.foreign_files import Allowance

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
MAX_RANK = 32
# Python's own reader, whose parts are not in its type.
_Unpickler: Any = pickle._Unpickler


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

    @property
    def num_elements(self) -> int:
        return math.prod(self.shape)

    def check(self, size: int) -> None:
        """Raises a `ValueError` if the tensor reaches beyond a storage of `size` elements."""
        sizes = (self.storage.start, self.offset, *self.shape, *self.strides)
        if len(self.shape) != len(self.strides) or min(sizes) < 0:
            raise ValueError(f"a tensor of shape {self.shape} and strides {self.strides}")
        steps = sum((n - 1) * step for n, step in zip(self.shape, self.strides))
        reach = 0 if 0 in self.shape else self.storage.start + self.offset + steps + 1
        # A stride of 0 would let a small file fill the memory.
        if reach > size or self.num_elements > size:
            raise ValueError(f"a tensor of shape {self.shape} reaches beyond its storage")

    def array(self, numbers: np.ndarray) -> np.ndarray:
        """The tensor's values, given those of its storage, which `check` has seen to be enough."""
        if 0 in self.shape:
            return np.zeros(self.shape, numbers.dtype)
        start = self.storage.start + self.offset
        strides = tuple(step * numbers.itemsize for step in self.strides)
        view = np.lib.stride_tricks.as_strided(numbers[start:], self.shape, strides)
        return _plain(np.array(view))


class _Counted:
    """A file whose reads are counted, one or more for each step of a pickle."""

    def __init__(self, file: Any, allowance: Allowance | None) -> None:
        self._file = file
        self._step = allowance.step if allowance else lambda: None

    def read(self, size: int) -> bytes:
        self._step()
        return self._file.read(size)

    def readline(self) -> bytes:
        self._step()
        return self._file.readline()


class RestrictedUnpickler(_Unpickler):
    """Unpickles numbers, text, containers, NumPy arrays and PyTorch tensors; refuses the rest.

    No class or function of a checkpoint's choice is ever looked up: the few names that tensors and
    arrays need are answered by the stand-ins of this file, which build nothing but data.

    Example:

    >>> RestrictedUnpickler(io.BytesIO(pickle.dumps({"epoch": 3}))).load()
    {'epoch': 3}

    Args:
        file: Opened for reading bytes, whose `read` takes no more memory than there are bytes left.
        allowance: What reading may take, without a bound if `None`.

    Raises:
        pickle.UnpicklingError: From `load`, when the pickle names anything else.
        TooLargeError: From `load`, when it takes more than it may.
    """

    # Python's own reader keeps what it remembers in a dict. C's keeps a list as long as the highest
    # number, which nine bytes can make fill the memory.
    dispatch: ClassVar = dict(_Unpickler.dispatch)

    def __init__(self, file: Any, allowance: Allowance | None = None) -> None:
        # Files of Python 2 hold byte strings; Latin-1 keeps every byte.
        super().__init__(_Counted(file, allowance), encoding="latin1")
        self.storages: dict[str, Storage] = {}
        self.allowance = allowance

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in STORAGE_DTYPES:
            return _StorageType(np.dtype(STORAGE_DTYPES[name]))
        if module.split(".")[0] in PASSED_OVER:
            return _PassedOver
        module = ARRAY_MODULES[0] if module in ARRAY_MODULES else module
        stand_ins = {
            ("collections", "OrderedDict"): self._ordered_dict,
            ("torch", "Size"): _sizes,
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
        if not isinstance(key, (str, int)):
            raise pickle.UnpicklingError("it holds a storage whose name is no text")
        storage = Storage(str(key), kind.dtype)
        self.storages[storage.key] = storage
        # Files older than PyTorch 1.6 may share one storage between views: (key, start, size).
        if not view or view[0] is None:
            return storage
        return storage._replace(start=_sizes(view[0][1:2])[0])

    def _tensor(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
        if not isinstance(storage, Storage):
            raise pickle.UnpicklingError("it holds a tensor without a storage")
        return Tensor(storage, _sizes((offset,))[0], _sizes(shape), _sizes(strides))

    def _ordered_dict(self, pairs: Any = ()) -> collections.OrderedDict:
        self._count_steps(len(pairs))
        ordered: collections.OrderedDict = collections.OrderedDict()
        for key, value in pairs:
            ordered[self._key(key)] = value
        return ordered

    def _parameter(self, tensor: Any, *_: Any) -> Any:
        return tensor

    def _empty_array(self, *_: Any) -> _Array:
        return _Array(self._count_bytes)

    def _scalar(self, dtype: Any, data: Any) -> Any:
        return _array_of((1, (), dtype, False, data), self._count_bytes)[()]

    def _bytes(self, text: str, encoding: str = "latin1") -> bytes:
        self._count_bytes(_length(text))
        return _as_bytes(text)

    def _count_bytes(self, num_bytes: int) -> None:
        if self.allowance:
            self.allowance.take(num_bytes)

    def _count_steps(self, count: int) -> None:
        if self.allowance:
            self.allowance.step(count)

    def _key(self, key: Any) -> Any:
        """The key of a dict, or member of a set, whose hash is seen to be cheap."""
        if isinstance(key, tuple):
            self._count_steps(len(key))
            parts = key
        else:
            parts = (key,)
        if any(isinstance(part, tuple) or _is_long(part) for part in parts):
            raise pickle.UnpicklingError("it holds a key of tuples within tuples, or a huge number")
        return key

    # The operations of a pickle that would copy, hash or set aside more than their own bytes.

    def load_frame(self) -> None:
        self.read(8)  # a hint at how much to read ahead, which is not needed

    dispatch[pickle.FRAME[0]] = load_frame

    def load_bytearray8(self) -> None:
        raise pickle.UnpicklingError("it holds a byte array, which has no place in a checkpoint")

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8

    def load_build(self) -> None:
        state, value = self.stack.pop(), self.stack[-1]
        # Others, such as the dict of parameters, have a state that no tensor depends on.
        if isinstance(value, (_Array, _Dtype, _PassedOver)):
            value.__setstate__(state)

    dispatch[pickle.BUILD[0]] = load_build

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.stack[-1][self._key(key)] = value

    dispatch[pickle.SETITEM[0]] = load_setitem

    def load_setitems(self) -> None:
        items = self.pop_mark()
        for key, value in zip(items[::2], items[1::2]):
            self.stack[-1][self._key(key)] = value

    dispatch[pickle.SETITEMS[0]] = load_setitems

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({self._key(key): value for key, value in zip(items[::2], items[1::2])})

    dispatch[pickle.DICT[0]] = load_dict

    def load_additems(self) -> None:
        members = self.pop_mark()
        for member in members:
            self.stack[-1].add(self._key(member))

    dispatch[pickle.ADDITEMS[0]] = load_additems

    def load_frozenset(self) -> None:
        self.append(frozenset(self._key(member) for member in self.pop_mark()))

    dispatch[pickle.FROZENSET[0]] = load_frozenset


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
        self.code = code[:16].lstrip("<>=|") if isinstance(code, str) else ""
        self.order = "="

    def __setstate__(self, state: Any) -> None:
        self.order = BYTE_ORDERS.get(state[1], "=") if isinstance(state[1], str) else "="

    def dtype(self) -> np.dtype:
        if self.code[:1] not in tuple("fiub?") or len(self.code) > 2:
            raise pickle.UnpicklingError(f"it holds an array of type {self.code!r}, not of numbers")
        return np.dtype(self.order + self.code)


class _Array:
    """What pickles of a NumPy array say: version, shape, dtype, order of the axes, bytes."""

    def __init__(self, count_bytes: Callable[[int], None]) -> None:
        self.value: np.ndarray | None = None
        self._count_bytes = count_bytes

    def __setstate__(self, state: Any) -> None:
        self.value = _array_of(state, self._count_bytes)


def _array_of(state: Any, count_bytes: Callable[[int], None]) -> np.ndarray:
    _, shape, dtype, is_fortran, data = state
    if not isinstance(dtype, _Dtype):
        raise pickle.UnpicklingError("it holds an array without a type")
    numbers = dtype.dtype()
    count_bytes(2 * _length(data))  # as bytes, and as the array
    flat = np.frombuffer(_as_bytes(data), numbers)
    return _plain(flat.reshape(_sizes(shape), order="F" if is_fortran else "C"))


def _sizes(values: Any) -> tuple[int, ...]:
    """A shape, strides or an offset, without following what the tuple may hold instead."""
    valid = isinstance(values, (tuple, list)) and len(values) <= MAX_RANK
    if not valid or not all(isinstance(value, int) and not _is_long(value) for value in values):
        raise pickle.UnpicklingError("it holds a tensor whose shape is not a tuple of sizes")
    return tuple(values)


def _is_long(value: Any) -> bool:
    """Whether this is a number beyond all sizes, whose arithmetic takes time."""
    return isinstance(value, int) and value.bit_length() > 64


def _length(data: Any) -> int:
    return len(data) if isinstance(data, (str, bytes)) else 0


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
