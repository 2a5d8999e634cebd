"""What the documents say is true: code runs, flags exist, links lead somewhere."""

import ast
import re
import subprocess
import textwrap

import all_commands
import command_runner
import pytest
import small_dataset
import video_files
from paths import ROOT

from keras_rms import models
from keras_rms.models import presets
from keras_rms.models.presets import conversion, downloads

DOCUMENTS = sorted(
    path
    for folder in ("", "keras_rms", "pipelines", "scripts", ".github")
    for path in ((ROOT / folder).rglob("*.md") if folder else ROOT.glob("*.md"))
)
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]

# Of other programs: Apache Beam's and pip's.
FOREIGN_FLAGS = {"direct_num_workers", "direct_running_mode", "index-url"}

# A shell that runs nothing: it writes the words of each command into a file, with a line of its own
# for its end. Loops, variables and functions are the shell's own.
RECORDER = """
PATH=/nowhere
command_not_found_handle() { printf '%s\\n' "$@" '' >>"$RECORD"; }
source() { command_not_found_handle source "$@"; }
"""

of_each_document = pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)


def blocks(path, *languages):
    # Those in lists are indented.
    found = re.findall(r"^ *```(\w*)\n(.*?)^ *```", path.read_text(), re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(text) for language, text in found if language in languages]


def prose(path):
    """The text without blocks of code."""
    return re.sub(r"^ *```.*?^ *```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)


def commands(text, folder):
    """The words of each command of a piece of shell, as the shell would start it."""
    record = folder / "commands"
    record.write_text("")
    # One after the other: two at once would write into each other's lines.
    (folder / "block").write_text(RECORDER + text.replace(" &\n", "\n"))
    environment = {"RECORD": str(record), "HOME": "/home/somebody"}
    shell = ["/usr/bin/env", "bash", "--norc", str(folder / "block")]
    result = subprocess.run(shell, cwd=folder, env=environment, capture_output=True, text=True)
    complaints = [line for line in result.stderr.splitlines() if ": .venv/bin/" not in line]
    assert not complaints
    return [lines.splitlines() for lines in record.read_text().split("\n\n") if lines]


def test_the_documents_are_these():
    assert {"README.md", "keras_rms/README.md", "pipelines/README.md", "scripts/README.md"} <= set(
        NAMES
    )
    assert ".github/CONTRIBUTING.md" in NAMES


def test_the_readme_is_a_page():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


@of_each_document
def test_lines_are_short(path):
    long = [line for line in path.read_text().splitlines() if len(line) > 120]
    assert not [line for line in long if not re.fullmatch(r"\[[^\]]+\]: \S+", line)]


@pytest.mark.slow(30)
def test_python_of_the_documents_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small_dataset.make_dataset(tmp_path / "data", frames=70)
    names = {}
    for path in DOCUMENTS:
        for block in blocks(path, "python"):
            # Data sets and weights that are not here; a file of ONNX, which test_export has.
            if any(word in block for word in ("tensorflow_datasets", "rms.onnx", "_kinetics400")):
                compile(block, str(path), "exec")
            else:
                exec(compile(block, str(path), "exec"), names)
    assert names["accuracy"] > 0.9  # three colours
    assert names["resnet"].count_params() == 25_636_712
    assert names["network"].output_shape == (None, 174)


def test_the_first_screen_says_what_is_in_a_video(tmp_path, monkeypatch, capsys):
    """With a small network, of random weights, as if it had been downloaded."""
    name = "slow_only_50_kinetics400"
    row = presets.PRESETS[name]._replace(architecture="slow_only_18", width=4)
    monkeypatch.setitem(presets.PRESETS, name, row)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    downloads.cache_folder().mkdir(parents=True)
    network = models.build(row.architecture, rms=None, **conversion.builder_arguments(row))
    network.save(downloads.cache_folder() / f"{name}-{conversion.VERSION}.keras")
    monkeypatch.chdir(tmp_path)
    video_files.write_numbered("video.mp4", 90)
    block = blocks(ROOT / "README.md", "python")[0]
    assert len([line for line in block.splitlines() if line and "import" not in line]) == 3
    exec(compile(block, "README.md", "exec"), {})
    (found,) = ast.literal_eval(capsys.readouterr().out.splitlines()[-1])
    assert len(found) == 5 and {name for name, _ in found} < {*presets.class_names("kinetics400")}


def as_python(program, words):
    """The words after `python` that check the flags of a command and end; none for a program."""
    if program == "bash":
        assert (ROOT / words[0]).is_file()
        words = ["scripts/demo.py", *words[1:]] if words[0] == "scripts/demo.sh" else []
    elif program == "keras-rms":
        words = ["scripts/__main__.py", *words]
        if not words[1].startswith("--"):
            words.insert(2, "--only_check_args")
        return words
    elif program != "python" or words[0] == "-c":
        assert program in {"docker", "pip", "python", "sbatch", "source"}
        return []
    return [words[0], "--only_check_args", *words[1:]] if words else []


@pytest.mark.slow
@of_each_document
def test_commands_take_the_flags_that_they_are_given(path, tmp_path):
    for block in blocks(path, "bash", "shell"):
        found = commands(block, tmp_path)
        assert found or ".venv/bin/" in block
        for program, *words in found:
            if checked := as_python(program, words):
                run = command_runner.start(tmp_path / "run", *checked)
                assert run.status() == 0, f"{words}: {run.stderr}"


def test_a_wrong_flag_in_a_document_would_be_found(tmp_path):
    text = "for a in 1 2; do\n  keras-rms train --task=$a \\\n    --epoch=3 &\ndone; wait\n"
    found = commands(text, tmp_path)
    assert sorted(found) == [["keras-rms", "train", f"--task={a}", "--epoch=3"] for a in "12"]
    run = command_runner.start(tmp_path / "run", *as_python("keras-rms", found[0][1:]))
    assert run.status() == 1 and "Did you mean: epochs" in run.error


@pytest.fixture(scope="module")
def all_flags(tmp_path_factory):
    folder = tmp_path_factory.mktemp("help")
    found = {"help"}
    for number, command in enumerate(all_commands.COMMANDS + all_commands.EXAMPLES):
        run = command_runner.start(folder / str(number), *command, "--help")
        assert run.status() == (command in all_commands.EXAMPLES)  # absl ends its help with 1
        listed = re.findall(r"^  --(\[no\])?(\w+)", run.stdout, re.MULTILINE)
        found |= {name for _, name in listed} | {f"no{name}" for no, name in listed if no}
    return found


@of_each_document
def test_flags_of_the_text_exist(path, all_flags):
    named = set(re.findall(r"(?<![\w-])--(\w[\w-]*)", prose(path)))
    assert named - all_flags <= FOREIGN_FLAGS


def anchors(path):
    """The names under which GitHub links to the headings."""
    headings = re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading).strip().lower() for heading in headings]
    return {heading.replace(" ", "-") for heading in plain}


@of_each_document
def test_links_lead_somewhere(path):
    text = prose(path)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    labels = dict(re.findall(r"^\[([^\]]+)\]: (\S+)$", text, re.MULTILINE))
    used = set(re.findall(r"\]\[([^\]]+)\]", text)) | set(
        re.findall(r"(?<!\])\[([^\]]+)\](?![\[(:])", text)
    )
    for target in targets:
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target
    assert set(labels) <= used
    assert all(url.startswith("https://") for url in labels.values())
