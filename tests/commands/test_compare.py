"""`compare.py` on evaluations written by hand, with the frames of their videos."""

import csv
import re

import command_runner
import numpy as np
import pytest
import small_dataset
from PIL import Image

from keras_rms.inference.saved_scores import SavedScores
from pipelines.shards import split_index


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


def test_what_cannot_be_compared_is_said(runs, tmp_path):
    folder, _ = runs
    plain = folder / "plain"
    for words, said in (
        ([plain], "Name two evaluations at least"),
        ([plain, plain], "named twice"),
        ([plain, folder / "none"], "There is no .*none"),
        ([plain, folder / "rms", "--views=1x1"], r"no validation_1x1\.npz.*validation_10x3"),
    ):
        result = compare(*words, status=1)
        assert re.search(said, result.error), result.error
