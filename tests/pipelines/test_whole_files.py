"""Local files that are there as a whole or not at all."""

import errno
import fcntl
import os
from pathlib import Path

import pytest

from keras_rms.whole_files import whole_file
from pipelines.system import filesystems, whole_files


def test_a_file_is_replaced_at_once(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    seen, replace = [], os.replace

    def spy(temporary, target):
        seen.append((path.read_bytes(), open(temporary, "rb").read(), temporary))
        replace(temporary, target)

    monkeypatch.setattr(os, "replace", spy)
    whole_files.write(path, b"new")
    ((before, complete, temporary),) = seen
    assert (before, complete, path.read_bytes()) == (b"old", b"new", b"new")
    assert temporary.startswith(str(path)) and temporary.endswith(whole_files.ENDING)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("written", ["write", "whole_file", "write_file"])
def test_a_pipe_or_device_is_written_itself(tmp_path, written):
    path = tmp_path / "pipe"  # as /dev/stdout; root would put a file in the place of /dev/null
    os.mkfifo(path)
    reader = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    if written == "write":
        whole_files.write(path, b"new")
    elif written == "write_file":
        filesystems.write_file(f"file://{path}", b"new")
    else:
        with whole_file(path) as place:
            place.write_bytes(b"new")
    assert os.read(reader, 10) == b"new"
    os.close(reader)
    assert path.is_fifo() and os.listdir(tmp_path) == ["pipe"]


def test_a_full_device_is_named():
    with pytest.raises(OSError, match=r"No space left on device: '/dev/full'"):
        whole_files.write("/dev/full", b"new")
    assert Path("/dev/full").is_char_device()


def test_a_file_that_is_open_as_standard_output_is_written_itself(tmp_path):
    link, path = tmp_path / "stdout", tmp_path / "file"
    with open(path, "wb") as file:
        link.symlink_to(f"/proc/self/fd/{file.fileno()}")
        whole_files.write(link, b"new")
        assert os.fstat(file.fileno()).st_ino == path.stat().st_ino
    assert link.is_symlink() and path.read_bytes() == b"new"
    assert sorted(os.listdir(tmp_path)) == ["file", "stdout"]


def test_after_an_error_the_old_file_is_there_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=rf"No space left.*{path}"):
        whole_files.write(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path):
    path = tmp_path / "film[1].mp4"
    abandoned = whole_files.temporary_name(str(path))
    others = [whole_files.temporary_name(f"{path}x"), f"{path}.tmp", str(path)]
    for name in (abandoned, *others):
        open(name, "wb").close()
    with whole_files.claimed(path) as first, whole_files.claimed(path) as second:
        first.write(b"first")
        assert first.name != second.name
        assert sorted(map(str, tmp_path.iterdir())) == sorted([first.name, second.name, *others])
        second.write(b"second")
        second.flush()
        whole_files.publish(second.name, path)
    assert path.read_bytes() == b"second" and open(first.name, "rb").read() == b"first"


def test_a_file_taken_for_an_abandoned_one_is_made_again(tmp_path, monkeypatch):
    flock, lost = fcntl.flock, []

    def late(file, operation):
        if not lost:
            lost.append(file.name)
            os.remove(file.name)
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with whole_files.claimed(tmp_path / "x") as file:
        assert os.listdir(tmp_path) == [os.path.basename(file.name)] and [file.name] != lost


def test_a_relative_name_needs_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole_files.write("file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


def test_temporary_names_differ():
    assert whole_files.temporary_name("a") != whole_files.temporary_name("a")
