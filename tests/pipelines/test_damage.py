"""Damaged records and JPEGs stop the run, or are skipped, named and counted."""

import dataclasses
import os

import numpy as np
import pytest
import tensorflow as tf
from coded_videos import coded_video, write_folder

from pipelines.input import (
    damage,
    evaluation_dataset,
    training_dataset,
    training_stream,
    validation_dataset,
)
from pipelines.shards import split_index

NUM_VIDEOS = 8
BAD = 3
CLASSES = [str(number) for number in range(NUM_VIDEOS)]


def damaged_folder(path, how):
    """A folder of which one video cannot be read (its checksum) or decoded (its JPEG)."""
    videos = [coded_video(f"video {n}", n, 6) for n in range(NUM_VIDEOS)]
    if how == "jpeg":
        frames = [frame[:40] for frame in videos[BAD].frames]
        videos[BAD] = dataclasses.replace(videos[BAD], frames=frames)
    write_folder(path, videos, num_shards=1, class_names=CLASSES)
    if how == "checksum":
        index = split_index.load_index(str(path), "train")
        with open(index.shard_paths[0], "r+b") as file:
            position = int(index.anchors[index.anchor_starts[BAD]]) + 30
            file.seek(position)
            byte = file.read(1)[0]
            file.seek(position)
            file.write(bytes([byte ^ 1]))
    return str(path)


@pytest.fixture(params=["checksum", "jpeg"])
def folder(request, tmp_path):
    return damaged_folder(tmp_path, request.param)


def training(folder, **options):
    return training_stream(folder, batch_size=2, crop_size=16, **options)


def test_damage_stops_the_run_by_default(folder):
    errors = (tf.errors.DataLossError, tf.errors.InvalidArgumentError)
    with pytest.raises(errors):
        list(training(folder).take(NUM_VIDEOS // 2))
    with pytest.raises(errors):
        list(evaluation_dataset(folder, "train", batch_size=4, crop_size=16))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_skipped_clips_are_replaced_named_and_counted(folder, tmp_path_factory, capfd, seed):
    whole = damaged_folder(tmp_path_factory.mktemp("whole"), None)
    steps = 3 * NUM_VIDEOS // 2
    expected = list(training(whole, seed=seed).take(steps).as_numpy_iterator())
    damaged = tf.Variable(0, dtype=tf.int64)
    dataset = training(folder, seed=seed, on_damage="skip", damaged=damaged).take(steps)
    found = list(dataset.as_numpy_iterator())
    for (clips, labels), (expected_clips, expected_labels) in zip(found, expected, strict=True):
        for clip, label, whole_clip, whole_label in zip(
            clips, labels, expected_clips, expected_labels
        ):
            if whole_label == BAD:
                assert label != BAD
            else:
                # All other clips are what and where they were.
                assert label == whole_label
                np.testing.assert_array_equal(clip, whole_clip)
    # Three epochs, plus what was made ahead; a replacement may have hit the damaged one again.
    assert damaged.numpy() >= 3
    assert 'skipped a video that cannot be read or decoded: "video 3"' in capfd.readouterr().err


def test_skipped_videos_are_masked_in_evaluation(folder, capfd):
    dataset = evaluation_dataset(folder, "train", batch_size=3, crop_size=16, on_damage="skip")
    masks = {}
    for batch in dataset.as_numpy_iterator():
        for row in range(3):
            number = batch["index"][row]
            masks[number] = masks.get(number, False) or bool(batch["mask"][row])
            assert batch["views"][row].any() == batch["mask"][row]
    assert masks == {number: number != BAD for number in range(NUM_VIDEOS)}
    assert "video 3" in capfd.readouterr().err


def test_skipped_videos_are_left_out_of_validation(folder, capfd):
    dataset = validation_dataset(folder, "train", batch_size=3, crop_size=16, on_damage="skip")
    batches = list(dataset.as_numpy_iterator())
    assert [len(labels) for _, labels in batches] == [3, 3, 1]
    labels = np.concatenate([labels for _, labels in batches])
    assert labels.tolist() == [number for number in range(NUM_VIDEOS) if number != BAD]
    assert all(clip.any() for clips, _ in batches for clip in clips)
    assert dataset.cardinality() == tf.data.UNKNOWN_CARDINALITY
    assert "video 3" in capfd.readouterr().err
    with pytest.raises((tf.errors.DataLossError, tf.errors.InvalidArgumentError)):
        list(validation_dataset(folder, "train", batch_size=3, crop_size=16))


def test_epochs_are_whole_where_videos_are_skipped(folder):
    dataset = training_dataset(folder, batch_size=2, crop_size=16, on_damage="skip")
    labels = [label for _ in range(2) for _, of in dataset.as_numpy_iterator() for label in of]
    assert len(labels) == 2 * NUM_VIDEOS and BAD not in labels


def test_data_that_is_damaged_throughout_stops_the_run(tmp_path):
    videos = [coded_video("a", 0, 3)]
    videos[0] = dataclasses.replace(videos[0], frames=[b"\xff\xd8 no more"] * 3)
    write_folder(tmp_path, videos, num_shards=1, class_names=CLASSES)
    with pytest.raises(ValueError, match=r"the videos tried in its place are damaged as well"):
        with damage.explained(str(tmp_path)):
            list(training(str(tmp_path), on_damage="skip").take(1))


def test_an_unknown_policy_is_refused(tmp_path):
    folder = damaged_folder(tmp_path, None)
    with pytest.raises(ValueError, match="Received: on_damage='ignore'"):
        training(folder, on_damage="ignore")
    with pytest.raises(ValueError, match="Received: on_damage='ignore'"):
        evaluation_dataset(folder, "train", batch_size=1, on_damage="ignore")


def test_a_shard_that_went_away_is_named(tmp_path):
    folder = damaged_folder(tmp_path, None)
    shard = split_index.load_index(folder, "train").shard_paths[0]
    stream = training(folder)
    os.remove(shard)
    with pytest.raises(ValueError, match=rf"A file of {folder} cannot be read: .*{shard}; No such"):
        with damage.explained(folder):
            next(iter(stream))
    with pytest.raises(tf.errors.NotFoundError, match="of the network"):
        with damage.explained(folder):
            raise tf.errors.NotFoundError(None, None, "of the network")
