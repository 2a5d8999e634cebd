"""The main job through its commands, as a user runs it, and what its errors look like."""

import csv
import json
import re
import shutil

import command_runner
import numpy as np
import pytest

TRAIN_FLAGS = (
    "--model=slow_only_18 --width=4 --crop_size=32 --batch_size=8 --epochs=2 --warmup_epochs=0 "
    "--learning_rate=0.05 --noflip"
).split()


def command(*words, **options):
    """Runs a script of this project as from a fresh shell."""
    return command_runner.run(*words, variables={"TF_CPP_MIN_LOG_LEVEL": None}, **options)


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """Videos, records and a finished training with RMS."""
    folder = tmp_path_factory.mktemp("job with a space")
    videos, data, work_dir = folder / "videos", folder / "data", folder / "run"
    command(
        "pipelines/demo_videos.py",
        f"--output={videos}",
        "--form=quick",
        "--train_per_class=3",
        "--validation_per_class=2",
    )
    for split in ("train", "validation"):
        command(
            "pipelines/convert.py",
            "--dataset=folder",
            f"--videos={videos / split}",
            f"--split={split}",
            "--validation_share=0",
            f"--output={data}",
            "--short_side=40",
        )
    train = command(
        "scripts/train.py", f"--data={data}", f"--work_dir={work_dir}", *TRAIN_FLAGS, cold=True
    )
    return {"videos": videos, "data": data, "work_dir": work_dir, "train": train}


@pytest.mark.slow
def test_training_leaves_a_network_and_its_history(job):
    assert (job["work_dir"] / "model.keras").exists()
    with open(job["work_dir"] / "log.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    assert all(np.isfinite(float(row["loss"])) for row in rows)
    settings = json.loads((job["work_dir"] / "settings.json").read_text())
    assert settings["rms"] == "mean"
    assert settings["conversion"]["short_side"] == 40


@pytest.mark.slow
def test_evaluation_and_prediction_agree(job):
    place = f"--work_dir={job['work_dir']}"
    printed = command("scripts/evaluate.py", place, "--views=10x3", cold=True).stdout
    stem = job["work_dir"] / "evaluation" / "validation_10x3"
    summary = json.loads(stem.with_name(stem.name + ".json").read_text())
    with np.load(stem.with_name(stem.name + ".npz")) as arrays:
        keys, labels, scores = arrays["keys"], arrays["labels"], arrays["scores"]
        class_names = arrays["class_names"].tolist()
    assert f"top-1 {summary['top1']:.2%}" in printed
    assert summary["top1"] == pytest.approx((scores.argmax(axis=1) == labels).mean())
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)
    assert len(keys) == summary["videos"] == 2 * len(class_names)
    with open(stem.with_name(stem.name + ".csv")) as file:
        rows = list(csv.DictReader(file))
    assert [row["class_1"] for row in rows] == [class_names[i] for i in scores.argmax(axis=1)]

    # A file and its record have the same scores.
    key = str(keys[0])
    video = job["videos"] / "validation" / key
    result_file = job["work_dir"] / "prediction.json"
    printed = command("scripts/predict.py", place, f"--json={result_file}", video, cold=True).stdout
    line = json.loads(result_file.read_text())
    predicted = line["classes"]
    assert line["video"] == str(video)
    assert len(predicted) == 5
    assert predicted[0]["class"] in printed
    for row in predicted:
        expected = scores[0, class_names.index(row["class"])]
        assert row["probability"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
def test_features_of_videos_and_of_views(job):
    video = sorted(job["videos"].rglob("*.mp4"))[0]
    shapes = {}
    for level in ("video", "clip"):
        output = job["work_dir"] / f"{level}.npz"
        command(
            "scripts/predict.py",
            f"--work_dir={job['work_dir']}",
            f"--features={output}",
            f"--features_of={level}",
            "--clips=2",
            video,
        )
        with np.load(output) as arrays:
            shapes[level] = arrays[str(video)]
    assert shapes["clip"].shape == (6, 32)
    np.testing.assert_allclose(shapes["clip"].mean(axis=0), shapes["video"], rtol=1e-5)


@pytest.mark.slow
def test_prediction_goes_on_after_a_damaged_video(job, tmp_path):
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(b"no video at all")
    video = sorted(job["videos"].rglob("*.mp4"))[0]
    result = command(
        "scripts/predict.py", f"--work_dir={job['work_dir']}", damaged, video, status=1
    )
    assert str(video) in result.stdout
    assert_one_paragraph(result, "damaged.mp4")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["scripts/evaluate.py", "--work_dir={empty}"], "settings.json"),
        (["scripts/evaluate.py", "--work_dir={work_dir}", "--data={empty}"], "{empty}"),
        (["scripts/evaluate.py", "--work_dir={work_dir}", "--split=test"], "test"),
        (["scripts/evaluate.py", "--work_dir={work_dir}", "--views=10"], "--views=10"),
        (["scripts/evaluate.py", "--work_dir={work_dir}", "--data={other}"], "labels.txt"),
        (["scripts/predict.py", "--work_dir={work_dir}"], "VIDEO"),
        (["scripts/predict.py", "--work_dir={work_dir}", "nowhere.mp4"], "nowhere.mp4"),
        (["scripts/predict.py", "--work_dir={work_dir}", "--features=f.csv", "v.mp4"], "f.csv"),
        (["scripts/train.py", "--data={empty}", "--work_dir={empty}/run"], "{empty}"),
        (["scripts/train.py", "--data={data}", "--work_dir={work_dir}", "--width=8"], "width"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_errors_are_one_paragraph_that_names_the_input(job, tmp_path, words, named):
    empty, other = tmp_path / "empty", tmp_path / "other"
    empty.mkdir()
    other.mkdir()
    for path in job["data"].iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    names = (other / "labels.txt").read_text().splitlines()
    (other / "labels.txt").write_text("\n".join(["something_else", *names[1:]]) + "\n")
    places = {**job, "empty": empty, "other": other}
    result = command(*(word.format(**places) for word in words), status=1)
    assert_one_paragraph(result, named.format(**places))


@pytest.mark.slow
def test_a_damaged_record_stops_with_a_remedy_or_is_skipped(job, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(job["data"], data)
    for shard in data.glob("train-*.tfrecord"):
        content = bytearray(shard.read_bytes())
        if content:
            content[len(content) // 2] ^= 0xFF
            shard.write_bytes(content)
    words = ["scripts/train.py", f"--data={data}", *TRAIN_FLAGS, "--epochs=1"]
    stopped = command(*words, f"--work_dir={tmp_path / 'stop'}", status=1)
    assert_one_paragraph(stopped, "keras-rms verify")
    skipped = command(*words, f"--work_dir={tmp_path / 'skip'}", "--on_damage=skip", "--replicas=2")
    assert "skipped a video" in skipped.stderr
    (count,) = re.findall(r"(\d+) times another video took the place", skipped.stdout)
    assert int(count) > 0
    assert (tmp_path / "skip" / "model.keras").exists()


def assert_one_paragraph(result, named):
    assert "Traceback" not in result.stderr
    message = result.stderr[re.search(r"^error:", result.stderr, re.MULTILINE).start() :]
    assert named in re.sub(r"\s+", " ", message), message
    assert "\n\n" not in message.strip()
