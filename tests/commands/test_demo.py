"""scripts/demo.sh and demo.py: what they say before, between and after their commands."""

import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import command_runner
import pytest
from paths import ROOT


@pytest.mark.parametrize("word", ["--help", "-h", "--helpshort"])
def test_help_sets_nothing_up(tmp_path, word):
    environment = {**os.environ, "VENV": str(tmp_path / "venv")}
    command = ["bash", "scripts/demo.sh", word]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("Makes a demonstration dataset, and trains on it")
    for flag in ("--form=comparison", "--output=DIR", "--seed=1"):
        assert flag in result.stdout
    assert '"""' not in result.stdout and "import" not in result.stdout
    assert not (tmp_path / "venv").exists()


def test_help_of_an_environment_lists_the_flags(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    environment = {**os.environ, "VENV": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = ["bash", "scripts/demo.sh", "--help"]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0
    assert "--seed (a non-negative integer; default: 0)" in result.stdout


def answer(command):
    """In the place of a command of the project: its results, in the folders that it names."""
    assert Path(command[1]).samefile(ROOT / "scripts")
    name, *words = command[2:]
    options = dict(word[2:].split("=", 1) for word in words)
    if name == "demo-videos":
        video = Path(options["output"]) / "validation" / "rise" / "a b.mp4"
        video.parent.mkdir(parents=True)
        video.touch()
    elif name == "convert":
        Path(options["output"]).mkdir(exist_ok=True)
        (Path(options["output"]) / "labels.txt").write_text("rise\nfall\nspin\nslide\n")
    elif name == "train" and options["seed"] == "7":
        return subprocess.CompletedProcess(command, 75)
    elif name == "evaluate":
        folder = Path(options["work_dir"]) / "evaluation"
        folder.mkdir(parents=True, exist_ok=True)
        accuracy = {"train": 0.875, "validation": 0.625}[options["split"]]
        accuracy -= 0.25 * ("mean" in options["work_dir"])
        file = f"{options['split']}_{options['views']}.json"
        (folder / file).write_text(json.dumps({"top1": accuracy}))
    return subprocess.CompletedProcess(command, 0)


def without_the_commands(folder):
    subprocess.run = answer
    sys.executable = str(folder / ".venv" / "bin" / "python")


def run_demo(folder, *words, **options):
    before = functools.partial(without_the_commands, folder)
    return command_runner.run(
        ROOT / "scripts" / "demo.py", *words, cwd=folder, before=before, **options
    )


def test_what_is_said_before_between_and_after_the_commands(tmp_path):
    said = run_demo(tmp_path).stdout
    first, *_ = said.split("\n\n")
    assert "In 9 commands" in first and "about five minutes" in first and "into demo." in first
    names = ["demo-videos", *["convert"] * 2, *["train", *["evaluate"] * 2] * 2]
    assert re.findall(r"^\[(\d)/9\] \$ \.venv/bin/keras-rms (\S+) --", said, re.MULTILINE) == [
        (str(number), name) for number, name in enumerate(names, 1)
    ]
    assert "| SlowOnly-18 | 87.5% | 62.5% |\n| SlowOnly-18 + RMS | 62.5% | 37.5% |" in said
    assert "| (chance) | 25.0% | 25.0% |" in said
    last = said.rpartition("\n\n")[2]
    assert "  .venv/bin/keras-rms predict --work_dir=demo/rms_mean " in last
    assert "'demo/videos/validation/rise/a b.mp4'" in last
    assert "  .venv/bin/tensorboard --logdir=demo" in last and "README.md" in last


def test_a_command_that_fails_ends_it_with_its_status(tmp_path):
    said = run_demo(tmp_path, "--seed=7", "--form=comparison", status=75).stdout
    assert "a quarter of an hour" in said and "[4/9]" in said and "[5/9]" not in said
