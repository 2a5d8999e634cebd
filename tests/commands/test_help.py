"""--help of every command: it ends well, and describes each flag in a sentence with its unit."""

import re
from pathlib import Path

import command_runner
import pytest
from all_commands import COMMANDS

# What a number may count or measure.
UNITS = (
    "(frames|pixels|channels|positions|share|probability|number|factor|seconds|epochs?|steps?|clips"
    "|videos|threads|processes|devices|shards|files|classes|batches|checkpoints|parts|crops|scale"
    "|alpha|rate|split of this number)"
)


@pytest.fixture(scope="module", params=COMMANDS, ids=" ".join)
def helped(request, tmp_path_factory):
    """What a command's --help and -h print, and their exit statuses."""
    folder = tmp_path_factory.mktemp("help")
    runs = [command_runner.start(folder / word, *request.param, word) for word in ("--help", "-h")]
    return [(run.status(), run.stdout) for run in runs]


def flags_of(text):
    """[(--name and its notes, help)]"""
    found = re.findall(r"^  (-.*(?:\n {8}.*)*)\n((?: {6}\S.*\n)+)", text, re.MULTILINE)
    return [(" ".join(head.split()), " ".join(words.split())) for head, words in found]


def test_help_ends_with_status_0_and_h_is_the_same(helped):
    (status, text), (short_status, short_text) = helped
    assert status == short_status == 0
    assert text == short_text
    assert all(len(line) <= 100 for line in text.splitlines())


def test_help_begins_with_the_purpose_and_an_example(helped, request):
    text = helped[0][1]
    path = Path(request.node.callspec.params["helped"][0])
    name = path.stem.replace("_", "-")
    call = f"python {path}" if path.parent.name == "examples" else f"keras-rms {name}"
    assert text.index(".") < text.index(f" {call} ")


def test_flags_come_in_sections_with_titles(helped):
    titles = re.findall(r"^(\S[^\n]*):\n  -", helped[0][1], re.MULTILINE)
    assert titles[-1] == "Of every command"
    assert len(titles) > 1 and "Flags" not in titles


def test_every_flag_has_a_sentence_that_names_its_unit(helped):
    described = flags_of(helped[0][1])
    assert len(described) == len(re.findall("^  -", helped[0][1], re.MULTILINE)) > 3
    for head, words in described:
        assert re.match("[A-Z]", words) and words.endswith(".") and len(words.split()) > 3, head
        if re.search(r"\((an? )?[\w-]* ?(integer|number)", head):
            assert re.search(rf"\b{UNITS}\b", words), f"{head}: {words}"


def test_train_lists_what_belongs_together(tmp_path):
    run = command_runner.start(tmp_path / "train", "scripts/train.py", "--help")
    assert run.status() == 0
    sections = dict(re.findall(r"^(\S[^\n]*):\n((?:  .*\n)+)", run.stdout, re.MULTILINE))
    assert "--crop_size (a positive integer; default: 224)" in sections["Data"]
    assert "--data (required)" in sections["Data"]
    assert (
        "--rms (one of mean, gaussian, none; default: mean)"
        in sections["Random Mean Scaling (RMS)"]
    )
    assert "--[no]sync_bn (default: no)" in sections["Network"]
    assert "--work_dir (required)" in sections["Running"]
    assert "--crop_size" not in sections["Running"]


def test_helpfull_adds_the_flags_of_libraries(tmp_path):
    run = command_runner.start(tmp_path / "demo", "scripts/demo.py", "--helpfull")
    assert run.status() == 0
    assert "--[no]only_check_args" in run.stdout


def test_names_with_hyphens_are_understood(tmp_path):
    words = ["--work-dir=no-such-dir", "--batch-size", "4"]
    run = command_runner.start(tmp_path / "evaluate", "scripts/evaluate.py", *words)
    assert run.status() == 1
    assert "no-such-dir is not the work folder" in run.error
