"""The datasets of `model.fit` and `model.evaluate`: epochs, and every video once."""

import gc

import numpy as np
import pytest
import tensorflow as tf
from coded_videos import LENGTHS, frame_numbers, write_all_sizes

from pipelines.input import open_split, training_dataset, training_stream, validation_dataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_all_sizes(tmp_path_factory.mktemp("data"))


def contents(dataset):
    return [(clips.tobytes(), labels.tolist()) for clips, labels in dataset.as_numpy_iterator()]


@pytest.mark.slow
@pytest.mark.parametrize(("batch_size", "steps"), [(1, 7), (4, 2), (16, 1)])
def test_each_iteration_is_the_next_epoch_of_the_stream(folder, batch_size, steps):
    options = {"batch_size": batch_size, "crop_size": 16, "num_frames": 2, "seed": 3}
    dataset = training_dataset(folder, **options)
    assert dataset.cardinality() == steps
    assert dataset.element_spec[0] == tf.TensorSpec((batch_size, 2, 16, 16, 3), tf.uint8)
    assert dataset.element_spec[1] == tf.TensorSpec((batch_size,), tf.int32)
    gc.collect()  # what counts the epochs belongs to the dataset alone
    epochs = [contents(dataset) for _ in range(4)]
    batches = [batch for epoch in epochs for batch in epoch]
    assert batches == contents(training_stream(folder, **options).take(4 * steps))
    assert len({clips for clips, _ in batches}) == 4 * steps
    seen = np.bincount([label for _, of in batches for label in of])
    assert len(seen) == len(LENGTHS) and seen.max() - seen.min() <= 1
    later = training_dataset(folder, first_epoch=2, **options)
    assert [contents(later), contents(later)] == epochs[2:]


@pytest.mark.parametrize("batch_size", [1, 4, 7, 16])
def test_every_video_is_validated_once(folder, batch_size):
    dataset = validation_dataset(folder, "train", batch_size=batch_size, crop_size=36)
    batches = list(dataset.as_numpy_iterator())
    assert len(batches) == dataset.cardinality() == -(-len(LENGTHS) // batch_size)
    assert [len(labels) for _, labels in batches[:-1]] == [batch_size] * (len(batches) - 1)
    clips, labels = (np.concatenate(column) for column in zip(*batches))
    assert clips.dtype == np.uint8 and labels.dtype == np.int32
    np.testing.assert_array_equal(labels, open_split(folder, "train").labels)
    assert sorted(labels) == list(range(len(LENGTHS)))
    for clip, label in zip(clips, labels):
        start = max(LENGTHS[label] - 64, 0) // 2
        expected = np.minimum(start + 8 * np.arange(8), LENGTHS[label] - 1)
        np.testing.assert_array_equal(frame_numbers(clip), expected)
        # The centre is cut out: the colours are symmetric about the middle.
        assert clip.shape == (8, 36, 36, 3) and abs(clip[..., 0].mean() - 127.5) < 5
        assert abs(clip[..., 1].mean() - 127.5) < 5
    whole = len(LENGTHS) % batch_size == 0
    assert dataset.element_spec[0].shape[0] == (batch_size if whole else None)


def test_a_short_side_and_three_threads_give_the_crop_asked_for(folder):
    options = {"batch_size": 2, "crop_size": 18, "num_frames": 1, "span": 1}
    near, far = (
        np.concatenate([clips for clips, _ in dataset])
        for dataset in (
            validation_dataset(folder, "train", short_side=36, **options),
            validation_dataset(folder, "train", data_workers=3, **options),
        )
    )
    # Half of the height against nearly all of it.
    assert abs(np.ptp(near[..., 1], axis=(1, 2, 3)).mean() - 127) < 30
    assert np.ptp(far[..., 1], axis=(1, 2, 3)).mean() > 220


def test_bad_arguments_are_refused(folder):
    with pytest.raises(ValueError, match="Received: first_epoch=-1"):
        training_dataset(folder, batch_size=2, first_epoch=-1)
    for make in (training_dataset, validation_dataset):
        for argument, value in {
            "batch_size": 0,
            "crop_size": 0,
            "data_workers": 0,
            "span": 63,
            "on_damage": "x",
        }.items():
            options = {"batch_size": 2, "split": "train", argument: value}
            with pytest.raises(ValueError, match=f"Received: {argument}="):
                make(folder, **options)
    with pytest.raises(ValueError, match="`short_side` must be None or at least crop_size"):
        validation_dataset(folder, "train", batch_size=2, short_side=20)
