"""Shards of DMVR and the Model Garden give what converted videos give."""

import dataclasses
import gzip
import resource

import numpy as np
import pytest
import tensorflow as tf
from coded_videos import CLASS_NAMES, coded_video, write_folder

from pipelines.input import (
    damage,
    evaluation_dataset,
    open_split,
    sequence_examples,
    training_stream,
)

NAMES = ["train-00000-of-00002", "train-00001-of-00002"]


@pytest.fixture(scope="module")
def videos():
    sizes = [(36, 52), (52, 36), (100, 120), (36, 36), (38, 50)]
    return [coded_video(f"{n}", n % 3, 1 + 20 * n, *size) for n, size in enumerate(sizes)]


def write_shard(path, videos):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for video in videos:
            example = tf.train.SequenceExample()
            labels = example.context.feature["clip/label/index"].int64_list.value
            labels.extend(np.atleast_1d(video.label).tolist())
            example.context.feature["clip/label/text"].bytes_list.value.append(b"jump")
            images = example.feature_lists.feature_list["image/encoded"]
            for frame in video.frames:
                images.feature.add().bytes_list.value.append(frame)
            writer.write(example.SerializeToString())


@pytest.fixture
def folder(tmp_path, videos):
    write_shard(tmp_path / NAMES[0], videos[:3])
    write_shard(tmp_path / NAMES[1], videos[3:])
    (tmp_path / "labels.txt").write_text("\n".join(CLASS_NAMES) + "\n")
    return tmp_path


def assert_equal(first, second):
    for one, other in zip(first, second, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, one, other)


def test_all_videos_are_found(folder):
    index = open_split(str(folder), "train", "sequence_example")
    assert index.class_names == CLASS_NAMES
    assert len(index) == 5
    assert index.keys == [f"{NAMES[0]}:{n}" for n in range(3)] + [f"{NAMES[1]}:{n}" for n in (0, 1)]


@pytest.mark.parametrize("seed", [0, 8])
def test_clips_are_those_of_converted_videos(folder, videos, tmp_path_factory, seed):
    converted = tmp_path_factory.mktemp("records")
    write_folder(converted, videos, num_shards=1)

    def batches(path, **options):
        dataset = training_stream(str(path), batch_size=3, crop_size=24, seed=seed, **options)
        return list(dataset.take(4).as_numpy_iterator())

    assert_equal(batches(folder, format="sequence_example"), batches(converted))


@pytest.mark.parametrize("crop_size", [36, 20])
def test_views_are_those_of_converted_videos(folder, videos, tmp_path_factory, crop_size):
    converted = tmp_path_factory.mktemp("records")
    write_folder(converted, videos, num_shards=1)

    def batches(path, **options):
        dataset = evaluation_dataset(
            str(path), "train", batch_size=2, num_crops=3, crop_size=crop_size, **options
        )
        return list(dataset.as_numpy_iterator())

    assert_equal(batches(folder, format="sequence_example"), batches(converted))


def test_other_names_of_shards_are_found(folder):
    (folder / NAMES[0]).rename(folder / "train.tfrecord")
    (folder / NAMES[1]).rename(folder / "train-2.tfrecords")
    assert len(sequence_examples.load_sequence_index(str(folder), "train")) == 5


def test_a_split_whose_name_begins_as_another_s_is_no_part_of_it(folder):
    (folder / "train_small-00000-of-00001.tfrecord").write_bytes((folder / NAMES[0]).read_bytes())
    assert len(sequence_examples.load_sequence_index(str(folder), "train")) == 5
    (folder / NAMES[0]).rename(folder / "train.tfrecord")
    (folder / NAMES[1]).rename(folder / "train-2.tfrecords")
    with pytest.raises(ValueError, match=r"cannot be told: .*train_small-00000-of-00001"):
        sequence_examples.load_sequence_index(str(folder), "train")


def test_missing_shards_and_labels_are_explained(folder, tmp_path):
    with pytest.raises(ValueError, match="no SequenceExample shards of split 'test'"):
        sequence_examples.load_sequence_index(str(folder), "test")
    with pytest.raises(ValueError, match="no SequenceExample shards"):
        sequence_examples.load_sequence_index(str(tmp_path / "nowhere"), "train")
    (folder / "labels.txt").unlink()
    with pytest.raises(ValueError, match=r"labels\.txt is missing"):
        sequence_examples.load_sequence_index(str(folder), "train")


def test_cut_and_foreign_shards_are_refused(folder):
    path = folder / NAMES[1]
    content = path.read_bytes()
    for damaged in (content[:-1], content + b"12345", b"not a TFRecord file at all"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="cut or no TFRecord file"):
            sequence_examples.load_sequence_index(str(folder), "train")
    path.write_bytes(gzip.compress(content))
    with pytest.raises(ValueError, match="is compressed"):
        sequence_examples.load_sequence_index(str(folder), "train")
    for name in NAMES:
        (folder / name).write_bytes(b"")
    with pytest.raises(ValueError, match="are empty"):
        sequence_examples.load_sequence_index(str(folder), "train")


@pytest.mark.parametrize("label", [3, -1, [0, 1]])
def test_labels_without_a_name_stop_the_run(folder, videos, label):
    bad = dataclasses.replace(videos[1], label=label)
    write_shard(folder / NAMES[0], [bad])
    write_shard(folder / NAMES[1], [bad])
    dataset = training_stream(str(folder), batch_size=1, crop_size=8, format="sequence_example")
    with pytest.raises(tf.errors.InvalidArgumentError, match="label"):
        next(iter(dataset))


def jpeg_claiming(height, width):
    """A small JPEG whose header is changed to another size."""
    content = bytearray(tf.io.encode_jpeg(np.zeros((16, 16, 3), np.uint8)).numpy())
    place = content.index(b"\xff\xc0") + 5
    content[place : place + 4] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(content)


@pytest.mark.parametrize("size", [(1, 65_500), (65_500, 1), (65_500, 65_500), (16, 16)])
def test_frames_that_would_fill_the_memory_are_refused(folder, size):
    if min(size) == 1:
        frame = tf.io.encode_jpeg(tf.zeros((*size, 3), tf.uint8)).numpy()
    else:
        frame = jpeg_claiming(*size)
    video = dataclasses.replace(coded_video("a", 0, 3), frames=[frame] * 3)
    for name in NAMES:
        write_shard(folder / name, [video])
    options = {"batch_size": 1, "format": "sequence_example"}
    datasets = [
        training_stream(str(folder), crop_size=8, **options).take(1),
        evaluation_dataset(str(folder), "train", crop_size=256, **options),
    ]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for dataset in datasets:
        if size == (16, 16):
            list(dataset)
            continue
        with pytest.raises(ValueError, match="The JPEG of a frame is too large or too long"):
            with damage.explained(str(folder)):
                list(dataset)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000


def test_an_unknown_format_is_refused(folder):
    with pytest.raises(ValueError, match="Received: format='tfds'"):
        training_stream(str(folder), batch_size=1, format="tfds")
