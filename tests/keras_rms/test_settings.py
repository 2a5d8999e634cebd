"""settings.json: what a run was made with, and who may go on with it."""

import json
import platform
import subprocess

import keras
import pytest

from keras_rms.training.work_dir import settings
from keras_rms.training.work_dir.work_folder import WorkFolder


def git(folder, *words):
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b.example", "-C", str(folder)]
    return subprocess.run([*command, *words], check=True, capture_output=True, text=True).stdout


def checkpoint(folder):
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "step_0000000001.npz").touch()


def test_versions_and_commit_are_those_of_the_source(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "code.py").write_text("first")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    commit = git(tmp_path, "rev-parse", "HEAD").strip()
    found = settings.provenance(tmp_path)
    assert found["git_commit"] == commit
    assert found["versions"]["python"] == platform.python_version()
    assert found["versions"]["keras"] == keras.__version__
    (tmp_path / "notes.txt").write_text("not tracked")
    assert settings.provenance(tmp_path)["git_commit"] == commit
    (tmp_path / "code.py").write_text("changed")
    assert settings.provenance(tmp_path)["git_commit"] == f"{commit}+changes"


def test_a_source_without_git_has_no_commit(tmp_path, monkeypatch):
    assert settings.provenance(tmp_path)["git_commit"] is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert settings.provenance(tmp_path)["git_commit"] is None


def test_a_folder_that_git_does_not_know_has_no_commit(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "code.py").write_text("first")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    inside = tmp_path / "environment" / "package"
    inside.mkdir(parents=True)
    (inside / "code.py").touch()
    assert settings.provenance(tmp_path)["git_commit"]
    assert settings.provenance(inside)["git_commit"] is None


def test_what_earlier_parts_of_a_run_were_made_with_is_kept(tmp_path):
    first, second, third = ({"versions": {"keras": "3"}, "git_commit": c} for c in "abc")
    settings.write(tmp_path, {"seed": 0, **third, "earlier": []})
    assert settings.earlier(tmp_path, first) == []  # of no checkpoint
    WorkFolder(tmp_path).settings.unlink()
    checkpoint(tmp_path)
    for made_with, expected in (
        (first, []),
        (second, [first]),
        (second, [first]),
        (third, [first, second]),
    ):
        found = settings.earlier(tmp_path, made_with)
        assert found == expected
        settings.write(tmp_path, {"seed": 0, **made_with, "earlier": found})


def test_numbers_that_an_older_version_kept_as_words_are_the_same(tmp_path):
    checkpoint(tmp_path)
    settings.write(tmp_path, {"decay_epochs": ["44", "88"], "stages": ["res4"], "seed": 1})
    same = {"decay_epochs": [44.0, 88.0], "stages": ["res4"], "seed": 1}
    settings.check_same(tmp_path, same, same)
    for name, other in (("decay_epochs", [44.0, 90.0]), ("stages", ["res5"]), ("seed", 2)):
        with pytest.raises(ValueError, match=f"{name} was"):
            settings.check_same(tmp_path, {**same, name: other}, same)


def test_what_is_written_is_read(tmp_path):
    settings.write(tmp_path, {"seed": 0, "rms": None})
    assert settings.read(tmp_path) == {"seed": 0, "rms": None}


@pytest.mark.parametrize(("text", "message"), [(None, "does not exist"), ('{"seed":', "not valid")])
def test_a_folder_without_readable_settings(tmp_path, text, message):
    if text:
        (tmp_path / "settings.json").write_text(text)
    with pytest.raises(ValueError, match=f"settings.json.*{message}"):
        settings.read(tmp_path)


def test_another_training_is_refused_by_its_differences(tmp_path):
    before = {"width": 64, "seed": 0, "free": 1, "classes": ["a"] * 100}
    settings.check_same(tmp_path, before, before)  # a new folder takes anything
    settings.write(tmp_path, before)
    names = ["width", "seed", "classes", "unknown_to_the_folder"]
    settings.check_same(tmp_path, {"width": 32}, names)  # so does one without a checkpoint
    checkpoint(tmp_path)
    settings.check_same(tmp_path, {**before, "free": 2, "unknown_to_the_folder": 5}, names)
    with pytest.raises(ValueError, match=r"width was 64 and is now 32; seed was 0 and is now 1\."):
        settings.check_same(tmp_path, {**before, "width": 32, "seed": 1}, names)
    with pytest.raises(ValueError, match=r'classes was \["a", .*\.\.\. and is now \["b"\]\.'):
        settings.check_same(tmp_path, {**before, "classes": ["b"]}, names)
    assert json.loads((tmp_path / "settings.json").read_text()) == before


def test_a_setting_of_a_later_version_had_its_default(tmp_path):
    settings.write(tmp_path, {"seed": 1})
    checkpoint(tmp_path)
    defaults = {"seed": 0, "freeze": []}
    settings.check_same(tmp_path, {"seed": 1, "freeze": []}, defaults, defaults)
    with pytest.raises(ValueError, match=r'freeze was \[\] and is now \["stem"\]\.'):
        settings.check_same(tmp_path, {"seed": 1, "freeze": ["stem"]}, defaults, defaults)
