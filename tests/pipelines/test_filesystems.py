"""Schemes, the plug-in that some of them need, and files that are whole or not there."""

import errno
import importlib
import os

import command_runner
import pytest

from pipelines.system import filesystems


@pytest.mark.parametrize(
    ("path", "scheme"),
    [
        ("/data/x", ""),
        ("data/a:b//c", ""),
        ("file:///data", "file"),
        ("gs://bucket/x", "gs"),
        ("S3://bucket", "s3"),
        ("hdfs://node:8020/x", "hdfs"),
    ],
)
def test_schemes_are_recognised(path, scheme):
    assert filesystems.scheme(path) == scheme
    assert filesystems.is_local(path) == (scheme in ("", "file"))


def test_local_and_google_paths_need_nothing(tmp_path):
    # In a process of its own, where nothing else can have imported it.
    code = (
        "import sys\n"
        "import pipelines.input\n"
        "from pipelines.system import filesystems\n"
        f"filesystems.require({str(tmp_path)!r}); filesystems.require('gs://bucket')\n"
        "print('tensorflow_io' in sys.modules, filesystems.used_plugin())"
    )
    done = command_runner.run("-c", code)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("path", ["s3://bucket/x", "hdfs://node/x", "az://account/x"])
@pytest.mark.parametrize("error", [ImportError("undefined symbol: _ZN10tensorflow"), OSError()])
def test_a_plugin_that_does_not_load_is_explained(monkeypatch, path, error):
    def fail(name):
        assert name == "tensorflow_io"
        raise error

    monkeypatch.setattr(importlib, "import_module", fail)
    monkeypatch.setattr(filesystems, "_loaded", set())
    with pytest.raises(ValueError, match=r"setup\.sh io`.*Received: path=") as caught:
        filesystems.require(path)
    assert path in str(caught.value) and "\n" not in str(caught.value)
    assert not filesystems.used_plugin()


def test_a_plugin_is_loaded_once(monkeypatch):
    calls = []
    monkeypatch.setattr(importlib, "import_module", calls.append)
    monkeypatch.setattr(filesystems, "_loaded", set())
    for path in ("s3://a", "s3://b", "/local"):
        filesystems.require(path)
    assert calls == ["tensorflow_io"]
    assert filesystems.used_plugin()


def test_files_are_replaced_whole(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    filesystems.write_file(str(path), b"first")
    filesystems.write_file(f"file://{path}", b"second")
    assert path.read_bytes() == b"second"

    def killed(*names):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        filesystems.write_file(str(path), b"third")
    assert path.read_bytes() == b"second"


def test_the_newest_tensorflow_says_what_it_lacks():
    try:
        import tensorflow_io  # noqa: F401

        pytest.skip("tensorflow-io loads here")
    except Exception:
        pass
    code = (
        "from pipelines.shards import split_index\n"
        "from pipelines.system import command_line\n"
        "command_line.run(lambda arguments: split_index.load_index('s3://bucket/x', 'train'))"
    )
    done = command_runner.run("-c", code, status=1)
    assert "VENV=.venv-io bash scripts/setup.sh io" in done.error


@pytest.mark.parametrize("path", ["foo://bucket/x", "http://host/x"])
def test_schemes_that_nobody_knows_are_refused(path):
    with pytest.raises(ValueError, match=f"file://, gs:// or one of s3://.* Received: {path}"):
        filesystems.require(path)


def test_a_full_disk_is_named_and_nothing_stays(tmp_path):
    # A limit on the size of files fails a write as a full disk does.
    code = (
        "import resource, signal; from pipelines.system import command_line, filesystems\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "def main(arguments):\n"
        f"    filesystems.write_file({str(tmp_path / 'small')!r}, b'before')\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        f"    filesystems.write_file({str(tmp_path / 'large')!r}, bytes(10**6))\n"
        "command_line.run(main)\n"
    )
    message = command_runner.run("-c", code, status=1).error
    assert f"error: {tmp_path / 'large'} cannot be written:" in message
    assert "run the same command again" in message
    assert os.listdir(tmp_path) == ["small"]


def test_a_disk_that_is_full_when_it_is_synchronised_is_named(tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=rf"^{tmp_path}/x cannot be written: No space .* Free some"):
        filesystems.write_file(str(tmp_path / "x"), b"")
    assert os.listdir(tmp_path) == []


def test_errors_of_files_become_one_paragraph(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"file/x cannot be written: .* Mend the cause and run"):
        filesystems.write_file(str(tmp_path / "file" / "x"), b"")


def test_bare_errors_of_the_plugin_are_explained_and_others_are_not():
    with pytest.raises(OSError, match=r"az://a/x cannot be read: no connection. Mend the cause"):
        with filesystems.explained("az://a/x"):
            raise RuntimeError("no connection")
    with pytest.raises(RuntimeError, match="a bug"):
        with filesystems.explained("/local/x"):
            raise RuntimeError("a bug")


def test_names_of_a_folder_and_of_one_that_an_object_store_does_not_have_yet(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "labels.txt").write_text("")
    assert filesystems.names(str(tmp_path)) == {"train", "labels.txt"}
    assert filesystems.names(str(tmp_path / "none")) == set()
