"""When the commands turn oneDNN on, off, and leave it as the user has it."""

import os
import subprocess
import sys

import pytest

from pipelines.system import onednn

SAY = """
import os
from pipelines.system import quiet_tensorflow, onednn
import tensorflow as tf
print(onednn.is_on(), os.environ.get(onednn.VARIABLE))
"""


@pytest.fixture
def unset(monkeypatch):
    monkeypatch.delenv(onednn.VARIABLE)


def choice(*words):
    with onednn.chosen(["train.py", *words]):
        return os.environ[onednn.VARIABLE]


def test_on_for_every_command_and_forgotten_after_the_import(unset):
    assert choice("--data=DIR", "--nodeterministic", "VIDEO") == "1"
    assert onednn.VARIABLE not in os.environ


@pytest.mark.parametrize("value", ["0", "1"])
def test_the_users_own_choice_stays(monkeypatch, value):
    monkeypatch.setenv(onednn.VARIABLE, value)
    assert choice("--precision=mixed_bfloat16") == choice() == os.environ[onednn.VARIABLE] == value


def test_an_empty_variable_is_none(monkeypatch):
    monkeypatch.setenv(onednn.VARIABLE, "")
    assert choice() == "1"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--precision=mixed_bfloat16"], "0"),
        (["train", "--data", "DIR", "-precision", "mixed_bfloat16", "--width=8"], "0"),
        (["--flagfile={recipe}"], "0"),
        (["--flagfile={recipe}", "--precision=float32"], "1"),
        (["--precision=mixed_float16"], "1"),
        (["--flagfile=/nowhere/recipe.flags", "--precision=mixed_bfloat16"], "1"),
        (["--", "--precision=mixed_bfloat16"], "1"),
    ],
)
def test_off_for_bfloat16_wherever_it_is_asked_for(unset, tmp_path, words, expected):
    (tmp_path / "inner.flags").write_text("# half\n--precision=mixed_bfloat16\n")
    recipe = tmp_path / "recipe.flags"
    recipe.write_text(f"--model=slow_only_18\n--flagfile={tmp_path / 'inner.flags'}\n")
    assert choice(*(word.format(recipe=recipe) for word in words)) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "value", "expected"),
    [
        ([], None, "True None"),
        ([], "0", "False 0"),
        (["--precision=mixed_bfloat16"], None, "False None"),
    ],
)
def test_tensorflow_does_as_was_chosen(words, value, expected):
    variables = {name: text for name, text in os.environ.items() if name != onednn.VARIABLE}
    if value:
        variables[onednn.VARIABLE] = value
    said = subprocess.run(
        [sys.executable, "-c", SAY, *words], env=variables, check=True, capture_output=True
    )
    assert said.stdout.decode().strip() == expected


def test_what_was_chosen_for_bfloat16_is_said(monkeypatch):
    monkeypatch.setenv(onednn.VARIABLE, "0")
    assert onednn.chosen_for("mixed_bfloat16") is None
    monkeypatch.delenv(onednn.VARIABLE)
    assert "oneDNN is off" in onednn.chosen_for("mixed_bfloat16")
    assert onednn.chosen_for("float32") is None


def test_the_tests_themselves_have_it_on():
    assert onednn.is_on() == (os.environ[onednn.VARIABLE] == "1")
