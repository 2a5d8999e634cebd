"""Checkpoint files give their arrays, damaged and hostile ones an error, and none runs code."""

import collections
import io
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest

from keras_rms.checkpoints import read_tensors
from keras_rms.checkpoints.pickles import RestrictedUnpickler

torch = pytest.importorskip("torch")
FORMS = [True, False]


def save(path, value, zipped):
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    return path


@pytest.mark.parametrize("zipped", FORMS)
def test_tensors_of_every_type_and_layout(tmp_path, zipped):
    base = torch.arange(24.0).reshape(4, 6)
    state = collections.OrderedDict(
        plain=torch.arange(6.0).reshape(2, 3),
        view_of_a_larger_storage=base[1:3, 2:5].t(),
        shares_that_storage=base[0],
        parameter=torch.nn.Parameter(torch.full((3,), 2.0)),
        double=torch.linspace(0, 1, 4, dtype=torch.float64),
        half=torch.tensor([1.5, -2.0]).half(),
        bfloat16=torch.tensor([1.5, -2.0]).bfloat16(),
        counter=torch.tensor(3),
        empty=torch.zeros(0, 3),
        flag=torch.tensor([True, False]),
    )
    state._metadata = {"": {"version": 1}}
    got = read_tensors(save(tmp_path / "x.pth", {"state_dict": state, "meta": {}}, zipped))
    assert list(got) == list(state)
    for name, tensor in state.items():
        is_half = tensor.dtype in (torch.float16, torch.bfloat16)
        expected = (tensor.float() if is_half else tensor).detach().numpy()
        np.testing.assert_array_equal(got[name], expected)
        assert got[name].dtype == expected.dtype


def test_big_endian_archive(tmp_path):
    path = save(tmp_path / "x.pth", {"state_dict": {"a": torch.arange(3.0)}}, True)
    swapped = tmp_path / "big.pth"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(swapped, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith("byteorder"):
                data = b"big"
            if "/data/" in name:
                data = np.frombuffer(data, "<f4").astype(">f4").tobytes()
            target.writestr(name, data)
    np.testing.assert_array_equal(read_tensors(swapped)["a"], [0, 1, 2])


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_arrays_of_caffe2(tmp_path, protocol):
    blobs = {
        "c_order": np.arange(6, dtype="f4").reshape(2, 3),
        "fortran_order": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big_endian": np.arange(3, dtype=">f4"),
        "scalar": np.float32(0.1),
        "number": 5,
    }
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps({"blobs": blobs, "cfg": "x"}, protocol))
    got = read_tensors(path)
    for name, value in blobs.items():
        np.testing.assert_array_equal(got[name], value)


def test_pickle_of_python_2(tmp_path):
    """Byte strings of Python 2 carry the numbers as text."""
    data = np.array([1.0, -2.0], "<f4").tobytes()
    text = (
        b"\x80\x02}U\x05blobs}U\x01acnumpy.core.multiarray\n_reconstruct\n"
        b"cnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R"
        b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U"
    )
    (tmp_path / "x.pkl").write_bytes(text + bytes([len(data)]) + data + b"tbss.")
    np.testing.assert_array_equal(read_tensors(tmp_path / "x.pkl")["a"], [1.0, -2.0])


def test_logs_of_training_frameworks_are_passed_over(tmp_path, monkeypatch):
    """mmengine files the history of the loss as an object of its own class."""
    import sys
    import types

    module = types.ModuleType("mmengine.logging.history_buffer")

    class HistoryBuffer(list):
        pass

    HistoryBuffer.__module__, HistoryBuffer.__qualname__ = module.__name__, "HistoryBuffer"
    module.HistoryBuffer = HistoryBuffer
    for name in ("mmengine", "mmengine.logging", module.__name__):
        monkeypatch.setitem(sys.modules, name, module)
    buffer = HistoryBuffer([1.0, 2.0])
    buffer.history = np.arange(3.0)
    value = {"state_dict": {"a": torch.ones(2)}, "message_hub": {"loss": buffer}}
    path = save(tmp_path / "x.pth", value, True)
    monkeypatch.undo()
    np.testing.assert_array_equal(read_tensors(path)["a"], [1, 1])


class Runs:
    """A pickle that runs a function when it is loaded."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def hostile(marker):
    command = f"touch {marker}"
    return {
        "os.system": Runs(os.system, command),
        "eval": Runs(eval, f"__import__('os').system({command!r})"),
        "exec": Runs(exec, f"open({str(marker)!r}, 'w')"),
        "getattr": Runs(getattr, str, "join"),
        "numpy": Runs(np.save, str(marker), np.zeros(1)),
        "torch": Runs(torch.load, str(marker)),
        "pickle": Runs(pickle.loads, pickle.dumps(Runs(os.system, command))),
        "bytearray": Runs(bytearray, 10**12),
    }


@pytest.mark.parametrize("attack", sorted(hostile("")))
@pytest.mark.parametrize("place", ["state", "beside", "alone"])
@pytest.mark.parametrize("form", ["zip", "legacy", "caffe2"])
def test_hostile_files_run_nothing(tmp_path, attack, place, form):
    marker = tmp_path / "ran"
    bad, tensor = hostile(marker)[attack], torch.ones(2)
    value = {
        "state": {"state_dict": {"a": tensor, "b": bad}},
        "beside": {"state_dict": {"a": tensor}, "optimizer": bad},
        "alone": bad,
    }[place]
    path = tmp_path / "x.pth"
    if form == "caffe2":
        path.write_bytes(pickle.dumps(value))
    else:
        save(path, value, form == "zip")
    with pytest.raises(ValueError, match=r"x\.pth cannot be read .*nothing of it was run"):
        read_tensors(path)
    assert not marker.exists() and not (tmp_path / "ran.npy").exists()
    # The attack is real: an ordinary unpickler does run it.
    if attack == "os.system" and form == "caffe2":
        pickle.loads(path.read_bytes())
        assert marker.exists()


def test_hostile_pickle_behind_the_magic_number(tmp_path):
    """The later pickles of the old form are as restricted as the first."""
    marker = tmp_path / "ran"
    good = io.BytesIO()
    torch.save({"a": torch.ones(2)}, good, _use_new_zipfile_serialization=False)
    good.seek(0)
    pickles = []
    for _ in range(3):
        start = good.tell()
        RestrictedUnpickler(good).load()
        pickles.append(good.getvalue()[start : good.tell()])
    bad = pickle.dumps(Runs(os.system, f"touch {marker}"), 2)
    for position in (1, 2, 3):
        (tmp_path / "x.pth").write_bytes(b"".join(pickles[:position]) + bad)
        with pytest.raises(ValueError, match="nothing of it was run"):
            read_tensors(tmp_path / "x.pth")
    # The fourth, the list of storages, is reached only behind the dict of tensors.
    whole = good.getvalue()
    (tmp_path / "x.pth").write_bytes(whole[: good.tell()] + _dict_pickle(whole, good.tell()) + bad)
    with pytest.raises(ValueError, match="nothing of it was run"):
        read_tensors(tmp_path / "x.pth")
    assert not marker.exists()


def _dict_pickle(whole, start):
    file = io.BytesIO(whole[start:])
    RestrictedUnpickler(file).load()
    return whole[start : start + file.tell()]


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (0, (5,), (1,)),
        (3, (2,), (1,)),
        (0, (2, 2), (3, 1)),
        (-1, (2,), (1,)),
        (0, (2,), (-1,)),
        (0, (10**9, 10**9), (0, 0)),
        (0, (2,), (1, 1)),
    ],
)
def test_tensors_cannot_reach_beyond_their_storage(tmp_path, offset, shape, strides):
    path = save(tmp_path / "x.pth", {"state_dict": {"a": torch.arange(4.0)}}, True)

    def number(value):
        return b"J" + struct.pack("<i", value)

    def numbers(values):
        return b"(" + b"".join(map(number, values)) + b"t"

    with zipfile.ZipFile(path) as source:
        contents = {name: source.read(name) for name in source.namelist()}
    (name,) = (name for name in contents if name.endswith("data.pkl"))
    text = contents[name]
    start = text.index(b"Q") + 1  # behind the storage: offset, shape, strides follow
    end = text.index(b"\x89", start)
    assert text[start:end].startswith(b"K\x00K\x04")
    contents[name] = text[:start] + number(offset) + numbers(shape) + numbers(strides) + text[end:]
    with zipfile.ZipFile(path, "w") as target:
        for entry, data in contents.items():
            target.writestr(entry, data)
    with pytest.raises(ValueError, match="a tensor of shape"):
        read_tensors(path)


def test_arrays_of_objects_are_refused(tmp_path):
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps({"blobs": {"a": np.array([print, None], object)}}))
    with pytest.raises(ValueError, match=r"x\.pkl cannot be read"):
        read_tensors(path)
    path.write_bytes(pickle.dumps({"blobs": {"a": np.array([None, "x"], object)}}))
    with pytest.raises(ValueError, match="array of type 'O8', not of numbers"):
        read_tensors(path)


@pytest.mark.parametrize("zipped", FORMS)
def test_cut_files(tmp_path, zipped):
    path = save(tmp_path / "x.pth", {"state_dict": {"a": torch.ones(1000)}}, zipped)
    whole = path.read_bytes()
    for share in (0.01, 0.3, 0.9):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ValueError, match=r"x\.pth cannot be read as a checkpoint"):
            read_tensors(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read"),
        (b"<html>404</html>", "cannot be read"),
        (pickle.dumps([1, 2]), "no dict of tensors"),
        (pickle.dumps({"epoch": 3}), "no dict of tensors"),
        (pickle.dumps({"state_dict": {"a": "text"}}), "its entry a is not a tensor"),
        (pickle.dumps(np.zeros(3)), "no dict of tensors"),
    ],
)
def test_other_files(tmp_path, content, message):
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_tensors(path)


def test_other_zip_files_and_no_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(ValueError, match="not one that torch"):
        read_tensors(tmp_path / "x.pth")
    with pytest.raises(ValueError, match="Received: path="):
        read_tensors(tmp_path / "absent.pth")


def test_arrays_without_bytes(tmp_path):
    class Empty:
        def __reduce__(self):
            make, arguments, state = np.zeros(2, "f4").__reduce__()
            return make, arguments, (*state[:4], 10**12)

    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"blobs": {"a": Empty()}}))
    with pytest.raises(ValueError, match="an array without bytes"):
        read_tensors(tmp_path / "x.pkl")


def test_storages_of_unknown_kind(tmp_path):
    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return value if isinstance(value, tuple) and value[:1] == ("storage",) else None

    for pid, message in (
        (("storage", "FloatStorage", "0", "cpu", 4), "storage of unknown kind"),
        (("storage", 1), "not a tensor's storage"),
    ):
        buffer = io.BytesIO()
        Pickler(buffer, 2).dump({"state_dict": {"a": pid}})
        (tmp_path / "x.pkl").write_bytes(buffer.getvalue())
        with pytest.raises(ValueError, match=message):
            read_tensors(tmp_path / "x.pkl")
