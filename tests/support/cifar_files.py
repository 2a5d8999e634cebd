"""CIFAR-100's files for tests, byte for byte as Python 2 and its NumPy pickled the real ones."""

import io
import pickle
import struct
import tarfile

import numpy as np

CLASS_NAMES = [f"class_{number:02d}" for number in range(100)]


def coded_images(count, first=0):
    """Red grows with x and green with y; blue is three times the image's number."""
    images = np.empty((count, 32, 32, 3), np.uint8)
    images[..., 0] = np.linspace(0, 255, 32).round()
    images[..., 1] = np.linspace(0, 255, 32).round()[:, None]
    images[..., 2] = 3 * np.arange(first, first + count)[:, None, None]
    return images


def contents(train=30, test=10):
    """The three pickles, by name; labels are the images' numbers modulo 7."""
    files = {"meta": dumps({b"fine_label_names": _names(), b"coarse_label_names": [b"all"]})}
    for name, count, first in (("train", train, 0), ("test", test, train)):
        planes = coded_images(count, first).transpose(0, 3, 1, 2).reshape(count, -1)
        batch = {
            b"filenames": [b"image_s_%06d.png" % number for number in range(count)],
            b"batch_label": {"train": b"training", "test": b"testing"}[name] + b" batch 1 of 1",
            b"fine_labels": [(first + number) % 7 for number in range(count)],
            b"coarse_labels": [0] * count,
            b"data": planes,
        }
        files[name] = dumps(batch)
    return files


def _names():
    return [name.encode() for name in CLASS_NAMES]


def write_unpacked(folder, files):
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def write_archive(path, files):
    with tarfile.open(path, "w:gz") as archive:
        folder = tarfile.TarInfo("cifar-100-python")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in {"file.txt~": b"", **files}.items():
            member = tarfile.TarInfo(f"cifar-100-python/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def dumps(value):
    """Pickles as Python 2's cPickle does in protocol 2, strings being bytes."""
    return b"\x80\x02" + _Pickler().item(value) + b"."


class _Pickler:
    def __init__(self):
        self.memo = 0

    def kept(self, code):
        self.memo += 1
        short = self.memo < 256
        return code + (b"q" + bytes([self.memo]) if short else b"r" + struct.pack("<I", self.memo))

    def item(self, value):
        if isinstance(value, bytes):
            short = len(value) < 256
            size = b"U" + bytes([len(value)]) if short else b"T" + struct.pack("<i", len(value))
            return self.kept(size + value)
        if isinstance(value, int):
            return pickle.dumps(value, 2)[2:-1]
        if isinstance(value, list):
            return self.kept(b"]") + b"(" + b"".join(map(self.item, value)) + b"e"
        if isinstance(value, dict):
            pairs = (self.item(part) for pair in value.items() for part in pair)
            return self.kept(b"}") + b"(" + b"".join(pairs) + b"u"
        return self.array(value)

    def array(self, value):
        empty = self.kept(b"cnumpy.core.multiarray\n_reconstruct\n") + self.kept(
            b"cnumpy\nndarray\n"
        )
        empty += self.kept(b"K\x00\x85") + self.item(b"b")
        shape = self.kept(b"".join(map(self.item, value.shape)) + b"\x86")
        dtype = self.kept(b"cnumpy\ndtype\n") + self.item(b"u1") + self.kept(b"K\x00K\x01\x87")
        state = b"(K\x03" + self.item(b"|") + b"NNN" + b"J\xff\xff\xff\xff" * 2 + b"K\x00t"
        dtype = self.kept(dtype + b"R") + self.kept(state) + b"b"
        data = self.item(value.tobytes())
        return (
            self.kept(self.kept(empty + b"\x87") + b"R")
            + self.kept(b"(K\x01" + shape + dtype + b"\x89" + data + b"t")
            + b"b"
        )
