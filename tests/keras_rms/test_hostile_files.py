"""Files of weights that ask for much more than their size get little, in memory and in time."""

import contextlib
import os
import struct
import time
import tracemalloc
import zipfile

import foreign_checkpoints as foreign
import h5py
import keras
import numpy as np
import pytest
from mutations import mutated

import keras_rms.models
from keras_rms import foreign_files
from keras_rms.checkpoints import import_checkpoint, inflate, read_tensors
from keras_rms.foreign_files import FACTOR, MARGIN
from keras_rms.models.weights import check_archive, load_weights, read_weights

torch = pytest.importorskip("torch")

# Some ten times what each takes here.
SECONDS = 10


@contextlib.contextmanager
def bounded(path):
    """Within it, memory of ten times the file's size, its margin and that of the steps."""
    tracemalloc.start()
    start = time.process_time()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < FACTOR * os.path.getsize(path) + 2 * MARGIN, f"{peak:,} bytes"
    assert time.process_time() - start < SECONDS


def refused(path, message, read=read_tensors):
    with bounded(path), pytest.raises(ValueError, match=message):
        read(path)


def doubled(times=40):
    """A tuple of a tuple twice, and so on: two bytes each, and no end to look through."""
    return b"K\x01" + b"2\x86" * times


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def dtype(code):
    return b"cnumpy\ndtype\n" + code + b"\x85R"


PICKLES = {
    "the highest number of its memory": (b"Nr\xff\xff\xff\x05", "no dict of tensors"),
    "a byte array": (b"\x96" + struct.pack("<Q", 1 << 36), "byte array"),
    "a long text": (b"\x8d" + struct.pack("<Q", 1 << 40) + b"x", "cannot be read"),
    "a key": (b"}" + doubled() + b"Ns", "tuples within tuples"),
    "keys": (b"}(" + doubled() + b"Nu", "tuples within tuples"),
    "keys of a dict of protocol 0": (b"(" + doubled() + b"Nd", "tuples within tuples"),
    "members": (b"\x8f(" + doubled() + b"\x90", "tuples within tuples"),
    "frozen members": (b"(" + doubled() + b"\x91", "tuples within tuples"),
    "an ordered dict": (
        b"ccollections\nOrderedDict\n](" + doubled() + b"N\x86e\x85R",
        "tuples within tuples",
    ),
    "a storage's name": (
        b"(X\x07\0\0\0storagectorch\nFloatStorage\n" + doubled() + b"NNtQ",
        "whose name is no text",
    ),
    "an array's type": (
        b"cnumpy.core.multiarray\nscalar\n" + dtype(doubled()) + b"C\x04abcd\x86R",
        "array of type ''",
    ),
    "a shape": (
        b"cnumpy.core.multiarray\n_reconstruct\n)R(K\x01"
        + doubled()
        + dtype(text("f4"))
        + b"\x89C\0tb",
        "not a tuple of sizes",
    ),
    "a huge key": (b"}\x8b" + struct.pack("<i", 99) + b"\x7f" * 99 + b"Ns", "huge number"),
}


@pytest.mark.parametrize("kind", PICKLES)
def test_small_pickles(tmp_path, kind):
    content, message = PICKLES[kind]
    path = tmp_path / "x.pkl"
    path.write_bytes(b"\x80\x04" + content + b".")
    refused(path, message)


def test_pickles_of_many_steps(tmp_path, monkeypatch):
    """A byte that makes an object of two hundred."""
    monkeypatch.setattr(foreign_files, "STEPS", 10_000)
    (tmp_path / "x.pkl").write_bytes(b"\x80\x04" + b"\x8f" * 15_000 + b".")
    with pytest.raises(ValueError, match="more steps"):
        read_tensors(tmp_path / "x.pkl")


ENCODE = b"c_codecs\nencode\n"
TWICE = {
    "encoded": ENCODE + b"h\0\x85R0",
    "an array": b"cnumpy.core.multiarray\n_reconstruct\n)R(K\x01K\x00\x85"
    + dtype(text("f4"))
    + b"\x89h\0tb0",
}


@pytest.mark.parametrize("kind", TWICE)
def test_what_is_filed_once_and_copied_often(tmp_path, kind):
    megabyte = text("x" * (1 << 20)) + b"q\0"
    path = tmp_path / "x.pkl"
    path.write_bytes(
        b"\x80\x04" + megabyte + TWICE[kind].replace(b"K\x00\x85", b"J\0\0\4\0\x85") * 300 + b"."
    )
    refused(path, "10 times its size")


def test_tensors_that_share_one_storage(tmp_path):
    storage = torch.zeros(1 << 18)
    path = tmp_path / "x.pth"
    torch.save({f"p{n}": storage.view(2, -1) for n in range(300)}, path)
    refused(path, "10 times its size")
    torch.save({f"p{n}": storage[n : n + 1000] for n in range(200)}, path)
    assert len(read_tensors(path)) == 200


@pytest.mark.parametrize("part", ["data/0", "data.pkl"])
def test_compressed_checkpoints(tmp_path, part):
    path, packed = tmp_path / "x.pth", tmp_path / "packed.pth"
    torch.save({"a": torch.zeros(5)}, path)
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(packed, "w", 8) as target:
        for name in source.namelist():
            more = bytes(24 << 20) if name.endswith(part) else b""
            target.writestr(name, source.read(name) + more)
    refused(packed, "10 times its size")
    # Compressed as such it is read.
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(packed, "w", 8) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    np.testing.assert_array_equal(read_tensors(packed)["a"], np.zeros(5))


def damage(path, place):
    """Flips a byte of an entry of a zip file, which then cannot be read."""
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        entry = next(e for e in archive.infolist() if e.filename.endswith(place))
        # A local header: 30 bytes, the name and the extra field.
        extra = struct.unpack_from("<HH", content, entry.header_offset + 26)
        start = entry.header_offset + 30 + sum(extra)
    content[start] ^= 1
    path.write_bytes(content)


@pytest.fixture(scope="module")
def slow_only():
    model = keras_rms.models.build(
        "slow_only_18", rms=None, width=8, num_classes=7, input_shape=(8, None, None, 3)
    )
    return foreign.tensors(model, foreign.mmaction2, counters=False)


def imported(path, **arguments):
    return import_checkpoint("slow_only_18", path, input_shape=(8, None, None, 3), **arguments)


def test_names_and_shapes_come_before_numbers(tmp_path, slow_only):
    named = {**slow_only, "backbone.layer1.0.conv1.bn.bias": np.zeros(9, "float32")}
    path = foreign.write_torch(tmp_path / "x.pth", named)
    damage(path, "/data/0")
    with pytest.raises(ValueError, match=r"wrong shape: backbone\.layer1\.0\.conv1\.bn\.bias"):
        imported(path)
    damage(foreign.write_torch(path, slow_only), "/data/0")
    with pytest.raises(ValueError, match="Bad CRC"):
        imported(path)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("backbone.conv1.conv.weight", (3000, 3, 1, 1, 1)), ("cls_head.fc_cls.bias", (500_000,))],
)
def test_networks_that_the_file_is_too_small_for_are_not_built(tmp_path, slow_only, name, shape):
    path = foreign.write_torch(tmp_path / "x.pth", {**slow_only, name: np.zeros(shape, "float16")})
    refused(path, "is too small for a network", imported)


def hdf5(path, **options):
    """A weights file of one layer whose array is made as `options` say."""
    with h5py.File(path, "w") as file:
        group = file.create_group("layers/conv/vars")
        group.attrs["name"] = "conv"
        group.create_dataset("0", **options)
    return path


ARRAYS = {
    "never written": {"shape": (1 << 30,), "dtype": "f4", "chunks": (1 << 10,), "compression": 9},
    "a chunk beyond the array": {
        "shape": (3,),
        "maxshape": (None,),
        "dtype": "f4",
        "chunks": (1 << 26,),
        "compression": 9,
    },
    "long texts": {"shape": (1000,), "dtype": "S1000000", "chunks": (1,)},
    "opaque": {"shape": (1000,), "dtype": "V1000000", "chunks": (1,)},
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_of_hdf5(tmp_path, kind):
    path = hdf5(tmp_path / "x.weights.h5", **ARRAYS[kind])
    assert path.stat().st_size < 50_000
    refused(path, "10 times its size|holds no numbers", read_weights)
    archived = tmp_path / "x.keras"
    with zipfile.ZipFile(archived, "w") as archive:
        archive.write(path, "model.weights.h5")
        archive.writestr("config.json", "{}")
    refused(archived, "10 times its size|holds no numbers", read_weights)
    refused(archived, "10 times its size|holds no numbers", lambda p: check_archive(str(p)))


def test_groups_within_themselves(tmp_path):
    path = hdf5(tmp_path / "x.weights.h5", data=np.zeros(3))
    with h5py.File(path, "a") as file:
        file["layers/conv/more"] = file["layers/conv"]
    refused(path, "lies within itself or twice", read_weights)


def test_the_names_of_layers_are_short(tmp_path):
    path = hdf5(tmp_path / "x.weights.h5", data=np.zeros(3))
    with h5py.File(path, "a") as file:
        file["layers/conv/vars"].attrs["name"] = "x" * 2000
    refused(path, "no name of a layer", read_weights)


def test_legacy_files_have_few_layers(tmp_path):
    path = tmp_path / "resnet.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"conv"] * 1001
    refused(path, "layer_names of more than 1000 names", lambda p: inflate("slow_only_50", str(p)))


@pytest.mark.parametrize("entry", ["model.weights.h5", "config.json"])
def test_compressed_archives_of_keras(tmp_path, entry):
    path = tmp_path / "x.keras"
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.save(path)
    with zipfile.ZipFile(path) as source:
        entries = {name: source.read(name) for name in source.namelist()}
    with zipfile.ZipFile(path, "w", 8) as target:
        for name, content in entries.items():
            target.writestr(name, content + (b" " * (24 << 20) if name == entry else b""))
    refused(path, "10 times its size", lambda p: load_weights(model, p))
    refused(path, "10 times its size", lambda p: check_archive(str(p)))


FILES = {
    "safetensors": (
        struct.pack("<Q", 2) + b"{}",
        r"safetensors\. Convert it: torch\.save",
    ),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "gzip": (b"\x1f\x8b\x08\0", "compressed by gzip.*gunzip"),
    "bzip2": (b"BZh91AY", "bunzip2"),
    "xz": (b"\xfd7zXZ\0\0", "unxz"),
    "zstd": (b"\x28\xb5\x2f\xfd\0", "unzstd"),
    "web page": (b"\n<!DOCTYPE html>", "web page.*download the file again"),
    "empty": (b"", "is empty"),
}


@pytest.mark.parametrize("kind", FILES)
def test_other_files_are_named(tmp_path, kind):
    content, message = FILES[kind]
    for name, read in (
        ("x.pth", read_tensors),
        ("x.keras", read_weights),
        ("x.weights.h5", read_weights),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name} cannot be read.*{message}"):
            read(tmp_path / name)
    (tmp_path / "x.pth").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(ValueError, match=r"HDF5\. Its name has to end in \.weights\.h5"):
        read_tensors(tmp_path / "x.pth")


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Small whole files: name, content."""
    folder = tmp_path_factory.mktemp("samples")
    named = {f"p{n}": np.arange(6, dtype="float32").reshape(2, 3) + n for n in range(3)}
    foreign.write_torch(folder / "zip.pth", named)
    foreign.write_torch(folder / "stream.pth", named, legacy=True, epoch=3)
    foreign.write_caffe2(folder / "caffe2.pkl", named)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras_rms.Dropout(0.1)])
    model.save(folder / "network.keras")
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_packed_size_beyond_the_file_takes_no_buffer(tmp_path, samples):
    """The fuzzing below found it: zipfile makes a buffer of what an entry claims to take packed."""
    content = bytearray(samples["zip.pth"])
    # The name's last place is in the archive's directory, behind the start of its entry there.
    entry = content.rindex(b"PK\x01\x02", 0, content.rindex(b"data.pkl"))
    content[entry + 20 : entry + 24] = (1 << 30).to_bytes(4, "little")
    path = tmp_path / "zip.pth"
    path.write_bytes(content)
    with bounded(path), pytest.raises(ValueError, match="unfolds to more than 10 times"):
        read_tensors(path)


def test_an_archive_of_another_version_of_zip_is_refused(tmp_path, samples):
    """The fuzzing below found it."""
    content = bytearray(samples["network.keras"])
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 6] = 134  # the version that is needed to unpack it
    path = tmp_path / "network.keras"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"zip file version 13\.4"):
        read_weights(path)


@pytest.mark.slow
def test_mutated_files(tmp_path, samples):
    """Damaged files are read or refused by a ValueError, within the bounds.

    For longer: KERAS_RMS_FUZZ_SECONDS=60 pytest -k mutated_files. Every file is named by its seed;
    KERAS_RMS_FUZZ_SEED begins elsewhere.
    """
    seconds = float(os.environ.get("KERAS_RMS_FUZZ_SECONDS", "10"))
    first = int(os.environ.get("KERAS_RMS_FUZZ_SEED", "0"))
    end = time.monotonic() + seconds
    seed, refusals = first, 0
    while time.monotonic() < end:
        name = list(samples)[seed % len(samples)]
        path = tmp_path / name
        path.write_bytes(mutated(samples[name], seed))
        read = read_weights if name.endswith(".keras") else read_tensors
        try:
            with bounded(path):
                read(path)
        except ValueError:
            refusals += 1
        except BaseException as error:
            raise AssertionError(
                f"{name} of seed {seed} ended in {error!r}: KERAS_RMS_FUZZ_SEED={seed}"
            ) from error
        seed += 1
    assert 0 < refusals < seed - first, f"{seed - first} files from seed {first}"
