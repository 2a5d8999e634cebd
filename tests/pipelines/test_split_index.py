"""Index, manifest and label map: written together, and refused when they do not belong together."""

import hashlib

import numpy as np
import pytest
from changed_files import change_json
from coded_videos import CLASS_NAMES, coded_video, write_folder

from pipelines.shards import records, split_index, split_writing, verification


@pytest.fixture(scope="module")
def videos():
    return [coded_video(f"class/{n}", n % 3, 1 + n) for n in range(6)]


@pytest.fixture
def folder(tmp_path, videos):
    write_folder(tmp_path, videos)
    return tmp_path


def rows(*keys, label=0):
    return [records.VideoRow(key, label, 1, 6, 9, 25.0, 0, [50]) for key in keys]


def test_a_missing_folder_or_split_is_explained(tmp_path, folder):
    with pytest.raises(ValueError, match=r"holds no converted videos.*keras-rms convert"):
        split_index.load_index(str(tmp_path / "nowhere"), "train")
    with pytest.raises(ValueError, match=r"no finished split 'test' \(finished splits: train\)"):
        split_index.load_index(str(folder), "test")


def test_a_split_without_its_manifest_is_not_finished(folder):
    (folder / "train.json").unlink()
    with pytest.raises(ValueError, match="no finished split 'train'"):
        split_index.load_index(str(folder), "train")
    assert split_index.list_splits(str(folder)) == []


def test_splits_are_listed(folder, videos):
    write_folder(folder, videos[:2], split="validate")
    assert split_index.list_splits(str(folder)) == ["train", "validate"]
    assert split_index.list_splits(str(folder / "nowhere")) == []
    (folder / "train.json").unlink()
    (folder / "test-00000-of-00001.tfrecord").touch()
    assert split_index.list_splits(str(folder)) == ["validate"]
    assert split_index.list_splits(str(folder), finished=False) == ["test", "train", "validate"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": ', '{"version": 1}'])
def test_a_foreign_manifest_is_refused(folder, content):
    (folder / "train.json").write_text(content)
    with pytest.raises(ValueError, match="not a manifest"):
        split_index.load_index(str(folder), "train")


def test_another_version_is_refused(folder):
    change_json(folder / "train.json", version=99)
    with pytest.raises(ValueError, match="version 99"):
        split_index.load_index(str(folder), "train")


def test_a_damaged_or_missing_index_is_refused(folder):
    path = folder / "train.index.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged or of another conversion"):
        split_index.load_index(str(folder), "train")
    path.unlink()
    with pytest.raises(ValueError, match="is missing"):
        split_index.load_index(str(folder), "train")


def test_missing_and_cut_shards_are_refused(folder):
    shard = folder / "train-00001-of-00002.tfrecord"
    content = shard.read_bytes()
    shard.write_bytes(content[:-1])
    with pytest.raises(ValueError, match="cut or replaced"):
        split_index.load_index(str(folder), "train")
    shard.unlink()
    with pytest.raises(ValueError, match=r"lacks 1 of the 2 shards.*train-00001-of-00002"):
        split_index.load_index(str(folder), "train")


def test_shards_need_not_be_there_for_those_who_report_them(folder):
    (folder / "train-00001-of-00002.tfrecord").unlink()
    assert len(split_index.load_index(str(folder), "train", check_shards=False)) == 6


def test_a_manifest_of_another_index_is_refused(folder):
    change_json(folder / "train.json", without=["index_sha256"])
    with pytest.raises(ValueError, match="damaged or of another conversion"):
        split_index.load_index(str(folder), "train")


def test_a_label_map_that_is_no_text_is_refused(folder):
    (folder / "labels.txt").write_bytes(b"jump\n\xff\n")
    with pytest.raises(ValueError, match=r"labels.txt must be UTF-8 text"):
        split_index.load_index(str(folder), "train")


@pytest.mark.parametrize("names", [CLASS_NAMES[:1], CLASS_NAMES[::-1], [*CLASS_NAMES[:-1], "x"]])
def test_another_label_map_than_the_split_s_own_is_refused(folder, names):
    (folder / "labels.txt").write_text("".join(f"{name}\n" for name in names))
    with pytest.raises(ValueError, match=r"labels.txt is not the label map that split 'train'"):
        split_index.load_index(str(folder), "train")


def test_data_of_an_older_version_have_neither_digests_nor_hashes(folder):
    with np.load(folder / "train.index.npz") as arrays:
        kept = {name: arrays[name] for name in arrays if name != "digests"}
    np.savez(folder / "train.index.npz", **kept)
    digest = hashlib.sha256((folder / "train.index.npz").read_bytes()).hexdigest()
    manifest = folder / "train.json"
    change_json(manifest, without=["class_names_sha256"], index_sha256=digest, seal=False)
    loaded = split_index.load_index(str(folder), "train")
    assert loaded.digest(0) == "" and verification.check_split(loaded)[1] == []
    (folder / "labels.txt").write_text(CLASS_NAMES[0] + "\n")
    with pytest.raises(ValueError, match="do not belong together"):
        split_index.load_index(str(folder), "train")


def test_a_lost_label_map_is_not_replaced_by_another(folder, videos):
    (folder / "labels.txt").unlink()
    with pytest.raises(ValueError, match=r"labels.txt is gone, and split 'train'"):
        split_writing.write_class_names(str(folder), ["jump", "other"])
    split_writing.write_class_names(str(folder), CLASS_NAMES)
    (folder / "labels.txt").unlink()
    split_writing.write_class_names(str(folder), ["jump", "other"], replaced=["train"])


def test_splits_share_their_label_map(folder, videos):
    with pytest.raises(ValueError, match="another label map"):
        split_writing.write_split(str(folder), "test", [rows("a")], ["jump"], {})


@pytest.mark.parametrize(
    ("shards", "classes", "extra", "message"),
    [
        ([[]], ["a"], {}, "at least one video"),
        ([rows("x"), rows("x")], ["a"], {}, "Received twice: 'x'"),
        ([rows("x", label=1)], ["a"], {}, "Received: label=1 for 'x'"),
        ([rows("x")], ["a\nb"], {}, "must be one line"),
        ([rows("x")], [" "], {}, "must be one line"),
        ([rows("x")], ["a"], {}, "shard is missing"),
    ],
)
def test_inconsistent_splits_are_refused(tmp_path, shards, classes, extra, message):
    with pytest.raises(ValueError, match=message):
        split_writing.write_split(str(tmp_path), "train", shards, classes, extra)
    assert split_index.list_splits(str(tmp_path)) == []


def test_the_manifests_own_entries_are_kept(tmp_path, videos):
    shard = split_index.shard_path(str(tmp_path), "train", 0, 1)
    written = records.write_shard(shard, videos[:1])
    with pytest.raises(ValueError, match="must not redefine"):
        split_writing.write_split(str(tmp_path), "train", [written], ["a"], {"num_videos": 2})
