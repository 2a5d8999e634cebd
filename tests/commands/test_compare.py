"""`compare.py` on evaluations written by hand, with the frames of their videos."""

import csv
import json
import os
import re

import command_runner
import numpy as np
import pytest
import small_dataset
import tensorflow as tf
from PIL import Image

from analysis import pictures
from analysis.stored_frames import StoredFrames
from keras_rms.inference.saved_scores import SavedScores
from pipelines.shards import split_index

NAMES = ("plain", "rms")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two folders of runs: the second gets two videos more and one less."""
    folder = tmp_path_factory.mktemp("compare")
    data = folder / "data"
    small_dataset.make_dataset(data)
    index = split_index.load_index(str(data), "validation")
    names = list(index.class_names)
    right = index.labels.astype(int)
    answers = {"plain": right.copy(), "rms": right.copy()}
    answers["plain"][[0, 1]] = (right[[0, 1]] + 1) % len(names)
    answers["rms"][2] = (right[2] + 1) % len(names)
    for name, predicted in answers.items():
        evaluation = folder / name / "evaluation"
        evaluation.mkdir(parents=True)
        scores = 0.1 + 0.8 * np.eye(len(names), dtype=np.float32)[predicted]
        saved = SavedScores(list(index.keys), right, scores, names)
        (evaluation / "validation_10x3.npz").write_bytes(saved.packed())
        (evaluation / "validation_10x3.json").write_text(
            f'{{"data": "{data}", "split": "validation"}}'
        )
    return folder, list(index.keys)


def compare(*words, **options):
    return command_runner.run("scripts/compare.py", *words, **options)


def test_a_table_the_changed_videos_and_their_frames(runs, tmp_path):
    folder, keys = runs
    printed = compare(folder / "plain", folder / "rms", f"--output={tmp_path}").stdout
    lines = [line.split("|") for line in printed.splitlines() if line.startswith("|")]
    cells = [cell.strip() for cell in lines[3][1:-1]]
    count = len(keys)
    assert cells[0] == "rms"
    assert cells[1] == f"{100 * (count - 1) / count:.1f}"
    assert cells[3].startswith(f"{100 / count:+.1f} (")
    assert cells[4:6] == ["2", "1"]
    assert cells[6] == "1"
    assert "all 2 together" in lines[4][1]
    assert (tmp_path / "table.md").read_text().strip() in printed
    with open(tmp_path / "changed_rms.csv") as file:
        rows = list(csv.DictReader(file))
    assert [(row["change"], row["key"]) for row in rows] == [
        ("gained", keys[0]),
        ("gained", keys[1]),
        ("lost", keys[2]),
    ]
    assert rows[0]["second"] == rows[0]["label"] != rows[0]["first"]
    assert Image.open(tmp_path / "changed_rms.png").width > 500


def test_names_that_are_no_text_or_look_like_formulas_are_drawn(tmp_path):
    figure, (axes,) = pictures.new_figure(2, 2)
    axes.plot([0], [1], label=os.fsdecode(b"r\xff"))
    axes.legend()
    axes.set_title(r"$\wrong$")
    pictures.save(figure, tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").width == 240


def test_unequal_evaluations_and_data_that_has_changed(runs, tmp_path):
    folder, _ = runs
    first, second = (folder / name / "evaluation" / "validation_10x3.json" for name in NAMES)
    before = first.read_text(), second.read_text()
    evaluated = json.loads(before[0])
    try:
        first.write_text(json.dumps({**evaluated, "data": "/nowhere", "crop_size": 224}))
        second.write_text(json.dumps({**evaluated, "crop_size": 256}))
        done = compare(folder / "plain", folder / "rms", f"--output={tmp_path}")
    finally:
        first.write_text(before[0])
        second.write_text(before[1])
    assert "not evaluated alike: crop_size is 224 for plain, 256 for rms" in done.stderr
    assert "changed_rms.png is not drawn: /nowhere" in " ".join(done.stderr.split())
    assert (tmp_path / "changed_rms.csv").exists()


def test_frames_of_sequence_examples_and_of_what_is_gone(tmp_path):
    path = tmp_path / "test-00000-of-00001"
    jpegs = [tf.io.encode_jpeg(np.full((8, 12, 3), 40 * i, np.uint8)).numpy() for i in range(5)]
    example = tf.train.SequenceExample()
    example.context.feature["clip/label/index"].int64_list.value.append(0)
    for jpeg in jpegs:
        frame = example.feature_lists.feature_list["image/encoded"].feature.add()
        frame.bytes_list.value.append(jpeg)
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(example.SerializeToString())
    (tmp_path / "labels.txt").write_text("a\n")
    stored = StoredFrames(str(tmp_path), "test", "sequence_example")
    assert stored.read(f"{path.name}:0") == jpegs
    assert stored.read(f"{path.name}:1") is None


@pytest.mark.slow
def test_what_cannot_be_compared_is_said(runs, tmp_path):
    folder, _ = runs
    plain = folder / "plain"
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes((plain / "evaluation" / "validation_10x3.npz").read_bytes())
    damaged.with_suffix(".json").write_text('{"data": ')
    for words, said in (
        ([plain, damaged], r"damaged\.json is not what keras-rms evaluate wrote"),
        ([plain], "Name two evaluations at least"),
        ([plain, plain], "named twice"),
        ([plain, folder / "none"], "There is no .*none"),
        ([plain, folder / "rms", "--views=1x1"], r"no validation_1x1\.npz.*validation_10x3"),
    ):
        result = compare(*words, status=1)
        assert re.search(said, result.error), result.error
