"""The conversion as users run it: the command line, kills, full disks, two runs at once."""

import csv
import errno
import fcntl
import filecmp
import json
import os
import random
import shutil
import signal
import sys
import time
import types

import command_runner
import pytest
import tensorflow as tf
import unused_packages
import video_files
from paths import ROOT

from pipelines.conversion import beam_runner, conversion_job, output_folder
from pipelines.conversion.conversion_plan import Settings
from pipelines.conversion.split_plans import Conversion
from pipelines.frames import isolated_reader, video_file
from pipelines.layouts import annotations
from pipelines.shards import split_index, verification
from pipelines.system import command_line
from pipelines.system.parts import Part
from pipelines.system.text import printable

SCRIPT = os.path.join(ROOT, "pipelines", "convert.py")


def words(*options, **arguments):
    return [SCRIPT, *(f"--{name}={value}" for name, value in arguments.items()), *options]


def run(*options, how=None, **arguments):
    """Runs the command to its end; `how` has options of `command_runner.run`."""
    return command_runner.run(*words(*options, **arguments), **{"status": None, **(how or {})})


def snapshot(folder):
    """Content of every file but the locks."""
    names = sorted(name for name in os.listdir(folder) if not name.endswith(".lock"))
    return {name: open(os.path.join(folder, name), "rb").read() for name in names}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Two classes of eight videos, of which one is empty."""
    folder = tmp_path_factory.mktemp("videos")
    for label in ("jump", "run"):
        (folder / label).mkdir()
        for number in range(8):
            name = folder / label / f"{label} {number},é.mp4"
            video_files.write_numbered(name, 10 + number, rate=25 if number % 2 else 30)
    (folder / "run" / "empty.mp4").touch()
    return str(folder)


def convert(videos, output, split="train", dataset="folder", workers=2, source=None, **options):
    settings = Settings(**{"short_side": 48, **options.pop("settings", {})})
    source = annotations.Source(videos=videos, **(source or {}))
    splits = tuple(split.split(","))
    return conversion_job.convert_splits(
        Conversion(source, dataset, str(output), splits, settings, **options),
        conversion_job.Runner(workers=workers),
    )


# --- the result ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_manifest_index_and_labels(videos, tmp_path):
    manifests = convert(videos, tmp_path, "train,validation")
    assert list(manifests) == ["train", "validation"]
    train, validation = (split_index.load_index(str(tmp_path), name) for name in manifests)
    assert (tmp_path / "labels.txt").read_text() == "jump\nrun\n"
    assert len(train) + len(validation) == 16 and len(validation) == 5
    assert not set(train.keys) & set(validation.keys)
    manifest = train.manifest
    assert manifest["num_listed"] == 12 and manifest["num_failures"] == 1
    assert manifest["failures"] == [
        {
            "key": "run/empty.mp4",
            "path": "run/empty.mp4",
            "cause": "is empty (0 bytes)",
            "lasting": True,
        }
    ]
    assert manifest["settings"] == {"fps": 25, "short_side": 48, "quality": 4, "upscale": True}
    assert manifest["dataset"] == "folder" and manifest["videos_per_class"] == [6, 5]
    for index in (train, validation):
        for number, key in enumerate(index.keys):
            video = split_index.read_video(index, number)
            assert video.key == key and index.class_names[video.label] == key.split("/")[0]
            count = 10 + int(key.split(" ")[1][0])
            rate = 25 if count % 2 else 30
            assert abs(len(video.frames) - count * 25 / rate) <= 0.5
            # At 30 frames a second the last frame may have no slot of its own.
            assert video_files.numbers(video.frames[-1:])[0] >= count - (1 if rate == 25 else 2)


@pytest.mark.slow
def test_the_bytes_do_not_depend_on_the_workers(videos, tmp_path):
    for workers in (1, 2, 5):
        convert(videos, tmp_path / str(workers), workers=workers)
    first = snapshot(tmp_path / "1")
    assert snapshot(tmp_path / "2") == first and snapshot(tmp_path / "5") == first


def test_running_again_redoes_nothing(videos, tmp_path, capfd):
    convert(videos, tmp_path)
    before = {name: os.stat(tmp_path / name).st_mtime_ns for name in os.listdir(tmp_path)}
    content = snapshot(tmp_path)
    convert(videos, tmp_path)
    assert "All 12 shards of 'train' are finished already." in capfd.readouterr().err
    assert snapshot(tmp_path) == content
    for name, changed in before.items():
        if name.endswith(".tfrecord") or "-of-" in name:
            assert os.stat(tmp_path / name).st_mtime_ns == changed


def test_only_what_changed_is_converted_again(videos, tmp_path):
    shutil.copytree(videos, tmp_path / "v", copy_function=shutil.copy2)
    convert(str(tmp_path / "v"), tmp_path / "out", num_shards=4)
    before = snapshot(tmp_path / "out")
    times = {name: os.stat(tmp_path / "out" / name).st_mtime_ns for name in before}
    # The missing video comes to life.
    video_files.write_numbered(tmp_path / "v" / "run" / "empty.mp4", 9)
    manifest = convert(str(tmp_path / "v"), tmp_path / "out", num_shards=4)["train"]
    assert manifest["num_failures"] == 0 and manifest["num_videos"] == 12
    changed = [
        name
        for name in before
        if name.endswith(".tfrecord")
        and os.stat(tmp_path / "out" / name).st_mtime_ns != times[name]
    ]
    assert len(changed) == 1


def test_what_failed_for_want_of_time_or_permission_is_tried_again(videos, tmp_path, capfd):
    shutil.copytree(videos, tmp_path / "v", copy_function=shutil.copy2)
    arguments = {"num_shards": 4, "source": {"validation_share": 0}}
    kept = read_frames = isolated_reader.IsolatedReader.read_frames

    def hurried(self, path, **settings):
        if "run 3" in path:
            raise video_file.VideoError(path, "given up: decoding took more than 0.1 s", False)
        return read_frames(self, path, **settings)

    isolated_reader.IsolatedReader.read_frames = hurried
    try:
        manifest = convert(str(tmp_path / "v"), tmp_path / "out", workers=1, **arguments)["train"]
    finally:
        isolated_reader.IsolatedReader.read_frames = kept
    assert manifest["num_failures"] == 2  # with the empty one
    names = snapshot(tmp_path / "out")
    before = {name: os.stat(tmp_path / "out" / name).st_mtime_ns for name in names}
    manifest = convert(str(tmp_path / "v"), tmp_path / "out", **arguments)["train"]
    assert "1 shards of 'train' lack videos for want of time" in capfd.readouterr().err
    assert manifest["num_failures"] == 1
    shards = [name for name in before if name.endswith(".tfrecord")]
    changed = [n for n in shards if os.stat(tmp_path / "out" / n).st_mtime_ns != before[n]]
    assert len(changed) == 1
    assert split_index.load_index(str(tmp_path / "out"), "train").keys


def test_shards_of_another_number_are_named(videos, tmp_path, capfd):
    convert(videos, tmp_path, num_shards=2)
    convert(videos, tmp_path, split="validation", num_shards=3)
    assert "earlier" not in capfd.readouterr().err
    convert(videos, tmp_path, num_shards=3)
    said = capfd.readouterr().err
    assert "2 shards of an earlier conversion remain" in said
    assert f"Remove {tmp_path}/train-*-of-00002.* to" in said


@pytest.mark.slow
def test_an_output_with_the_scheme_of_files(videos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    convert(videos, f"file://{tmp_path}/out")
    assert os.listdir(tmp_path) == ["out"]
    convert(videos, tmp_path / "plain")
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "plain")
    assert len(split_index.load_index(f"file://{tmp_path}/out", "train")) == 11


@pytest.mark.slow
def test_shards_without_a_video_may_be_absent(videos, tmp_path):
    """As they are in stores that hold no empty files."""
    convert(videos, tmp_path, num_shards=17, source={"validation_share": 0})
    empty = [name for name, content in snapshot(tmp_path).items() if not content]
    assert len(empty) == 1
    os.remove(tmp_path / empty[0])
    whole, problems = verification.check_split(split_index.load_index(str(tmp_path), "train"))
    assert len(whole) == 16 and not problems
    before = snapshot(tmp_path)
    convert(videos, tmp_path, num_shards=17, source={"validation_share": 0})
    assert snapshot(tmp_path) == before


@pytest.mark.slow
def test_other_settings_replace_a_finished_split_only_when_told_to(videos, tmp_path):
    convert(videos, tmp_path, settings={"quality": 4})
    first = snapshot(tmp_path)
    with pytest.raises(
        ValueError, match=r"train is converted already.*quality was 4 and is now 12"
    ):
        convert(videos, tmp_path, settings={"quality": 12})
    assert snapshot(tmp_path) == first
    convert(videos, tmp_path, settings={"quality": 12}, overwrite=True)
    second = snapshot(tmp_path)
    assert all(first[n] != second[n] for n in first if n.endswith(".tfrecord") and first[n])
    convert(videos, tmp_path, settings={"quality": 4}, overwrite=True)
    assert snapshot(tmp_path) == first


@pytest.mark.slow
def test_a_finished_split_loses_videos_only_when_told_to(videos, tmp_path):
    folder, output = tmp_path / "v", tmp_path / "out"
    shutil.copytree(videos, folder, copy_function=shutil.copy2)
    convert(str(folder), output, "all")
    before = snapshot(output)
    shutil.rmtree(folder / "jump")
    (folder / "run" / "empty.mp4").unlink()  # what failed may go
    video_files.write_numbered(folder / "run" / "new.mp4", 9)
    with pytest.raises(ValueError, match=r"8 of its 16 videos would be gone \(.*jump.*, \.\.\.\)"):
        convert(str(folder), output, "all")
    assert snapshot(output) == before
    manifest = convert(str(folder), output, "all", overwrite=True)["all"]
    assert manifest["num_videos"] == 9 and manifest["videos_per_class"] == [0, 9]


def test_trimming_by_a_list(videos, tmp_path):
    (tmp_path / "list.csv").write_text(
        'path,label,start,end\n"jump/jump 7,é.mp4",early,0,0.2\n"jump/jump 7,é.mp4",late,0.4,0.6\n'
    )
    source = {"annotations": str(tmp_path / "list.csv")}
    convert(videos, tmp_path / "out", "test", dataset="csv", source=source)
    index = split_index.load_index(str(tmp_path / "out"), "test")
    frames = {
        index.class_names[index.labels[n]]: video_files.numbers(
            split_index.read_video(index, n).frames
        )
        for n in range(2)
    }
    assert frames == {"early": [0, 1, 2, 3, 4], "late": [10, 11, 12, 13, 14]}


# --- label maps and splits -----------------------------------------------------------------------


def lists(folder, **texts):
    for name, text in texts.items():
        (folder / f"{name}.csv").write_text(text)
    return {"annotations": str(folder)}


def test_splits_share_one_label_map_even_if_one_lacks_a_class(videos, tmp_path):
    source = lists(
        tmp_path,
        train='"run/run 1,é.mp4",run\n"jump/jump 1,é.mp4",jump\n',
        val='"run/run 2,é.mp4",run\n',
    )
    for output, splits in (("together", ["train,val"]), ("apart", ["train", "val"])):
        for split in splits:
            convert(videos, tmp_path / output, split, dataset="csv", source=source)
        index = split_index.load_index(str(tmp_path / output), "val")
        assert index.class_names == ["jump", "run"] and index.labels.tolist() == [1]
    assert snapshot(tmp_path / "together") == snapshot(tmp_path / "apart")


def test_a_label_map_that_contradicts_is_an_error(videos, tmp_path):
    source = lists(tmp_path, train='"run/run 1,é.mp4",run\n', val='"run/run 2,é.mp4",walk\n')
    convert(videos, tmp_path / "out", "train", dataset="csv", source=source)
    before = snapshot(tmp_path / "out")
    with pytest.raises(ValueError, match=r"'walk' of this dataset is not in it"):
        convert(videos, tmp_path / "out", "val", dataset="csv", source=source)
    assert snapshot(tmp_path / "out") == before


def test_a_video_in_two_splits_is_an_error(videos, tmp_path):
    text = '"run/run 1,é.mp4",run\n"run/run 2,é.mp4",run\n'
    source = lists(tmp_path, train=text, val='"run/../run/run 2,é.mp4",run\n')
    with pytest.raises(ValueError, match=r"1 videos are both in 'train' and in 'val'.*run 2"):
        convert(videos, tmp_path / "out", "train,val", dataset="csv", source=source)
    assert snapshot(tmp_path / "out") == {}


# --- the command line ----------------------------------------------------------------------------


@pytest.mark.slow
def test_failures_past_the_limit_end_with_an_error_and_keep_the_rest(videos, tmp_path):
    arguments = {"dataset": "folder", "videos": videos, "output": tmp_path, "short_side": 48}
    ended = run(**arguments, validation_share=0, split="all")
    assert ended.returncode == 1
    assert "left out: run/empty.mp4: is empty (0 bytes)" in ended.stderr
    assert "1 of the 17 videos of 'all' (5.9%) could not be converted" in " ".join(
        ended.stderr.split()
    )
    assert "17/17" in ended.stderr and "video/s" in ended.stderr, "the progress bar is missing"
    assert "Traceback" not in ended.stderr
    assert len(split_index.load_index(str(tmp_path), "all")) == 16
    before = snapshot(tmp_path)
    ended = run(**arguments, validation_share=0, split="all", max_failures=0.059)
    assert ended.returncode == 0, ended.stderr
    assert snapshot(tmp_path) == before


@pytest.mark.slow
def test_a_folder_elsewhere_and_no_installation(videos, tmp_path):
    # From another folder, where no `pipelines` can be imported by chance.
    arguments = {"dataset": "folder", "videos": videos, "split": "validation"}
    variables = {"PYTHONPATH": unused_packages.FOLDER}
    how = {"cwd": tmp_path, "variables": variables, "cold": True}
    ended = run(**arguments, output="out", how=how)
    assert ended.returncode == 0, ended.stderr
    assert split_index.load_index(str(tmp_path / "out"), "validation").manifest["num_videos"] == 5


def test_dry_run_writes_nothing(videos, tmp_path):
    arguments = {"dataset": "folder", "videos": videos, "output": tmp_path / "out"}
    ended = run("--dry_run", **arguments, split="train,validation")
    assert ended.returncode == 0, ended.stderr
    assert not (tmp_path / "out").exists()
    rows = [line.split() for line in ended.stdout.splitlines()[:4]]
    assert rows == [
        ["class", "train", "validation"],
        ["jump", "6", "2"],
        ["run", "6", "3"],
        ["total", "12", "5"],
    ]
    assert "train: 12 videos in 12 shards, 0 missing" in ended.stdout
    assert "expected from 8 videos:" in ended.stdout and "GB" in ended.stdout


def test_dry_run_lists_missing_files_and_leaks(videos, tmp_path):
    (tmp_path / "train.csv").write_text("gone.mp4,a\nrun/../../secret.mp4,a\n")
    (tmp_path / "val.csv").write_text("gone.mp4,a\n")
    arguments = {"dataset": "csv", "videos": videos, "annotations": tmp_path}
    ended = run("--dry_run", **arguments, split="train,val")
    assert ended.returncode == 1
    assert "missing: gone.mp4" in ended.stdout
    assert "1 videos are both in 'train' and in 'val'" in " ".join(ended.stderr.split())


@pytest.mark.parametrize(
    "change, message",
    [
        ({"videos": "NOWHERE"}, "There is no folder"),
        ({"dataset": "kinetics800"}, "dataset"),
        ({"split": "../evil"}, "Received: split='../evil'"),
        ({"split": ""}, "Received: split=''"),
        ({"quality": 99}, "Received: quality=99"),
        ({"fps": -1}, "Received: fps=-1"),
        ({"fps": "fast"}, "fps"),
        ({"num_shards": 0}, "num_shards"),
        ({"workers": 0}, "workers"),
        ({"validation_share": 1.5}, "Received: validation_share=1.5"),
        ({"dataset": "csv"}, "needs --annotations=FILE"),
        ({"output": "/proc/nowhere"}, "--output=/proc/nowhere cannot be made"),
        ({"runner": "NoRunner"}, "NoRunner"),
        ({"outptu": "x"}, "Unknown command line flag 'outptu'"),
    ],
)
def test_wrong_flags(videos, tmp_path, change, message):
    arguments = {"dataset": "folder", "videos": videos, "output": tmp_path / "out", **change}
    if arguments["videos"] == "NOWHERE":
        arguments["videos"] = tmp_path / "nowhere"
    ended = run(**arguments)
    assert ended.returncode != 0
    assert message in " ".join(ended.stderr.split()) + " ".join(ended.stdout.split())
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "evil").exists()


def test_stray_arguments_and_missing_output(videos, tmp_path):
    ended = run("stray", dataset="folder", videos=videos, output=tmp_path)
    assert ended.returncode == 1 and "Received: stray" in ended.stderr
    ended = run(dataset="folder", videos=videos)
    assert ended.returncode == 1 and "Give it as --output" in ended.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_output(videos, tmp_path):
    (tmp_path / "out").mkdir(mode=0o500)
    ended = run(dataset="folder", videos=videos, output=tmp_path / "out")
    assert ended.returncode == 1 and "permission denied" in ended.stderr.lower()


def test_a_list_of_another_folder(videos, tmp_path):
    (tmp_path / "list.csv").write_text("a.mp4,run\nb.mp4,run\n")
    ended = run(
        dataset="csv", videos=videos, annotations=tmp_path / "list.csv", output=tmp_path / "out"
    )
    assert ended.returncode == 1
    assert "2 of the 2 listed videos are not in" in " ".join(ended.stderr.split())


def test_nothing_that_works(videos, tmp_path):
    (tmp_path / "list.csv").write_text("run/empty.mp4,run\n")
    ended = run(
        dataset="csv", videos=videos, annotations=tmp_path / "list.csv", output=tmp_path / "out"
    )
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert "None of the 1 videos could be converted. run/empty.mp4: is empty" in " ".join(
        ended.stderr.split()
    )


# --- kills, full disks and company ---------------------------------------------------------------


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Videos that take some seconds to convert."""
    folder = tmp_path_factory.mktemp("many")
    noise = random.Random(0)
    for label in ("a", "b"):
        (folder / label).mkdir()
        source = video_files.write_numbered(folder / label / "0.mp4", 150, height=240, width=320)
        for number in range(1, 8):
            shutil.copy(source, folder / label / f"{noise.randrange(10**6)}-{number}.mp4")
    return {"dataset": "folder", "videos": str(folder), "validation_share": 0, "workers": 2}


@pytest.fixture(scope="module")
def whole(many, tmp_path_factory):
    """The files of their conversion."""
    folder = tmp_path_factory.mktemp("whole")
    assert run(**many, output=folder).returncode == 0
    return snapshot(folder)


def labels_begun(names):
    """Nobody may clear them: another split, converted at the same time, writes such a file too."""
    return {name for name in names if name.startswith("labels.txt.")}


def check_what_is_left(folder, expected, finished):
    """Whatever is there under its name is whole, and stays. Returns the finished shards."""
    present = snapshot(folder)
    for name, content in present.items():
        if not name.endswith(".tmp"):
            assert content == expected[name], name
    shards = {name for name in present if name.endswith(".tfrecord")}
    reported = {name for name in shards if name.replace(".tfrecord", ".json") in present}
    assert finished <= reported, finished - reported
    if "train.json" in present:
        # The manifest comes last: nothing may be missing beside it.
        assert present.keys() - labels_begun(present) == expected.keys()
    return reported


@pytest.mark.slow
@pytest.mark.parametrize("sign", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_killed_at_any_moment_and_resumed(many, whole, tmp_path, sign):
    seed = random.randrange(1000)
    generator = random.Random(seed)
    finished = set()
    started = tmp_path / ".train.lock"
    for _ in range(4):
        # Its start-up is no part of what is tested.
        started.unlink(missing_ok=True)
        process = command_runner.start(None, *words(**many, output=tmp_path))
        process.wait_for(started.exists)
        time.sleep(generator.uniform(0.0, 1.5))
        process.send(getattr(signal, sign))
        status = process.status()
        assert status in (0, command_line.INTERRUPTED, -getattr(signal, sign)), f"seed {seed}"
        assert "Traceback" not in process.stderr, process.stderr
        finished = check_what_is_left(tmp_path, whole, finished)
        if (tmp_path / "train.json").exists():
            break
    ended = run(**many, output=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert snapshot(tmp_path) == whole


# Ends its own process before (1, 2, ...) or after (-1, -2, ...) a file gets its name.
KILLED = """
import os, runpy, signal, sys
moment, rename, count = int(sys.argv[1]), os.replace, 0
sys.argv = sys.argv[2:]

def replace(*names):
    global count
    count += 1
    if count == abs(moment):
        print(os.path.basename(names[1]), flush=True)
    if count == moment:
        os.kill(os.getpid(), signal.SIGKILL)
    rename(*names)
    if count == -moment:
        os.kill(os.getpid(), signal.SIGKILL)

os.replace = replace
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
def test_killed_before_and_after_each_file_gets_its_name(videos, tmp_path):
    arguments = {"dataset": "folder", "videos": videos, "short_side": 48, "num_shards": 3}
    arguments |= {"workers": 1, "max_failures": 0.1}
    assert run(**arguments, output=tmp_path / "whole").returncode == 0
    expected = snapshot(tmp_path / "whole")
    # The label map, each shard and its report, the index and the manifest.
    assert len(expected) == 1 + 2 * 3 + 2
    output, finished, before, after = tmp_path / "out", set(), set(), set()
    # A shard without its report is converted again, so that the third kill leaves one shard more.
    for moment in (1, -1, -2) * 4:
        ended = command_runner.run(
            "-c", KILLED, moment, *words(**arguments, output=output), status=-signal.SIGKILL
        )
        (before if moment > 0 else after).add(ended.stdout.split()[-1])
        finished = check_what_is_left(output, expected, finished)
    shards = {name for name in expected if name.endswith(".tfrecord")}
    reports = {name.replace(".tfrecord", ".json") for name in shards}
    assert len(finished) == 3 and shards - {sorted(shards)[0]} <= before, (before, after)
    assert reports | {"labels.txt", "train.json", "train.index.npz"} <= after, (before, after)
    assert run(**arguments, output=output).returncode == 0
    left = snapshot(output)
    assert {name: left[name] for name in left.keys() - labels_begun(left)} == expected


@pytest.mark.slow
@pytest.mark.parametrize("limit", [100_000, 400_000])
def test_a_full_disk_loses_nothing_and_says_what_to_do(many, tmp_path, limit):
    arguments = {**many, "num_shards": 2}
    ended = run(**arguments, output=tmp_path, how={"largest_file": limit})
    assert ended.returncode == 1
    assert "cannot be written" in ended.error and "run the same command again" in ended.error
    assert not [name for name in os.listdir(tmp_path) if name.endswith((".tfrecord", ".tmp"))]
    assert run(**arguments, output=tmp_path).returncode == 0
    assert len(split_index.load_index(str(tmp_path), "train")) == 16


@pytest.mark.slow
def test_two_runs_at_once(videos, tmp_path):
    with open(tmp_path / ".train.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (tmp_path / "train-00000-of-00001.tfrecord.1.tmp").write_bytes(b"of the other run")
        with pytest.raises(ValueError, match="Another conversion is writing split 'train'"):
            convert(videos, tmp_path)
        assert (tmp_path / "train-00000-of-00001.tfrecord.1.tmp").exists()
        convert(videos, tmp_path, "validation")
    convert(videos, tmp_path)
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]


def test_a_file_system_without_locks(videos, tmp_path, monkeypatch):
    (tmp_path / "train.json.0123.tmp").write_bytes(b"another writer's, it may be")

    def flock(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    assert convert(videos, tmp_path)["train"]["num_videos"] > 0
    assert (tmp_path / "train.json.0123.tmp").exists()


def test_the_label_map_is_there_before_the_first_shard(videos, tmp_path, monkeypatch):
    # Two splits are converted at the same time, and one lacks a class.
    source = lists(
        tmp_path,
        train='"run/run 1,é.mp4",run\n"jump/jump 1,é.mp4",jump\n',
        val="jump/jump 2.mp4,run\n",
    )
    run_shards = conversion_job.local_runner.run

    def run_beside_another(*arguments):
        monkeypatch.setattr(conversion_job.local_runner, "run", run_shards)
        (tmp_path / "val.csv").write_text('"jump/jump 2,é.mp4",jump\n')
        convert(videos, tmp_path / "out", "val", dataset="csv", source=source)
        (tmp_path / "other.csv").write_text('"jump/jump 2,é.mp4",walk\n')
        with pytest.raises(ValueError, match="'walk' of this dataset is not in it"):
            convert(videos, tmp_path / "out", "other", dataset="csv", source=source)
        return run_shards(*arguments)

    monkeypatch.setattr(conversion_job.local_runner, "run", run_beside_another)
    convert(videos, tmp_path / "out", "train", dataset="csv", source=source)
    for split, labels in (("train", [0, 1]), ("val", [0])):
        index = split_index.load_index(str(tmp_path / "out"), split)
        assert index.class_names == ["jump", "run"] and sorted(index.labels) == labels


def test_what_a_killed_run_left_is_cleared(videos, tmp_path):
    for name in ("train-00000-of-00001.tfrecord", "train.json", "train.index.npz"):
        (tmp_path / f"{name}.123.tmp").touch()
    (tmp_path / "training.json.1.tmp").touch()
    (tmp_path / "labels.txt.123.tmp").touch()
    convert(videos, tmp_path)
    assert [n for n in os.listdir(tmp_path) if n.endswith(".tmp")] == ["training.json.1.tmp"]


def test_old_temporary_objects_of_a_store_are_cleared(monkeypatch):
    """Where there are no locks, those that another machine is writing stay."""
    names = ["train-00000-of-00002.tfrecord.0a.tmp", "labels.txt.0b.tmp", "train.json.0c.tmp"]
    kept = ["training.json.0a.tmp", "train-00000-of-00002.tfrecord", "val.json.0a.tmp", "x.tmp"]
    for name in (*names, *kept):
        with tf.io.gfile.GFile(f"ram://cleared/{name}", "w") as file:
            file.write("x")
    day = 24 * 3600 * 10**9
    written = [0, time.time_ns(), time.time_ns() - day + 10**10, time.time_ns() - day]
    for moment, left in zip(written, [[*names, *kept]] * 3 + [kept]):
        status = types.SimpleNamespace(mtime_nsec=moment)
        monkeypatch.setattr(tf.io.gfile, "stat", lambda path, status=status: status)
        with output_folder.sole_writer("ram://cleared", "train", Part()):
            assert sorted(tf.io.gfile.listdir("ram://cleared")) == sorted(left)
    with output_folder.sole_writer("ram://nothing_there", "train", Part()):
        pass


def test_a_split_without_videos_is_named(videos, tmp_path):
    (tmp_path / "none.csv").write_text("path,label,split\na.mp4,x,train\n")
    with pytest.raises(ValueError, match=r"Split 'test' has no video in the list .*none\.csv"):
        source = {"annotations": str(tmp_path / "none.csv")}
        convert(videos, tmp_path / "out", "test", dataset="csv", source=source)


def test_a_list_of_tricks_reads_nothing_outside_and_writes_nothing_outside(tmp_path):
    inside = tmp_path / "videos"
    (inside / "sub").mkdir(parents=True)
    good = ["a b.mp4", "c,d.mp4", "ünï—\u202e.mp4", "line\nbreak.mp4", "sub/../e.mp4", "\udcff.mp4"]
    for name in good:
        video_files.write_numbered(inside / "x.mp4", 3)
        os.rename(inside / "x.mp4", inside / name)
    video_files.write_numbered(tmp_path / "secret.mp4", 3)
    os.symlink(tmp_path / "secret.mp4", inside / "link.mp4")
    os.symlink(tmp_path, inside / "up")
    os.symlink("/dev/zero", inside / "zero.mp4")
    os.mkfifo(inside / "pipe.mp4")
    outside = ["../secret.mp4", str(tmp_path / "secret.mp4"), "link.mp4", "up/secret.mp4"]
    outside += ["sub/../../secret.mp4", "zero.mp4", "/etc/passwd"]
    irregular = ["pipe.mp4", "sub", "concat:a b.mp4|c,d.mp4", "file:/etc/passwd", "a\0b.mp4"]
    with open(tmp_path / "list.csv", "w", errors="surrogateescape", newline="") as file:
        csv.writer(file).writerows([name, "class"] for name in [*good, *outside, *irregular])
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    source = {"annotations": str(tmp_path / "list.csv")}
    manifest = convert(str(inside), tmp_path / "out", dataset="csv", source=source)["train"]
    after = sorted(str(path) for path in tmp_path.rglob("*"))
    assert [path for path in after if not path.startswith(str(tmp_path / "out"))] == before
    causes = {failure["path"]: failure["cause"] for failure in manifest["failures"]}
    assert manifest["num_videos"] == len(good), causes
    assert causes.keys() == {printable(name) for name in [*outside, *irregular]}
    assert all("leads outside the folder" in causes[name] for name in outside)
    assert not any("leads outside the folder" in causes[name] for name in irregular)
    index = split_index.load_index(str(tmp_path / "out"), "train")
    assert sorted(index.keys) == sorted(map(annotations.printable, good))


def test_a_split_is_not_complete_while_it_is_converted_anew(videos, tmp_path, monkeypatch):
    convert(videos, tmp_path)

    def fail(*_):
        assert not os.path.exists(split_index.manifest_path(str(tmp_path), "train"))
        raise OSError("no space")

    monkeypatch.setattr(conversion_job.local_runner, "run", fail)
    with pytest.raises(OSError, match="no space"):
        convert(videos, tmp_path, settings={"fps": 10}, overwrite=True)
    with pytest.raises(ValueError, match="no finished split 'train'"):
        split_index.load_index(str(tmp_path), "train")


# --- Apache Beam ---------------------------------------------------------------------------------


def convert_on_flink(videos, output):
    source = annotations.Source(videos=videos)
    conversion_job.convert_splits(
        Conversion(source, "folder", str(output), ("train",), Settings()),
        conversion_job.Runner("FlinkRunner"),
    )


def test_beam_is_named_where_it_is_missing(videos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(ValueError, match=r"--runner=FlinkRunner needs Apache Beam: pip install"):
        convert_on_flink(videos, tmp_path)


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        (RuntimeError("a\nthe last line"), "failed: the last line "),
        (KeyError(), "failed: KeyError "),
    ],
)
def test_what_fails_on_beam_is_told(videos, tmp_path, monkeypatch, cause, said):
    def fail(*_, **__):
        raise cause

    beam = types.ModuleType("apache_beam")
    beam.Pipeline = fail
    options = types.ModuleType("apache_beam.options.pipeline_options")
    options.PipelineOptions = lambda words: words
    for name, module in (
        ("apache_beam", beam),
        ("apache_beam.options", types.ModuleType("apache_beam.options")),
        ("apache_beam.options.pipeline_options", options),
    ):
        monkeypatch.setitem(sys.modules, name, module)
    with pytest.raises(ValueError, match=said):
        beam_runner.run(iter(()), "FlinkRunner", [])


def test_shards_that_workers_wrote_elsewhere_are_missed(videos, tmp_path, monkeypatch):
    monkeypatch.setattr(beam_runner, "run", lambda *_: None)
    with pytest.raises(ValueError, match=r"FlinkRunner says .* 12 shards .* as this machine sees"):
        convert_on_flink(videos, tmp_path)


@pytest.mark.slow
def test_beam_gives_the_same_bytes_and_resumes(videos, tmp_path):
    pytest.importorskip("apache_beam")
    arguments = {"dataset": "folder", "videos": videos, "short_side": 48, "max_failures": 0.1}
    assert run(**arguments, output=tmp_path / "local").returncode == 0
    shutil.copytree(tmp_path / "local", tmp_path / "beam")
    for name in sorted(os.listdir(tmp_path / "beam"))[::2]:
        os.remove(tmp_path / "beam" / name)
    options = ["--", "--direct_num_workers=2", "--direct_running_mode=multi_processing"]
    ended = run(*options, **arguments, output=tmp_path / "beam", runner="DirectRunner")
    assert ended.returncode == 0, ended.stderr
    assert snapshot(tmp_path / "beam") == snapshot(tmp_path / "local")
    assert filecmp.cmp(tmp_path / "beam" / "labels.txt", tmp_path / "local" / "labels.txt")
    assert json.loads((tmp_path / "beam" / "train.json").read_text())["num_videos"] == 11
