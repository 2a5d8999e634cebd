"""The grid of a table: killed, continued, with a failure in it, and what is refused."""

import json
import os
import signal

import command_runner
import pytest
import small_dataset
import warm_children
from paths import ROOT

from keras_rms.training.work_dir.lock import lock_file

pytestmark = pytest.mark.slow(10)

SMALL = (
    "--width=4 --crop_size=32 --num_frames=2 --span=8 --batch_size=8 --epochs=1 --warmup_epochs=0 "
    "--dropout=0 --noflip"
).split()


def command(data, output, *flags, table="1d", extra=(), recipe=None):
    words = ["scripts/ablate.py", f"--table={table}", f"--data={data}"]
    words += [f"--output={output}", "--model=slow_only_18", "--seeds=1", "--views=2x1", *flags]
    words += ["--lines=1,2,4"] if table == "1d" and not flags else []
    words += [f"--recipe={recipe}"] if recipe else []
    return [*words, "--", *SMALL, *extra]


def run(*args, **kwargs):
    words = command(*args, **kwargs)
    return command_runner.run(*words, status=None, seconds=600, before=warm_children.install)


def start(words, **options):
    return command_runner.start(None, *words, before=warm_children.install, **options)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_dataset.make_dataset(tmp_path_factory.mktemp("data") / "data")


def test_a_killed_grid_continues_and_a_failure_is_isolated(tmp_path, data):
    output = tmp_path / "with a space"
    # The last of the three methods cannot start: its folder is a file.
    runs = output / "runs" / "slow_only_18"
    runs.mkdir(parents=True)
    (runs / "rms=gaussian-rms_stddev=1.0").write_text("in the way")

    recipe = tmp_path / "here.flags"
    recipe.write_text("--momentum=0.8\n")
    words = command(data, output, recipe=recipe)
    grid = start(words, session=True)
    first, second = (runs / name / "seed_0" for name in ("rms=none", "rms=mean"))
    grid.wait_for((second / "settings.json").exists)
    os.killpg(grid.process.pid, signal.SIGKILL)
    grid.process.join()
    written = (first / "model.keras").stat().st_mtime_ns
    assert not (second / "evaluation").exists()

    recipe = recipe.rename(tmp_path / "elsewhere.flags")
    result = run(data, output, recipe=recipe)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    assert "rms_stddev=1.0" in result.stderr.partition("failed:")[2]
    assert (first / "model.keras").stat().st_mtime_ns == written
    assert "(done before)" in result.stdout.splitlines()[0]
    table = json.loads((output / "table_1d.json").read_text())
    assert [len(line["runs"]) for line in table] == [1, 1, 0, 0, 0]
    assert (output / "table_1d.md").read_text().strip() in result.stdout
    for line in table:
        for each in line["runs"]:
            assert 0 <= each["top1"] <= each["top5"] == 1.0  # of three classes
    trained = [json.loads((folder / "settings.json").read_text()) for folder in (first, second)]
    assert [settings["rms"] for settings in trained] == ["none", "mean"]
    assert all((settings["width"], settings["momentum"]) == (4, 0.8) for settings in trained)

    # Other flags on the same folder are refused, not mixed into the table.
    changed = tmp_path / "changed.flags"
    changed.write_text("--momentum=0.7\n")
    others = [["--epochs=2"], [f"--flagfile={changed}"]]
    for other in (*({"extra": extra, "recipe": recipe} for extra in others), {"recipe": changed}):
        result = run(data, output, **other)
        assert result.returncode == 1
        assert result.stdout.count("FAILED. It was made with other flags") == 2


def test_a_training_that_outlived_its_grid_is_waited_for(tmp_path, data):
    words = command(data, tmp_path, "--lines=1", extra=["--epochs=30", "--validate_every=30"])
    grid = start(words)
    folder = tmp_path / "runs" / "slow_only_18" / "rms=none" / "seed_0"
    grid.wait_for((folder / "log.jsonl").exists)
    grid.end()  # alone
    assert not (folder / "model.keras").exists()
    result = command_runner.run(*words, before=warm_children.install)
    assert "Waiting. Another training is running in" in result.stdout
    assert (folder / "output.txt").read_text().count("$ keras-rms train") == 1
    table = json.loads((tmp_path / "table_1d.json").read_text())
    assert [len(line["runs"]) for line in table] == [1, 0, 0, 0, 0]


def write_finished(folder):
    (folder / "evaluation").mkdir(parents=True)
    (folder / "model.keras").touch()
    settings = {"train_split": "train", "validation_split": "validation", "seed": 0}
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "log.csv").write_text("epoch,top1,validation_top1,seconds\n1,1.0,0.5,9.0\n")
    for name in ("train_1x1", "validation_2x1"):
        scores = json.dumps({"top1": 0.5, "top5": 1.0})
        (folder / "evaluation" / f"{name}.json").write_text(scores)


def test_a_run_that_another_grid_is_at_is_left_for_the_end(tmp_path, data):
    folders = [tmp_path / f"runs/slow_only_18/rms={name}/seed_0" for name in ("none", "mean")]
    for folder in folders:
        write_finished(folder)
    with lock_file(folders[0] / ".grid.lock", "Taken", ""):
        grid = command_runner.start(None, *command(data, tmp_path, "--lines=1,2"))
        grid.wait_for(lambda: "[2/2]" in grid.stdout)
        assert "[1/2] slow_only_18 --rms=none seed 0: left for the end. Another gr" in grid.stdout
        assert grid.process.is_alive()
    assert grid.status() == 0, grid.stderr
    assert grid.stdout.index("[2/2]") < grid.stdout.index("[1/2] slow_only_18 --rms=none seed 0: t")


def test_sigterm_ends_the_training_too(tmp_path, data):
    grid = start(command(data, tmp_path, extra=["--epochs=1000"]))
    output = tmp_path / "runs/slow_only_18/rms=none/seed_0/output.txt"
    # From here on a training hears SIGTERM.
    grid.wait_for(lambda: output.exists() and "first step compiles" in output.read_text())
    grid.send(signal.SIGTERM)
    assert grid.status(60) == 130
    assert "continues" in grid.stderr
    assert "Stopped on request after step" in output.read_text()


def test_grids_that_share_a_folder_may_write_their_table_at_once(tmp_path):
    writes = (
        "import pathlib, sys, ablate\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "write = lambda _: ablate._write(pathlib.Path(sys.argv[1]), 'a table')\n"
        "list(ThreadPoolExecutor(8).map(write, range(500)))"
    )
    variables = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'scripts'}"}
    command_runner.run("-c", writes, tmp_path / "new" / "table.md", variables=variables)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["table.md"]


def test_table_5_begins_with_the_network_of_the_same_seed(tmp_path, data):
    table_4, output = tmp_path / "table_4", tmp_path / "table_5"
    words = (f"--kinetics_runs={table_4}", "--lines=2")
    result = run(data, output, *words, table="5")
    begins = table_4 / "runs" / "slow_only_18" / "rms=mean" / "seed_0"
    assert result.returncode == 1
    assert f"{begins} has no finished training to begin with" in result.stdout
    write_finished(begins)
    result = run(data, output, *words, table="5", extra=["--flip_classes="])
    assert result.returncode == 1
    # An empty file is not trained from scratch.
    assert f"{begins / 'model.keras'}" in result.stdout.partition("FAILED.")[2]


@pytest.mark.parametrize(
    ("flags", "table", "named"),
    [
        ((), "6", "has no cifar100 or imagenet"),
        ((), "5", "--output of --table=4 by --kinetics_runs"),
        (("--", "--init-head=new"), "5", "--output of --table=4 by --kinetics_runs"),
        (("--kinetics_runs=x", "--", "--init-from=y"), "5", "leave out one of them"),
        (("--", "--validation-split="), "1b", "leave out --validation_split="),
        (("--data=nowhere",), "1b", "nowhere does not exist"),
        (("--lines=2,8",), "1b", "numbers from 1 to 7"),
    ],
)
def test_refusals_are_one_paragraph(tmp_path, data, flags, table, named):
    words = command(data, tmp_path, *flags, table=table)
    result = command_runner.run(*words, status=1, cold=not flags and table == "5")
    assert named in result.error
    assert not (tmp_path / "runs").exists()
