"""compare-regularisers: what it gives to its trainings, and what it does when they fail."""

import json

import command_runner
import pytest
from paths import ROOT

# The command's flags are absl's: they need a process of their own.
PRELUDE = f"""
import json, subprocess, sys
from pathlib import Path
sys.path.insert(0, {str(ROOT / "scripts")!r})
import compare_regularisers as command
from absl import flags
flags.FLAGS(["", "--output=runs", "--seeds=2", "--methods=plain,rms,cutmix"])
"""

# Of the trainings one falls over, and one method's and another diverge.
FAILURES = """
def train(words, stdout, stderr):
    result = next(Path(word[9:]) for word in words if word.startswith("--output="))
    history, accuracy = {"accuracy": [0.5]}, {"accuracy": 0.25, "loss": 2.0}
    content = {"history": history, "holdout": accuracy, "test": accuracy}
    if result.name == "rms-0.1-seed_0.json":
        stdout.write(b"error: No space left\\nPass --help\\n")
        stdout.flush()
    elif result.name == "plain-0.2-seed_0.json" or result.name.startswith("cutmix"):
        result.write_text(json.dumps({"history": {}, "diverged": True}))
    else:
        result.write_text(json.dumps(content))
        return subprocess.CompletedProcess(words, 0)
    return subprocess.CompletedProcess(words, 1)
command.subprocess.run = train
try:
    command.main(["", "--holdout_per_class=3"])
except ValueError as error:
    assert str(error).endswith("rms-0.1-seed_0.log: error: No space left"), error
else:
    raise AssertionError
Path("runs/rms-0.1-seed_0.json").write_text(
    json.dumps({"history": {"accuracy": [1]}, "holdout": {"accuracy": 0}}))
command.main(["", "--holdout_per_class=3"])
table = Path("runs/table.md").read_text()
assert "| plain | 0.1 | 0.1: 25.0, 0.05: 25.0 | 2 |" in table, table
assert "Diverged, and in no mean: plain-0.2-seed_0, cutmix-0.5-seed_0, " in table
assert Path("runs/plain-0.1-seed_1.json").exists() and "CutMix" not in table
"""

CLAIMS = """
command._claim(["--data=wrong"])
command._claim(["--data=right"])  # nothing was trained with the first
command._claim(["--data=right"])
log = open("runs/plain-0.1-seed_0.log", "w")
for ending in ("log", "json"):
    if ending == "log":
        command.fcntl.flock(log, command.fcntl.LOCK_EX)
    else:
        log.close()
        Path("runs/plain-0.1-seed_0.json").write_text("{}")
    try:
        command._claim(["--data=other"])
    except ValueError as error:
        assert "holds runs with other flags" in str(error)
    else:
        raise AssertionError(ending)
assert json.loads(Path("runs/flags.json").read_text()) == ["--data=right"]
"""


@pytest.mark.parametrize("program", [FAILURES, CLAIMS], ids=["failures", "claims"])
def test_trainings_of_a_comparison(tmp_path, program):
    command_runner.run("-c", PRELUDE + program, cwd=tmp_path)


def compare(folder, *words, status=0):
    return command_runner.run(
        ROOT / "scripts" / "compare_regularisers.py",
        f"--output={folder}",
        *words,
        status=status,
    )


def test_flags_that_would_make_a_method_another_one_are_refused(tmp_path):
    for words, name in (
        (["--settings=1", "--", "--data=x", "--component", "input"], "--component"),
        (["--settings=1", "--folds=1,2", "--", "--fold=1"], "--fold"),
    ):
        said = compare(tmp_path / "runs", *words, status=1).error
        assert f"{name} must not be given after --" in said
    assert not (tmp_path / "runs").exists()


def test_folds_that_the_list_does_not_have_are_refused(tmp_path):
    (tmp_path / "list.csv").write_text("\ufeffpath, label, fold\na.mp4, a, x y\nb.mp4, b, 0\n")
    words = ["--settings=1", "--", f"--data={tmp_path / 'list.csv'}"]
    said = compare(tmp_path / "runs", "--folds=0,1", *words, status=1).error
    assert "list.csv, 0, x y. Received: 0, 1" in said


def test_a_table_of_nothing_says_so(tmp_path):
    result = {"history": {"accuracy": [1.0]}, "test": {"accuracy": 0.5, "loss": 1.5}}
    (tmp_path / "plain-0.1-seed_0.json").write_text(json.dumps(result))
    said = compare(tmp_path, "--table_only", status=1).error
    assert "holds no run to show. If nothing was held out, give --settings=1." in said
    assert "| plain | 0.1 | - | 1 |" in compare(tmp_path, "--table_only", "--settings=1").stdout


def test_a_table_knows_the_rate_and_the_backends_of_its_runs(tmp_path):
    (tmp_path / "flags.json").write_text(json.dumps(["--data=x", "--learning_rate", "0.5"]))
    accuracies = {name: {"accuracy": 0.5, "loss": 1.5} for name in ("holdout", "test")}
    result = {"history": {"accuracy": [1.0]}, **accuracies}
    for name, backend in (("plain-1-seed_0", "jax"), ("rms-0.3-seed_0", "torch")):
        (tmp_path / f"{name}.json").write_text(json.dumps({**result, "backend": backend}))
    printed = compare(tmp_path, "--table_only").stdout
    assert "| plain | 1 | 1: 50.0 | 1 |" in printed
    assert "These are not pairs: they ran on jax and torch." in printed
    (tmp_path / "rms-0.3-seed_0.json").write_text("{")
    said = compare(tmp_path, "--table_only", status=1).error
    assert "rms-0.3-seed_0.json is damaged" in said
