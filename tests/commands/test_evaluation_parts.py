"""Parts of an evaluation: what is joined, and what a cut at any moment leaves."""

import json

import numpy as np
import pytest

from analysis import evaluation_parts, evaluation_results
from keras_rms.inference.saved_scores import SavedScores
from pipelines.system.parts import Part

KEYS = ["a", "b", "c"]


def scores(keys):
    values = np.tile(np.array([0.6, 0.4], np.float32), (len(keys), 1))
    return SavedScores(list(keys), np.zeros(len(keys), int), values, ["x", "y"])


def join(stem, number, keys, measured_on=None):
    part = Part(number, 2)
    return evaluation_parts.joined(stem, part, scores(keys), measured_on or {"span": 8}, KEYS)


def test_parts_stay_until_the_results_are_written(tmp_path):
    stem = tmp_path / "validation_1x1"
    assert join(stem, 1, "ac") is None
    assert join(stem, 2, "b").keys == KEYS
    # The results could not be written: the last part alone is scored again.
    assert join(stem, 2, "b").keys == KEYS
    evaluation_parts.remove(stem, Part(2, 2))
    assert not list(tmp_path.iterdir())


def test_another_part_that_joins_at_once_gives_its_results(tmp_path, monkeypatch):
    stem = tmp_path / "validation_1x1"
    join(stem, 1, "ac")
    read = evaluation_parts.read_scores

    def read_too_late(path):
        if ".part_" in path.name:
            (tmp_path / "validation_1x1.npz").write_bytes(scores(KEYS).packed())
            evaluation_parts.remove(stem, Part(1, 2))
        return read(path)

    monkeypatch.setattr(evaluation_parts, "read_scores", read_too_late)
    assert join(stem, 2, "b").keys == KEYS


def test_what_cannot_be_joined(tmp_path):
    join(tmp_path / "views", 1, "ac", {"span": 16})
    with pytest.raises(ValueError, match="of other views"):
        join(tmp_path / "views", 2, "b")
    join(tmp_path / "twice", 1, "ab")
    with pytest.raises(ValueError, match="in two parts"):
        join(tmp_path / "twice", 2, "b")
    join(tmp_path / "damaged", 1, "")
    with pytest.raises(ValueError, match="no video"):
        join(tmp_path / "damaged", 2, "")


def test_results_of_another_measurement_are_told_of(tmp_path):
    names = ("data", "keys_crc32", "num_frames", "span", "short_side")
    new = {name: 8 for name in names} | {"crop_size": 224}
    stem = tmp_path / "validation_1x1"
    assert evaluation_results.replaced(stem, new) == ""
    (tmp_path / "validation_1x1.json").write_text(json.dumps(new))
    assert evaluation_results.replaced(stem, new) == ""
    found = evaluation_results.replaced(stem, {**new, "crop_size": 256})
    assert found == "crop_size was 224, is 256"
    evaluation_results.check_videos(stem, {**new, "keys_crc32": 9})  # converted anew
    evaluation_results.check_videos(stem, {**new, "data": "moved"})
    with pytest.raises(ValueError, match=r"of other videos, those of 8\. Give another --output"):
        evaluation_results.check_videos(stem, {**new, "data": "other", "keys_crc32": 9})


def test_other_data_have_a_folder_of_their_own(tmp_path):
    own, other = tmp_path / "own", tmp_path / "other"
    own.mkdir()
    (tmp_path / "link").symlink_to(own)

    def place(data, of=own):
        folder = evaluation_results.folder_of_data(tmp_path, str(data), str(of))
        return str(folder.relative_to(tmp_path))

    assert place(own) == place(f"{own}/") == place(tmp_path / "link") == "."
    assert place(other) == place(f"{other}/") == "on_other"
    assert place(other, of=tmp_path / "gone") == "."  # it may have moved
    assert place("gs://b/k400/", of="gs://b/k400") == "."
    assert place("gs://b/k600/", of="gs://b/k400") == "on_k600"
    assert place(own, of="gs://b/k400") == "on_own"
