"""CIFAR-100's files, as its owners publish them and Keras keeps them.

They are pickles, which can run any program when they are read. These are read without running
anything: only what says "an array of bytes" is understood.
"""

import functools
import gzip
import io
import os
import pickle
import tarfile
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, cast

from PIL import Image

from pipelines.frames import encoded_frames, image_file

SIDE = 32
_VALUES = 3 * SIDE * SIDE
_MAX_BYTES = 1 << 29  # three times the largest file
_MAX_UNPACKED = 10  # times the archive, whose images hardly become smaller in it
_SMALL = 1 << 24  # bytes that any archive may unpack to
_FOLDER = "cifar-100-python"
_ARCHIVE = f"{_FOLDER}.tar.gz"
# Below --videos: the files themselves, the unpacked archive, and what Keras makes of it.
_FOLDERS = ("", _FOLDER, f"{_FOLDER}-target/{_FOLDER}")
_BATCHES = ("train", "test")


class Batch(NamedTuple):
    """The images of one of the two files.

    Attributes:
        path: The file they are in, below the folder that was searched.
        first: Number of the first image in that file.
        labels: The fine label of each.
    """

    path: str
    first: int
    labels: list[int]


def read(folder: str, name: str) -> tuple[list[str], Batch]:
    """The names of the 100 classes, and the images of one of the files.

    Args:
        folder: Of `cifar-100-python.tar.gz`, of what it unpacks to, or Keras's `~/.keras/datasets`.
        name: `"train"` or `"test"`.

    Raises:
        ValueError: The files are not there or damaged.
    """
    for inner in _FOLDERS:
        files = {file: os.path.join(folder, inner, file) for file in (*_BATCHES, "meta")}
        if all(map(os.path.isfile, files.values())):
            meta, batch = (_contents(files[file])[0] for file in ("meta", name))
            labels = _labels(batch, files[name])
            return _class_names(meta, labels, files["meta"]), Batch(
                os.path.join(inner, name), 0, labels
            )
    archive = os.path.join(folder, _ARCHIVE)
    if not os.path.isfile(archive):
        raise ValueError(
            f"{folder} has neither {_ARCHIVE} nor the files train, test and meta that it unpacks "
            "to. Give their folder as --videos; keras.datasets.cifar100.load_data() downloads them "
            f"into ~/.keras/datasets. Received: videos={folder}"
        )
    *batches, meta = _contents(archive)
    train, test = (_labels(batch, archive) for batch in batches)
    names = _class_names(meta, train + test, archive)
    return names, Batch(_ARCHIVE, *((0, train) if name == "train" else (len(train), test)))


def read_frames(
    path: str,
    number: int,
    *,
    fps: float = 25,
    short_side: int | None = None,
    quality: int = 1,
    upscale: bool = True,
) -> encoded_frames.EncodedFrames:
    """Encodes one image of a file as a video of one frame.

    Args:
        path: One of the two files, or the archive, whose images are counted through both.
        number: Of the image.
        fps, short_side, quality, upscale: As for `image_file.read_frames`.

    Raises:
        VideoError: The file cannot be read or has no such image.
    """
    try:
        pixels = _pixels(path)
    except ValueError as error:
        raise encoded_frames.VideoError(path, str(error)) from error
    values = pixels[number * _VALUES : (number + 1) * _VALUES]
    if number < 0 or len(values) < _VALUES:
        raise encoded_frames.VideoError(path, f"has no image {number}")
    area = SIDE * SIDE
    planes = [values[start : start + area] for start in range(0, _VALUES, area)]
    channels = [Image.frombytes("L", (SIDE, SIDE), plane) for plane in planes]
    size = encoded_frames.scaled_size(SIDE, SIDE, short_side, upscale)
    return image_file.encode_pixels(Image.merge("RGB", channels), size, quality, fps)


@functools.lru_cache(maxsize=1)
def _pixels(path: str) -> bytes:
    """The values of all images of a file, each image plane by plane."""
    batches = _contents(path)[: len(_BATCHES)]
    for batch in batches:
        _labels(batch, path)
    return b"".join(batch[b"data"].data for batch in batches)


def _contents(path: str) -> list[Any]:
    """What is pickled in a file; of the archive, that of train, test and meta.

    Raises:
        ValueError: The file is damaged, or holds what has no place in it.
    """
    try:
        with open(path, "rb") as file:
            is_archive = file.read(2) == b"\x1f\x8b"
        members = _members(path) if is_archive else [_read(path)]
        return [_Unpickler(io.BytesIO(member), encoding="bytes").load() for member in members]
    except MemoryError:
        raise
    except Exception as error:  # what damage raises depends on where in the file it is
        raise _damaged(path, f"{type(error).__name__}: {error}") from error


def _read(path: str) -> bytes:
    if os.path.getsize(path) > _MAX_BYTES:
        raise ValueError(f"it is larger than {_MAX_BYTES} bytes")
    with open(path, "rb") as file:
        return file.read()


def _members(path: str) -> list[bytes]:
    """The three files of the archive, of which nothing is written to the disk."""
    contents = {}
    wanted = (*_BATCHES, "meta")
    limit = max(_SMALL, _MAX_UNPACKED * os.path.getsize(path))
    # As a stream: going back in a compressed file would decompress it again.
    with (
        gzip.open(path) as unpacked,
        # For a stream tarfile only reads.
        tarfile.open(fileobj=cast(Any, _Bounded(unpacked, limit)), mode="r|") as archive,
    ):
        for member in archive:
            name = os.path.basename(member.name)
            if not member.isfile() or name not in wanted:
                continue
            if member.size > _MAX_BYTES:
                raise ValueError(f"{member.name} is larger than {_MAX_BYTES} bytes")
            file = archive.extractfile(member)
            if file is not None:
                contents[name] = file.read()
    return [contents[name] for name in wanted]


class _Bounded:
    """A file of which no more than so many bytes are read."""

    def __init__(self, file: gzip.GzipFile, limit: int):
        self._file = file
        self._limit = self._left = limit

    def read(self, size: int) -> bytes:
        content = self._file.read(min(size, self._left + 1))
        self._left -= len(content)
        if self._left < 0:
            raise ValueError(f"it unpacks to more than {self._limit} bytes")
        return content


def _labels(batch: Any, path: str) -> list[int]:
    """The labels of a batch whose array of pixels is as it should be."""
    try:
        array, labels = batch[b"data"], batch[b"fine_labels"]
        expected = ((len(labels), _VALUES), len(labels) * _VALUES, False)
        if (array.shape, len(array.data), bool(array.is_fortran)) != expected:
            raise ValueError(f"an array of shape {array.shape} for {len(labels)} labels")
        if array.code not in (b"u1", "u1"):
            raise ValueError(f"an array of {array.code!r}")
        if not isinstance(array.data, bytes) or not all(type(label) is int for label in labels):
            raise ValueError("no array of bytes, or labels that are no numbers")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    return labels


def _class_names(meta: Any, labels: list[int], path: str) -> list[str]:
    try:
        names = [name.decode() for name in meta[b"fine_label_names"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    if not labels or not 0 <= min(labels) <= max(labels) < len(names):
        raise _damaged(path, f"its labels are not those of {len(names)} classes")
    return names


def _damaged(path: str, cause: str) -> ValueError:
    return ValueError(
        f"{path} is damaged or not CIFAR-100's for Python ({cause}). Nothing of it was run. "
        "Download it again."
    )


class _Array:
    """What a pickle says of a NumPy array."""

    shape = code = data = is_fortran = None

    def __setstate__(self, state: tuple) -> None:
        _, self.shape, dtype, self.is_fortran, self.data = state
        self.code = dtype.code


def _from_buffer(data: bytes, dtype: "_Dtype", shape: tuple, order: str) -> _Array:
    """What NumPy writes in protocol 5."""
    array = _Array()
    array.__setstate__((1, shape, dtype, order != "C", data))
    return array


class _Dtype:
    def __init__(self, code: bytes, *_: Any):
        self.code = code

    def __setstate__(self, state: tuple) -> None:
        pass  # byte order and the like, of which bytes have none


class _Unpickler(pickle._Unpickler):
    """Understands text, numbers, lists, dictionaries and arrays of numbers; looks nothing up.

    It is the one in Python and not in C, which reserves memory for what a few bytes announce.
    """

    _STAND_INS = {  # noqa: RUF012
        ("numpy.core.multiarray", "_reconstruct"): lambda *_: _Array(),
        ("numpy._core.multiarray", "_reconstruct"): lambda *_: _Array(),
        ("numpy.core.numeric", "_frombuffer"): _from_buffer,
        ("numpy._core.numeric", "_frombuffer"): _from_buffer,
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Dtype,
    }
    dispatch: ClassVar[dict[int, Callable]] = {
        **pickle._Unpickler.dispatch,
        pickle.BYTEARRAY8[0]: pickle._Unpickler.dispatch[pickle.BINBYTES8[0]],
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._STAND_INS:
            raise pickle.UnpicklingError(f"it holds {module}.{name}, which has no place in it")
        return self._STAND_INS[module, name]
