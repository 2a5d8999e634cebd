"""The record format: what is written can be read back, whole, in place, or not at all."""

import dataclasses
import json
import os

import numpy as np
import pytest
import tensorflow as tf
from coded_videos import CLASS_NAMES, coded_video, write_folder

from pipelines.input.clip_reader import ClipReader
from pipelines.shards import records, split_index

LENGTHS = [1, 15, 16, 17, 33, 80]
HEIGHT, WIDTH = 7, 10


@pytest.fixture(scope="module")
def videos():
    return [
        coded_video(f"class {n % 2}/vidéo,{n}\n", n % 2, length, HEIGHT, WIDTH)
        for n, length in enumerate(LENGTHS)
    ]


@pytest.fixture
def folder(tmp_path, videos):
    write_folder(tmp_path, videos)
    return tmp_path


def test_whole_videos_come_back(folder, videos):
    index = split_index.load_index(str(folder), "train")
    assert len(index) == len(videos)
    assert index.class_names == CLASS_NAMES
    assert index.manifest["videos_per_class"] == [3, 3, 0]
    assert index.manifest["num_frames"] == sum(LENGTHS)
    by_key = {video.key: video for video in videos}
    assert sorted(index.keys) == sorted(by_key)
    for number, key in enumerate(index.keys):
        assert split_index.read_video(index, number) == dataclasses.replace(
            by_key[key], frames=list(by_key[key].frames)
        )
        assert index.labels[number] == by_key[key].label
        assert (index.heights[number], index.widths[number]) == (HEIGHT, WIDTH)
        assert index.fps[number] == 25


@pytest.mark.slow
@pytest.mark.parametrize("in_tf_data", [False, True])
def test_clips_hold_exactly_the_frames_asked_for(folder, videos, in_tf_data):
    index = split_index.load_index(str(folder), "train")
    by_key = {video.key: video for video in videos}
    reader = ClipReader(index)
    cases = [
        (number, start, stride)
        for number, length in enumerate(index.num_frames)
        for start in {0, 1, 15, 16, 17, 31, length - 1}
        for stride in (1, 3, 8, 40)
        if 0 <= start < length
    ]
    if in_tf_data:
        dataset = tf.data.Dataset.from_tensor_slices(np.array(cases))
        dataset = dataset.map(lambda c: reader.open(c[0]).read(c[1], c[2], 5), num_parallel_calls=2)
        clips = dataset.as_numpy_iterator()
    else:
        clips = (reader.open(n).read(start, stride, 5).numpy() for n, start, stride in cases)
    for (number, start, stride), clip in zip(cases, clips, strict=True):
        frames = by_key[index.keys[number]].frames
        expected = [frames[min(start + i * stride, len(frames) - 1)] for i in range(5)]
        # Hold: once a frame lies past the end, the last one is shown.
        assert list(clip) == expected, (number, start, stride)


def test_same_videos_give_the_same_bytes(tmp_path, videos):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_folder(tmp_path / name, videos)
    names = sorted(os.listdir(tmp_path / "a"))
    assert names == sorted(os.listdir(tmp_path / "b"))
    assert names == [
        "labels.txt",
        "train-00000-of-00002.tfrecord",
        "train-00001-of-00002.tfrecord",
        "train.index.npz",
        "train.json",
    ]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_scan_rebuilds_the_rows(tmp_path, videos):
    path = str(tmp_path / "x.tfrecord")
    rows = records.write_shard(path, videos)
    assert records.scan_shard(path) == rows
    assert [records.VideoRow(**json.loads(json.dumps(dataclasses.asdict(r)))) for r in rows] == rows


def test_a_source_that_fails_leaves_nothing(tmp_path, videos):
    def source():
        yield videos[0]
        raise RuntimeError("decoder died")

    with pytest.raises(RuntimeError, match="decoder died"):
        records.write_shard(str(tmp_path / "x.tfrecord"), source())
    assert os.listdir(tmp_path) == []


def test_an_earlier_shard_survives_a_failing_rewrite(tmp_path, videos):
    path = tmp_path / "x.tfrecord"
    records.write_shard(str(path), videos)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="at least one frame"):
        records.write_shard(str(path), [videos[1], dataclasses.replace(videos[0], frames=[])])
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["x.tfrecord"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": ""}, "key must not be empty"),
        ({"frames": []}, "at least one frame"),
        ({"frames": [b"\x89PNG...."]}, "must be JPEG"),
        ({"height": 0}, "height of .* must be positive. Received: height=0"),
        ({"width": -1}, "width of .* must be positive. Received: width=-1"),
        ({"fps": 0.0}, "fps of .* must be positive. Received: fps=0.0"),
        ({"label": -1}, "label of .* must be 0 or more. Received: label=-1"),
    ],
)
def test_impossible_videos_are_refused(tmp_path, videos, change, message):
    with pytest.raises(ValueError, match=message):
        records.write_shard(str(tmp_path / "x"), [dataclasses.replace(videos[0], **change)])


@pytest.mark.parametrize("place", ["header", "frame", "length"])
def test_a_flipped_bit_is_named_by_shard_and_offset(folder, place):
    index = split_index.load_index(str(folder), "train")
    number = int(np.argmax(index.num_frames))
    path, offset = index.shard_paths[index.shards[number]], index.offsets[number]
    frame_16 = index.anchors[index.anchor_starts[number] + 1]
    position = {"header": offset + 20, "frame": frame_16 + 30, "length": frame_16 + 1}[place]
    content = bytearray(open(path, "rb").read())
    content[position] ^= 4
    open(path, "wb").write(content)
    at = offset if place == "header" else frame_16
    with pytest.raises(records.DamagedRecordError, match=f"{path} is damaged at byte {at}"):
        split_index.read_video(index, number)
    with pytest.raises(records.DamagedRecordError, match=f"at byte {at}"):
        records.scan_shard(path)


def test_offsets_of_another_shard_are_noticed(folder):
    index = split_index.load_index(str(folder), "train")
    other = dataclasses.replace(index, shards=1 - index.shards)
    with pytest.raises(records.DamagedRecordError):
        for number in range(len(index)):
            split_index.read_video(other, number)
