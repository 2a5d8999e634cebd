"""`evaluate.py`: its files against a plain evaluation of the saved scores; replicas and parts."""

import csv
import dataclasses
import errno
import json

import command_runner
import finished_runs
import numpy as np
import pytest
import small_dataset
from PIL import Image

from analysis.evaluation_results import write_results
from keras_rms.inference.saved_scores import SavedScores, read_scores
from pipelines.system import whole_files

VIDEOS = 10


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    data = small_dataset.make_dataset(folder / "data", validation_videos=VIDEOS)
    finished_runs.make(folder / "run", data)
    return folder / "run"


def evaluate(run, output, *flags, **options):
    command = ["scripts/evaluate.py", f"--work_dir={run}", f"--output={output}", "--views=2x1"]
    return command_runner.run(*command, "--batch_size=3", *flags, **options)


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory):
    output = tmp_path_factory.mktemp("whole")
    return output, evaluate(run, output).stdout


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_the_files_are_a_plain_evaluation_of_the_scores(whole):
    output, printed = whole
    stem = output / "validation_2x1"
    saved = read_scores(f"{stem}.npz")
    summary = json.loads((output / "validation_2x1.json").read_text())
    predicted = saved.scores.argmax(1)
    right = predicted == saved.labels
    assert summary["videos"] == VIDEOS and summary["damaged"] == 0
    assert summary["top1"] == pytest.approx(right.mean())
    by_class = [right[saved.labels == label].mean() for label in range(3)]
    assert summary["mean_class_accuracy"] == pytest.approx(np.mean(by_class))
    assert f"top-1 {summary['top1']:.2%}" in printed and "top-5" not in printed
    assert f"mean class {np.mean(by_class):.2%}" in printed
    names = saved.class_names
    classes = table(f"{stem}_classes.csv")
    assert [float(line["accuracy"]) for line in classes] == pytest.approx(by_class)
    confusion = table(f"{stem}_confusion.csv")
    for label, line in enumerate(confusion):
        assert line["label"] == names[label]
        for other, name in enumerate(names):
            count = ((saved.labels == label) & (predicted == other)).sum()
            assert int(line[name]) == count
    videos = table(f"{stem}.csv")
    assert [line["key"] for line in videos] == saved.keys
    assert [line["class_1"] for line in videos] == [names[i] for i in predicted]
    for name in ("confusion", "calibration"):
        assert Image.open(f"{stem}_{name}.png").width > 300


def test_a_full_disk_leaves_no_summary_of_older_scores(tmp_path, monkeypatch):
    saved = SavedScores(["a", "b"], np.array([0, 1]), np.eye(2, dtype=np.float32), ["x", "y"])
    stem = tmp_path / "validation_1x1"
    measured_on = {"model": "resnet_20", "split": "validation"}
    write_results(stem, saved, measured_on)
    assert json.loads((tmp_path / "validation_1x1.json").read_text())["top1"] == 1.0
    write, left = whole_files.write, [2]

    def write_two(path, content):
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        left[0] -= 1
        write(path, content)

    monkeypatch.setattr(whole_files, "write", write_two)
    wrong = dataclasses.replace(saved, scores=1 - saved.scores)
    with pytest.raises(OSError, match="No space left"):
        write_results(stem, wrong, measured_on)
    assert read_scores(f"{stem}.npz").predicted.tolist() == [1, 0]
    assert not (tmp_path / "validation_1x1.json").exists()


@pytest.mark.slow
def test_replicas_and_parts_give_the_same_scores(run, whole, tmp_path):
    expected = read_scores(whole[0] / "validation_2x1.npz")

    def check(output):
        received = read_scores(output / "validation_2x1.npz")
        assert received.keys == expected.keys
        np.testing.assert_array_equal(received.labels, expected.labels)
        np.testing.assert_allclose(received.scores, expected.scores, rtol=1e-4)

    evaluate(run, tmp_path / "replicas", "--replicas=2")
    check(tmp_path / "replicas")
    parts = tmp_path / "parts"
    first = evaluate(run, parts, "--part=3/3").stdout
    assert "come with --part=1/3, 2/3" in first and not (parts / "validation_2x1.npz").exists()
    evaluate(run, parts, "--part=1/3")
    # What was measured on something else is not joined.
    other = parts / "validation_2x1.part_1_of_3.json"
    written = other.read_text()
    other.write_text(written.replace("slow_only_18", "slow_only_34"))
    refused = evaluate(run, parts, "--part=2/3", status=1).error
    assert "part_1_of_3.npz is of another network" in refused
    other.write_text(written)
    assert "top-1" in evaluate(run, parts, "--part=2/3").stdout
    check(parts)
    assert not list(parts.glob("*part*"))


@pytest.mark.slow
def test_wrong_parts_are_refused(run, tmp_path):
    for text in ("0/3", "4/3", "one"):
        error = evaluate(run, tmp_path, f"--part={text}", status=1).error
        assert f"--part must be K/N, from 1/N to N/N, as in 1/3. Received: --part={text}" in error
