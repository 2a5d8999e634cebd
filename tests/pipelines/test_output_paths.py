"""Where commands may write is looked at before they work."""

import os

import command_runner
import pytest
from absl import flags

from pipelines.system import output_paths


@pytest.mark.parametrize(
    ("path", "wants_folder", "fault"),
    [
        ("folder", False, "is a folder, and a file"),
        ("new/", False, "is a folder, and a file"),
        ("file", False, None),
        ("folder/new", False, None),
        ("new/deeper/new", False, None),
        ("file/new/deeper", False, "lies below {}/file, which is a file"),
        ("/dev/null", False, None),
        ("", False, "is a folder"),
        ("file", True, "is a file, and a folder is needed"),
        ("gone", True, "is a file, and a folder is needed"),
        ("file/new", True, "lies below {}/file, which is a file"),
        ("folder", True, None),
        ("new/deeper", True, None),
    ],
)
def test_faults_of_paths(tmp_path, path, wants_folder, fault):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "gone").symlink_to("nowhere")
    before = sorted(tmp_path.rglob("*"))
    received = output_paths.fault_of(os.path.join(tmp_path, path), wants_folder)
    assert sorted(tmp_path.rglob("*")) == before
    if fault is None:
        assert received is None
    else:
        assert received.startswith(fault.format(tmp_path))


def test_places_without_permission(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(output_paths.os, "access", lambda *_: False)
    for path, wants_folder in (("new/deeper", False), ("new", True), ("", True)):
        fault = output_paths.fault_of(str(tmp_path / path), wants_folder)
        assert f"no permission to write in {tmp_path}." in fault
    assert output_paths.fault_of(str(tmp_path / "file"), False) is None
    # An object store's is not that of the folder that the command was started in.
    assert output_paths.fault_of("gs://bucket/run", True) is None
    assert "no permission" in output_paths.fault_of(f"file://{tmp_path}/new", True)


def test_the_flag_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(output_paths, "_files", [])
    monkeypatch.setattr(output_paths, "_folders", [])
    values = flags.FlagValues()
    names = ("json", "picture", "output")
    holders = [flags.DEFINE_string(name, None, "", flag_values=values) for name in names]
    output_paths.names_file(*holders[:2])
    output_paths.names_folder(holders[2])
    values(["x", f"--picture={tmp_path / 'a.png'}", f"--output={tmp_path}"])
    output_paths.check()
    values.picture = str(tmp_path)
    with pytest.raises(ValueError, match=rf"--picture={tmp_path} is a folder"):
        output_paths.check()


def test_an_evaluation_is_not_begun_for_nothing(tmp_path):
    """The network is not even looked for."""
    (tmp_path / "file").touch()
    words = ["--work_dir=absent", f"--output={tmp_path / 'file'}"]
    said = command_runner.run("scripts/evaluate.py", *words, status=1).error
    assert "is a file, and a folder is needed" in said
