"""The files of flags in scripts/recipes/: commands take them, and their headers tell the truth."""

import json
import re
import shlex
from pathlib import Path

import command_runner
import pytest
from paths import ROOT

import recipes
from keras_rms.training import networks
from keras_rms.training.freezing import FrozenStages

RECIPES = sorted((ROOT / "scripts" / "recipes").glob("*.flags"))
OF_IMAGES = [path for path in RECIPES if path.stem.startswith(("cifar100_", "imagenet_"))]
OF_THE_PAPER = [path for path in RECIPES if not path.stem.startswith(("demo_", "fine_tune"))]
WITH_COMMANDS = [path for path in RECIPES if not path.stem.startswith("demo_")]

# Loads a script without running it and parses command lines with its flags.
PARSE = """
import importlib.util, json, sys
from absl import flags
sys.path.insert(0, "scripts")
import recipes
spec = importlib.util.spec_from_file_location("script", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
getattr(module, "_define_flags", lambda: None)()
values = []
for words in json.load(sys.stdin):
    flags.FLAGS.unparse_flags()
    for name in flags.FLAGS:
        flags.FLAGS[name].unparse()
    rest = flags.FLAGS(recipes.in_place_of_names(["main", *words]))
    values.append({**flags.FLAGS.flag_values_dict(), "rest": rest[1:]})
print("VALUES " + json.dumps(values, default=str))
"""


def parsed(script, lines):
    """The values of a script's flags for each list of words."""
    result = command_runner.run("-c", PARSE, script, text=json.dumps(lines))
    return json.loads(result.stdout.rpartition("VALUES ")[2])


def header(path):
    return "\n".join(line for line in path.read_text().splitlines() if line.startswith("#"))


def commands(path, name):
    """The words after the command's name in each line of the header that runs it."""
    found = re.findall(rf"^# +keras-rms {name} (.*)$", header(path), re.MULTILINE)
    return [shlex.split(words) for words in found]


def parsed_commands(script, name, paths):
    """Recipe -> the flags of each command of that name in its header."""
    lines = [(path, words) for path in paths for words in commands(path, name)]
    found = {path: [] for path in paths}
    for (path, _), values in zip(lines, parsed(script, [words for _, words in lines])):
        found[path].append(values)
    return found


@pytest.fixture(scope="module")
def trainings():
    """Recipe -> the flags of each training command in its header."""
    found = parsed_commands("scripts/train.py", "train", RECIPES)
    assert {path.stem: len(values) for path, values in found.items() if len(values) != 1} == {
        "fine_tune": 3
    }
    return found


@pytest.fixture(scope="module")
def training(trainings):
    """Recipe -> the flags of the first training command in its header."""
    return {path: values[0] for path, values in trainings.items()}


@pytest.mark.slow
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_command_of_the_header_reads_the_recipe(path, training):
    values = training[path]
    assert values["rest"] == []
    given = re.findall(r"^--(\w+)", path.read_text(), re.MULTILINE)
    assert len(given) == len(set(given)) > 5
    assert values["model"] == re.search(r"^--model=(.*)$", path.read_text(), re.MULTILINE)[1]
    assert values["warmup_epochs"] < values["epochs"]
    assert all(0 < float(epoch) < values["epochs"] for epoch in values["decay_epochs"])


@pytest.mark.slow
@pytest.mark.parametrize("path", WITH_COMMANDS, ids=lambda path: path.stem)
def test_the_network_exists_and_takes_the_options(path, training):
    values = training[path]
    model = networks.build_network(
        values["model"], 7, values["num_frames"], rms=values["rms"], dropout=0.5, width=8
    )
    time = () if path in OF_IMAGES else (values["num_frames"],)
    assert model.input_shape == (None, *time, None, None, 3)
    assert any("rms" in layer.name for layer in model.layers)
    FrozenStages(model, values["freeze"])


@pytest.mark.slow
def test_the_evaluation_of_the_header_is_of_the_training_and_over_the_papers_views(trainings):
    evaluations = parsed_commands("scripts/evaluate.py", "evaluate", WITH_COMMANDS)
    for path, found in evaluations.items():
        views = "1x1" if path in OF_IMAGES else "10x3"
        for evaluation, training in zip(found, trainings[path], strict=True):
            assert evaluation["work_dir"] == training["work_dir"]
            assert (evaluation["views"], evaluation["rest"]) == (views, [])


@pytest.mark.slow
def test_the_conversion_of_the_header_makes_what_is_trained_on(trainings):
    outputs = {}
    for path in WITH_COMMANDS:
        for words, training in zip(commands(path, "convert"), trainings[path], strict=True):
            outputs[tuple(words)] = training["data"]
    values = parsed("pipelines/convert.py", list(outputs))
    for conversion, data in zip(values, outputs.values()):
        assert (conversion["output"], conversion["rest"]) == (data, [])
        assert conversion["split"] == "train,validation"


def test_headers_give_the_papers_accuracies():
    """Table 1 (d), 4, 5 and 6, retyped from the paper."""
    expected = {
        "mini_kinetics_slow_only_34": ("Table 1", [(74.7, 92.1), (77.0, 93.5), (77.5, 93.9)]),
        "mini_kinetics_slow_only_50": ("Table 1", [(77.5, 93.2), (78.6, 94.0), (78.3, 94.1)]),
        "kinetics400_slow_only_50": ("Table 4", [(73.0, 90.9), (74.2, 91.5), (74.8, 91.6)]),
        "kinetics400_slow_fast_50": ("Table 4", [(75.0, 92.1), (76.3, 92.5)]),
        "kinetics400_ip_csn_50": ("Table 4", [(69.7, 88.6), (70.5, 89.6)]),
        "something_something_v2_slow_fast_50": ("Table 5", [(59.5, 86.6), (61.2, 87.6)]),
        "cifar100_resnet_110": ("Table 6", [(74.49, 93.18), (77.17, 94.15)]),
        "imagenet_resnet_50": ("Table 6", [(76.81, 93.26), (77.62, 93.91)]),
    }
    assert {path.stem for path in OF_THE_PAPER} == set(expected)
    for path in OF_THE_PAPER:
        table, accuracies = expected[path.stem]
        rows = re.findall(r"^# +([\d.]+) / ([\d.]+)  --rms=(\w+)$", header(path), re.MULTILINE)
        assert [(float(top1), float(top5)) for top1, top5, _ in rows] == accuracies
        assert [rms for *_, rms in rows] == ["none", "mean", "gaussian"][: len(rows)]
        assert table in header(path) and "Not run by us" in header(path)


@pytest.mark.slow
def test_something_something_swaps_left_and_right(training):
    by_name = {path.stem: values for path, values in training.items()}
    values = by_name["something_something_v2_slow_fast_50"]
    assert values["flip_classes"] == ["86:87", "93:94", "166:167"]
    assert values["init_from"] == by_name["kinetics400_slow_fast_50"]["work_dir"]
    assert (values["schedule"], values["learning_rate"]) == ("steps", 0.01)


def test_a_recipe_is_found_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    quick = ROOT / "scripts" / "recipes" / "demo_quick.flags"
    assert recipes.names() == [path.stem for path in RECIPES]
    (tmp_path / "demo_quick").mkdir()  # no file of flags
    assert recipes.find("demo_quick") == recipes.find("demo_quick.flags") == quick
    (tmp_path / "demo_quick.flags").touch()
    (tmp_path / "own").touch()
    assert recipes.find("demo_quick.flags") == Path("demo_quick.flags")
    for unknown in ("slow", "../recipes/demo_quick", ""):
        with pytest.raises(ValueError, match=r"neither a file .*, demo_quick, fine_tune, imagenet"):
            recipes.find(unknown)
    words = ["train", "--flagfile=demo_quick", "-flagfile", "own", "--data=demo_quick", "--"]
    path = f"--flagfile={quick}"
    assert recipes.in_place_of_names([*words, "--flagfile=x"]) == [
        "train", path, "-flagfile", "own", "--data=demo_quick", "--", "--flagfile=x"
    ]  # fmt: skip
    assert recipes.in_place_of_names(["train", "--flagfile"]) == ["train", "--flagfile"]


@pytest.mark.slow
def test_a_recipe_by_its_name_leaves_the_other_flags_to_be_read_early(tmp_path):
    words = ["--flagfile=demo_quick", "--precision=mixed_bfloat16", "--data=no-such-data"]
    run = command_runner.start(
        tmp_path / "output",
        "scripts/train.py",
        *words,
        "--work_dir=x",
        variables={"TF_ENABLE_ONEDNN_OPTS": None},
        cold=True,
    )
    assert run.status() == 1
    assert "no-such-data" in run.error and "oneDNN" not in run.error


def test_an_unknown_recipe_is_one_paragraph(tmp_path):
    run = command_runner.start(tmp_path / "output", "scripts/train.py", "--flagfile=slow")
    assert run.status() == 1
    assert run.error.startswith("error: slow is neither a file of flags nor the name of a recipe.")
