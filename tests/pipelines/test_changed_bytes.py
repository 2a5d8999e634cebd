"""What became of converted files is named or harmless, whatever byte changed: never silent."""

import dataclasses
import hashlib
import itertools
import json
import os
import random

import numpy as np
import pytest
import tensorflow as tf
import tfrecord_bytes
from changed_files import change_json, flipped, mutated, mutations, named
from coded_videos import CLASS_NAMES, coded_video, write_folder

from pipelines.conversion import shard_conversion
from pipelines.conversion.conversion_plan import Settings, ShardTask
from pipelines.input import evaluation_dataset
from pipelines.input.sequence_examples import load_sequence_index
from pipelines.shards import records, sealed_json, split_index, split_writing, verification

HEIGHT, WIDTH, FRAMES = 12, 16, 3
OUR_ERRORS = (ValueError, OSError, records.DamagedRecordError)


@pytest.fixture(scope="module")
def videos():
    return [coded_video(f"class/{n} é", n, FRAMES, HEIGHT, WIDTH) for n in range(3)]


@pytest.fixture(scope="module")
def shard(tmp_path_factory, videos):
    """The bytes of a shard of three videos, and its rows."""
    path = tmp_path_factory.mktemp("shard") / "shard"
    rows = records.write_shard(str(path), videos)
    return path.read_bytes(), rows


@pytest.fixture
def folder(tmp_path, videos):
    write_folder(tmp_path, videos, num_shards=1)
    return tmp_path


def load(folder):
    """An index, or the error of ours that names the folder."""
    try:
        return split_index.load_index(str(folder), "train")
    except OUR_ERRORS as error:
        assert type(error) in OUR_ERRORS, repr(error)
        assert str(folder) in str(error), repr(error)
        return None


def check_same(index, whole):
    """Whether two indices say the same; a hash that lost its name says nothing."""
    for field in dataclasses.fields(whole):
        seen, wanted = getattr(index, field.name), getattr(whole, field.name)
        if field.name == "manifest":
            wanted = {name: wanted[name] for name in wanted if name != sealed_json.SEAL}
            seen = {name: seen.get(name) for name in wanted}
        np.testing.assert_equal(seen, wanted)


def test_every_byte_of_a_shard_is_under_a_checksum(shard):
    content, _ = shard
    places = tfrecord_bytes.places(content)
    assert len(places) == 3 * (1 + FRAMES) + 1 and places[-1] == len(content)
    for begin, end in itertools.pairwise(places):
        record = content[begin:end]
        assert tfrecord_bytes.is_record(record)
        # As any program reads it: by its length, wherever that leads.
        named = [not tfrecord_bytes.is_record(flipped(record, n)) for n in range(len(record))]
        assert all(named), (begin, named.index(False))


def flipped_places(content):
    """Bytes to flip: all with KERAS_RMS_FUZZ_SECONDS, else framing and a hundred of the data."""
    if os.environ.get("KERAS_RMS_FUZZ_SECONDS"):
        return list(range(len(content)))
    begins = tfrecord_bytes.places(content)
    # The first header, and the last frame of the second video.
    framing = [
        place
        for begin, end in ((begins[0], begins[1]), (begins[7], begins[8]))
        for place in (*range(begin, begin + 13), *range(end - 5, end))
    ]
    return framing + sorted(random.Random(0).sample(range(len(content)), 100))


@pytest.mark.slow
def test_flipped_bytes_are_found_by_verify_and_by_the_reader(tmp_path, shard, videos):
    content, rows = shard
    places = flipped_places(content)
    for number, place in enumerate(places):
        path = split_index.shard_path(str(tmp_path), "train", number, len(places))
        with open(path, "wb") as file:
            file.write(flipped(content, place))
    shards = [
        [dataclasses.replace(row, key=f"{n}/{row.key}") for row in rows] for n in range(len(places))
    ]
    split_writing.write_split(str(tmp_path), "train", shards, CLASS_NAMES, {})
    damaged = {
        (number, video)
        for number, place in enumerate(places)
        for video, row in enumerate(rows)
        if row.offset <= place < [*(r.offset for r in rows), len(content)][video + 1]
    }
    _check_verification(tmp_path, rows, damaged, len(places))
    _check_reader(tmp_path, rows, damaged, places)


def _check_verification(folder, rows, damaged, count):
    index = split_index.load_index(str(folder), "train")
    index = dataclasses.replace(index, keys=[row.key for row in rows] * count)
    whole, problems = verification.check_split(index, workers=2)
    paths = {path: number for number, path in enumerate(index.shard_paths)}
    offsets = {row.offset: video for video, row in enumerate(rows)}
    found = {
        (paths[problem.shard], offsets[problem.offset])
        for problem in problems
        if problem.shard in paths
    }
    assert found == damaged
    # One more: the keys are the same in every shard.
    assert len(problems) == len(damaged) + 1 and len(whole) == 2 * count


def _check_reader(folder, rows, damaged, places):
    clip = {"num_frames": FRAMES, "span": FRAMES, "crop_size": HEIGHT, "num_clips": 1}
    batches = evaluation_dataset(
        str(folder), "train", batch_size=3, on_damage="skip", data_workers=2, **clip
    )
    views = []
    for number, batch in enumerate(batches.as_numpy_iterator()):
        views += [batch["views"][n, 0] for n in range(3)]
        for video, row in enumerate(rows):
            # The reader knows from the index what a header says.
            is_read = (number, video) in damaged and places[number] >= row.anchors[0]
            assert batch["mask"][video] == (not is_read), (places[number], video)
            assert not is_read or not batch["views"][video].any()
            assert batch["label"][video] == (0 if is_read else row.label)
    for video in range(3):
        same = np.stack([view for view in views[video::3] if view.any()])
        assert len(same) > len(places) / 3 and (same == same[0]).all()
        blue = same[0][..., 2].mean((1, 2))
        np.testing.assert_allclose(blue, 3 * np.arange(FRAMES), atol=1)


@pytest.mark.parametrize("name", ["train.index.npz", "train.json", "labels.txt"])
def test_every_flipped_byte_of_index_manifest_and_label_map(folder, name):
    whole, path = load(folder), folder / name
    content, silent = path.read_bytes(), 0
    for place in range(len(content)):
        path.write_bytes(flipped(content, place))
        index = load(folder)
        if index is not None:
            check_same(index, whole)
            silent += 1
    # White space, line ends and the name of the hash say nothing.
    assert silent < len(content) / 3, silent


@pytest.mark.parametrize("name", ["train.index.npz", "train.json", "labels.txt"])
def test_mutated_indices_manifests_and_label_maps(folder, name):
    whole, path = load(folder), folder / name
    for number, content in mutations(path.read_bytes(), 300):
        with named(number, content):
            path.write_bytes(content)
            index = load(folder)
            if index is not None:
                check_same(index, whole)


def test_hostile_indices_are_named(folder):
    """Those whose hash is right."""
    whole, path = load(folder), folder / "train.index.npz"
    for number, content in mutations(path.read_bytes(), 300):
        with named(number, content):
            path.write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
            change_json(folder / "train.json", index_sha256=digest)
            index = load(folder)
            if index is not None:
                assert len(index) == len(whole) and index.shards.max() == 0
                verification.check_split(index)


VALUES = [None, True, -1, 2**70, 1e400, "", "x", [], [[]], {}, [None], [{"name": 1, "bytes": 2}]]


def test_hostile_manifests_are_named(folder):
    """Those of an older version, which have no hash."""
    path = folder / "train.json"
    text = path.read_text()
    for name in json.loads(text):
        for value in VALUES:
            change_json(path, seal=False, **{name: value})
            index = load(folder)
            if index is not None:
                len(index), index.conversion, index.shard_paths
            path.write_text(text)
    for content in (b"[" * 100_000, b'{"version":' * 3000, b"\xff", b"1" * 5000):
        path.write_bytes(content)
        assert load(folder) is None


@pytest.mark.parametrize(
    "change",
    [
        {"labels": np.array([0, 1], np.int32)},
        {"labels": np.array([0, 1, -1], np.int32)},
        {"shards": np.array([0, 0, 1], np.int32)},
        {"offsets": np.array([0, 0, -1], np.int64)},
        {"fps": np.array([25, np.nan, 25], np.float32)},
        {"num_frames": np.array([3, 3, 17], np.int32)},
        {"anchor_starts": np.array([0, 1, 1], np.int64)},
        {"anchors": np.array([0, 1], np.int64)},
        {"anchors": np.array([0.0, 1, 2])},
        {"key_ends": np.array([9, 8, 27], np.int64)},
        {"keys": np.full(27, 255, np.uint8)},
        {"digests": np.zeros((3, 15), np.uint8)},
        {"more": np.zeros(3)},
        {"heights": np.array([None])},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_index_of_impossible_arrays_is_named(folder, change):
    path = folder / "train.index.npz"
    with np.load(path) as arrays:
        np.savez(path.with_suffix(""), **{**arrays, **change})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    change_json(folder / "train.json", index_sha256=digest)
    with pytest.raises(ValueError, match=r"train.index.npz is not an index .* convert the split"):
        split_index.load_index(str(folder), "train")


# --- shards ---------------------------------------------------------------------------------------


def check_shard(path, whole, videos):
    """What verify says: each video is the one that was written, or there is a problem."""
    kept, problems = verification.check_split(whole)
    assert all(str(path) in str(problem) for problem in problems)
    assert len(kept) + len(problems) >= len(videos)
    digests = {video.key: (video.label, records.frames_digest(video.frames)) for video in videos}
    for video in kept:
        assert digests[video.key] == (video.label, video.digest)
    return problems


@pytest.mark.slow
def test_mutated_shards(folder, videos):
    whole = split_index.load_index(str(folder), "train")
    path = whole.shard_paths[0]
    with open(path, "rb") as file:
        content = file.read()
    for number, changed in mutations(content, 25):
        with named(number, changed):
            with open(path, "wb") as file:
                file.write(changed)
            assert check_shard(path, whole, videos) or changed == content
            load(folder)


@pytest.mark.slow
def test_records_that_changed_places_are_found(folder, videos):
    """All checksums are right."""
    whole = split_index.load_index(str(folder), "train")
    path = whole.shard_paths[0]
    with open(path, "rb") as file:
        content = file.read()
    places = tfrecord_bytes.places(content)
    split = [content[begin:end] for begin, end in itertools.pairwise(places)]
    for seed in range(20):
        chance = random.Random(seed)
        changed = list(split)
        here, there = chance.sample(range(len(split)), 2)
        kind = chance.choice(["swapped", "lost", "repeated", "replaced"])
        if kind == "swapped":
            changed[here], changed[there] = changed[there], changed[here]
        elif kind == "lost":
            del changed[here]
        elif kind == "repeated":
            changed.insert(there, split[here])
        else:
            changed[here] = split[there]
        with open(path, "wb") as file:
            file.write(b"".join(changed))
        assert check_shard(path, whole, videos) or changed == split, (seed, kind, here, there)


@pytest.mark.slow
def test_hostile_headers(folder, videos):
    """Changed headers and frames whose checksums are right."""
    whole = split_index.load_index(str(folder), "train")
    path = whole.shard_paths[0]
    with open(path, "rb") as file:
        content = file.read()
    places = tfrecord_bytes.places(content)
    for number in range(24):
        record = (0, 4, 5)[number % 3]
        begin, end = places[record], places[record + 1]
        data = mutated(content[begin + 12 : end - 4], number)
        changed = content[:begin] + tfrecord_bytes.framed(data) + content[end:]
        with named(number, data):
            with open(path, "wb") as file:
                file.write(changed)
            assert check_shard(path, whole, videos) or changed == content


@pytest.mark.parametrize(
    "change",
    [
        {"label": -1},
        {"num_frames": -5},
        {"num_frames": 0},
        {"num_frames": 2**62},
        {"height": 0},
        {"width": -1},
        {"fps": float("nan")},
    ],
    ids=str,
)
def test_a_header_of_an_impossible_video_is_named(tmp_path, shard, change):
    content, _ = shard
    end = tfrecord_bytes.places(content)[1]
    example = tf.train.Example.FromString(content[12 : end - 4])
    for name, value in change.items():
        feature = example.features.feature[name]
        (feature.float_list if name == "fps" else feature.int64_list).value[0] = value
    path = tmp_path / "shard"
    path.write_bytes(tfrecord_bytes.framed(example.SerializeToString()) + content[end:])
    with pytest.raises(records.DamagedRecordError, match=f"{path} .* byte"):
        records.scan_shard(str(path))


def test_mutated_reports_are_known_or_made_anew(tmp_path, shard):
    content, rows = shard
    (tmp_path / "shard.tfrecord").write_bytes(content)
    task = ShardTask(str(tmp_path / "shard.tfrecord"), "", (), "print", Settings(), 1)
    report = {
        "fingerprint": "print",
        "bytes": len(content),
        "failures": [dataclasses.asdict(shard_conversion.Failure("a", "b", "c"))],
        "notes": [],
        "rows": [dataclasses.asdict(row) for row in rows],
    }
    path = tmp_path / "shard.json"
    text = json.dumps(sealed_json.sealed(report)).encode()
    path.write_bytes(text)
    expected = shard_conversion.finished_report(task)
    assert expected.rows == rows
    changes = ((place, flipped(text, place)) for place in range(len(text)))
    for number, changed in [*changes, *mutations(text, 300)]:
        with named(number, changed):
            path.write_bytes(changed)
            assert shard_conversion.finished_report(task) in (expected, None)


def test_mutated_sequence_examples(tmp_path):
    """Shards of other programs, of which nothing but the records' own checksums is known."""
    (tmp_path / "labels.txt").write_text("a\nb\n")
    path = tmp_path / "train-00000-of-00001"
    content = b"".join(tfrecord_bytes.framed(bytes(range(40 + n))) for n in range(3))
    for number, changed in mutations(content, 200):
        with named(number, changed):
            path.write_bytes(changed)
            try:
                load_sequence_index(str(tmp_path), "train")
            except OUR_ERRORS as error:
                assert type(error) in OUR_ERRORS and str(tmp_path) in str(error), repr(error)
