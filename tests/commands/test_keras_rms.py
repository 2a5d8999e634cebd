"""`keras-rms COMMAND`: what it lists, that it runs the same files, and what it says of mistakes."""

import ast
import os
import subprocess
import sys

import command_runner
import pytest
from all_commands import COMMANDS
from paths import ROOT

KERAS_RMS = "scripts/__main__.py"


def keras_rms(*words):
    """Runs it in a process that has none of this one's packages."""
    command = [sys.executable, "-S", str(ROOT / "scripts"), *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_the_help_lists_each_command_with_its_first_line():
    result = keras_rms("--help")
    assert result.returncode == 0 and result.stderr == ""
    lines = [line.split(maxsplit=1) for line in result.stdout.splitlines() if line]
    files = {ROOT / words[0] for words in COMMANDS if "/examples/" not in words[0]}
    assert len(files) > 10
    for path in files:
        says = ast.get_docstring(ast.parse(path.read_text())).splitlines()[0]
        assert [path.stem.replace("_", "-"), says] in lines
    assert all(len(line) <= 100 for line in result.stdout.splitlines())
    listed = result.stdout.partition("recipes")[2]
    for recipe in ROOT.glob("scripts/recipes/*.flags"):
        assert recipe.stem in listed
    assert keras_rms("help").stdout == result.stdout
    without_words = keras_rms()
    assert (without_words.returncode, without_words.stdout) == (1, result.stdout)


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("trian", "no command `trian`. Did you mean `keras-rms train`?"),
        ("import_weights", "Did you mean `keras-rms import-weights`?"),
        ("fly", "no command `fly`. They are demo, convert, verify, train,"),
    ],
)
def test_an_unknown_command_is_one_paragraph(word, answer):
    result = keras_rms(word, "--data=x")
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr.startswith("error: ")
    said = " ".join(result.stderr.split())
    assert answer in said and "`keras-rms --help` says what each does." in said


def test_a_missing_package_is_named_with_the_extra_that_brings_it():
    result = keras_rms("convert", "--dataset=folder")
    said = " ".join(result.stderr.split())
    assert result.returncode == 1 and "Traceback" not in said
    assert said.startswith("error: `keras-rms convert` needs the Python package `")
    assert "`pip install 'keras_rms[commands]'`" in said
    assert "Traceback" in keras_rms("convert", "--traceback").stderr


@pytest.mark.parametrize(
    ("command", "file", "flag"),
    [
        ("verify", "pipelines/verify.py", "--data=nowhere"),
        ("evaluate", "scripts/evaluate.py", "--work_dir=nowhere"),
    ],
)
def test_it_is_the_command_of_the_file(tmp_path, command, file, flag):
    runs = [
        command_runner.start(tmp_path / "named", KERAS_RMS, command, flag),
        command_runner.start(tmp_path / "file", file, flag),
    ]
    assert [run.status() for run in runs] == [1, 1]
    assert runs[0].error == runs[1].error and "nowhere" in runs[0].error


def test_the_help_of_a_command_is_that_of_its_file(tmp_path):
    for command, file in (("convert", "pipelines/convert.py"), ("export", "scripts/export.py")):
        named = command_runner.start(tmp_path / "named", KERAS_RMS, command, "--help")
        by_file = command_runner.start(tmp_path / "file", file, "--help")
        named.status(), by_file.status()
        flags = [line for line in by_file.stdout.splitlines() if line.startswith("  --")]
        assert len(flags) >= 5
        assert [line for line in named.stdout.splitlines() if line.startswith("  --")] == flags
