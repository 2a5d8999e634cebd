"""Batches of clips and views, checked by what the pixels say of the frame and the place."""

import dataclasses
import itertools
import time

import numpy as np
import pytest
import tensorflow as tf
from coded_videos import (
    LENGTHS,
    SIZES,
    coded_frame,
    coded_video,
    frame_numbers,
    write_all_sizes,
    write_folder,
)

from pipelines.input import evaluation, evaluation_dataset, training_stream, views_of_frames
from pipelines.shards import split_index


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_all_sizes(tmp_path_factory.mktemp("data"))


def training_batches(folder, count, **options):
    options = {"batch_size": 4, "crop_size": 24, **options}
    dataset = training_stream(folder, **options)
    return list(dataset.take(count).as_numpy_iterator())


def assert_same(batches, expected):
    assert len(batches) == len(expected)
    for (clips, labels), (expected_clips, expected_labels) in zip(batches, expected):
        np.testing.assert_array_equal(labels, expected_labels)
        np.testing.assert_array_equal(clips, expected_clips)


def crop_of(clip, height, width):
    """(width, height) of the crop in source pixels, and whether it is mirrored, by the colours."""
    size = clip.shape[1]
    inner = clip[:, size // 4 : -size // 4, size // 4 : -size // 4].astype(float).mean(0)
    steps = np.diff(inner[..., 0], axis=1).mean(), np.diff(inner[..., 1], axis=0).mean()
    return (
        abs(steps[0]) * size * (width - 1) / 255,
        steps[1] * size * (height - 1) / 255,
        steps[0] < 0,
    )


def test_batches_have_static_shapes_and_stay_uint8(folder):
    dataset = training_stream(
        folder, batch_size=6, num_workers=2, worker_index=1, crop_size=20, num_frames=4, span=8
    )
    clips, labels = dataset.element_spec
    assert clips == tf.TensorSpec((3, 4, 20, 20, 3), tf.uint8)
    assert labels == tf.TensorSpec((3,), tf.int32)
    dataset = evaluation_dataset(
        folder, "train", batch_size=4, num_workers=2, num_clips=5, num_crops=3, crop_size=36
    )
    assert dataset.element_spec == {
        "views": tf.TensorSpec((2, 15, 8, 36, 36, 3), tf.uint8),
        "label": tf.TensorSpec((2,), tf.int32),
        "index": tf.TensorSpec((2,), tf.int32),
        "mask": tf.TensorSpec((2,), tf.bool),
    }


@pytest.mark.parametrize("seed", [0, 5])
@pytest.mark.parametrize(("num_frames", "span"), [(8, 64), (4, 8), (64, 64), (1, 1)])
def test_training_clips_are_the_frames_asked_for(folder, num_frames, span, seed):
    batches = training_batches(folder, 7, num_frames=num_frames, span=span, seed=seed)
    starts = {number: set() for number in range(len(LENGTHS))}
    for clips, labels in batches:
        for clip, label in zip(clips, labels):
            numbers = frame_numbers(clip)
            expected = numbers[0] + np.arange(num_frames) * span // num_frames
            np.testing.assert_array_equal(numbers, np.minimum(expected, LENGTHS[label] - 1))
            assert numbers[0] <= max(LENGTHS[label] - span, 0), (label, numbers)
            starts[label].add(numbers[0])
    assert len(starts[6]) > 1
    assert starts[0] == {0}


def test_only_the_frames_of_a_clip_are_decoded(tmp_path):
    # In 64 frames there is one place for a clip of 8 frames, 0, 8, ...; all others are no JPEG.
    whole = coded_video("a", 0, 64, 36, 52)
    frames = [f if n % 8 == 0 else b"\xff\xd8 none" for n, f in enumerate(whole.frames)]
    write_folder(tmp_path, [dataclasses.replace(whole, frames=frames)])
    ((clips, _),) = training_batches(str(tmp_path), 1, batch_size=1)
    assert frame_numbers(clips[0]).tolist() == list(range(0, 64, 8))
    dataset = evaluation_dataset(str(tmp_path), "train", batch_size=1, num_crops=3)
    (batch,) = dataset.as_numpy_iterator()
    assert batch["views"].shape[1] == 9


def test_a_clip_has_one_crop_for_all_frames_in_the_allowed_range(folder):
    areas, flips = [], []
    for clips, labels in training_batches(folder, 40, seed=0, num_frames=4, span=4):
        for clip, label in zip(clips, labels):
            height, width = SIZES[label]
            red, green = clip[..., 0].astype(int), clip[..., 1].astype(int)
            assert np.abs(red - red[0]).max() <= 8 and np.abs(green - green[0]).max() <= 8
            crop_width, crop_height, mirrored = crop_of(clip, height, width)
            areas.append(crop_width * crop_height / (height * width))
            flips.append(mirrored)
            assert 0.7 < crop_width / crop_height < 1.43
    assert 0.2 < min(areas) < 0.35 and 0.85 < max(areas) < 1.1
    assert abs(np.mean(flips) - 0.5) < 4 * 0.5 / np.sqrt(len(flips))


def test_min_area_one_takes_nearly_all_of_the_frame(folder):
    for clips, labels in training_batches(folder, 5, min_area=1.0):
        for clip, label in zip(clips, labels):
            height, width = SIZES[label]
            crop_width, crop_height, _ = crop_of(clip, height, width)
            # The largest part with an aspect of at most 4:3.
            assert min(crop_width / width, crop_height / height) > 0.4
            assert max(crop_width / width, crop_height / height) > 0.9


@pytest.mark.parametrize("seed", [0, 3, -1, 2**63 - 1])
def test_workers_share_every_epoch(folder, seed):
    steps = 7
    whole = training_batches(folder, steps, seed=seed)
    parts = [
        training_batches(folder, steps, seed=seed, num_workers=2, worker_index=worker)
        for worker in range(2)
    ]
    joined = [tuple(np.concatenate(arrays) for arrays in zip(*of_step)) for of_step in zip(*parts)]
    assert_same(joined, whole)
    # Seven steps of four clips are four epochs of the seven videos, though batches cross them.
    order = np.concatenate([labels for _, labels in whole]).reshape(4, 7)
    np.testing.assert_array_equal(np.sort(order, axis=1), np.tile(np.arange(7), (4, 1)))
    assert len({tuple(epoch) for epoch in order}) > 1


@pytest.mark.parametrize("seed", [0, 9])
def test_a_run_resumes_exactly(folder, seed):
    whole = training_batches(folder, 6, seed=seed)
    assert_same(training_batches(folder, 3, seed=seed, start_step=3), whole[3:])
    # Far ahead, as after weeks of training.
    late = training_batches(folder, 2, seed=seed, start_step=10**9)
    assert_same(training_batches(folder, 1, seed=seed, start_step=10**9 + 1), late[1:])


def test_balanced_classes_over_shards_workers_and_a_restart(tmp_path):
    # Nine of a class and one of two others, over four shards.
    videos = [coded_video(f"{n}", max(0, n - 8), 2 + n) for n in range(11)]
    write_folder(tmp_path, videos, num_shards=4)
    options = {"order": "balanced", "batch_size": 6, "num_frames": 2, "span": 2, "flip": False}
    whole = training_batches(str(tmp_path), 9, **options)
    for _, labels in whole:
        np.testing.assert_array_equal(np.sort(labels), [0, 0, 1, 1, 2, 2])
    # Eighteen visits are two to each video of the large class, whose lengths tell them apart.
    frames = np.concatenate([frame_numbers(clips)[:, 1][labels == 0] for clips, labels in whole])
    assert len(set(frames)) > 5
    parts = [
        training_batches(str(tmp_path), 9, num_workers=2, worker_index=worker, **options)
        for worker in range(2)
    ]
    joined = [tuple(np.concatenate(arrays) for arrays in zip(*of_step)) for of_step in zip(*parts)]
    assert_same(joined, whole)
    assert_same(training_batches(str(tmp_path), 4, start_step=5, **options), whole[5:])


@pytest.mark.slow
def test_the_seed_alone_decides(folder):
    first = training_batches(folder, 3, seed=0)
    tf.random.set_seed(77)
    assert_same(training_batches(folder, 3, seed=0, data_workers=3), first)
    other = training_batches(folder, 3, seed=1)
    assert any((a[0] != b[0]).any() for a, b in zip(first, other))
    # The same video is not cut the same way again in the next epoch.
    assert len({clip.tobytes() for clips, _ in first for clip in clips}) == 12


@pytest.mark.slow
def test_flips_are_off_on_or_change_the_class(folder):
    plain = training_batches(folder, 14, flip=False, seed=4)
    flipping = training_batches(folder, 14, flip=True, seed=4)
    swapping = training_batches(folder, 14, flip={2: 5, 5: 2}, seed=4)
    mirrored_labels = {}
    for (clips, labels), (flipped, same), (swapped, changed) in zip(plain, flipping, swapping):
        np.testing.assert_array_equal(labels, same)
        np.testing.assert_array_equal(flipped, swapped)
        for clip, clip_flipped, label, new_label in zip(clips, flipped, labels, changed):
            assert not crop_of(clip, 36, 52)[2]
            mirrored = crop_of(clip_flipped, 36, 52)[2]
            expected = {2: 5, 5: 2}.get(label, label) if mirrored else label
            assert new_label == expected
            np.testing.assert_array_equal(clip_flipped, clip[:, :, ::-1] if mirrored else clip)
            mirrored_labels.setdefault(label, set()).add(mirrored)
    assert mirrored_labels[2] == mirrored_labels[5] == {False, True}


def test_three_crops_of_a_square_lie_along_its_width():
    frame = np.zeros((40, 40, 3), np.uint8)
    frame[..., 0] = np.arange(40) * 6
    encoded = tf.io.encode_jpeg(frame, quality=100).numpy()
    views = views_of_frames(
        [encoded], num_clips=1, num_crops=3, num_frames=1, span=1, crop_size=32, short_side=40
    ).numpy()
    np.testing.assert_allclose(views[:, 0, 16, 0, 0], [0, 24, 48], atol=6)


@pytest.mark.parametrize(("num_clips", "num_crops"), [(3, 1), (10, 3), (1, 3)])
def test_views_are_exact(folder, num_clips, num_crops):
    dataset = evaluation_dataset(
        folder, "train", batch_size=7, num_clips=num_clips, num_crops=num_crops, crop_size=36
    )
    (batch,) = dataset.as_numpy_iterator()
    for views, label in zip(batch["views"], batch["label"]):
        length, (height, width) = LENGTHS[label], SIZES[label]
        if min(height, width) != 36:
            continue
        for number, view in enumerate(views):
            clip, crop = divmod(number, num_crops)
            last = max(length - 64, 0)
            start = last // 2 if num_clips == 1 else last * clip // (num_clips - 1)
            expected = np.minimum(start + 8 * np.arange(8), length - 1)
            np.testing.assert_array_equal(frame_numbers(view), expected)
            share = 0.5 if num_crops == 1 else crop / 2
            top, left = int((height - 36) * share), int((width - 36) * share)
            source = coded_frame(expected[0], height, width)[top : top + 36, left : left + 36]
            assert np.abs(view[0].astype(int) - source).max() <= 3


@pytest.mark.parametrize("crop_size", [36, 54, 20, 9])
@pytest.mark.parametrize("num_crops", [1, 3])
def test_other_sizes_are_scaled_by_their_short_side(folder, crop_size, num_crops):
    dataset = evaluation_dataset(
        folder, "train", batch_size=7, num_clips=1, num_crops=num_crops, crop_size=crop_size
    )
    (batch,) = dataset.as_numpy_iterator()
    for views, label in zip(batch["views"], batch["label"]):
        height, width = SIZES[label]
        for crop, view in enumerate(views):
            share = 0.5 if num_crops == 1 else crop / 2
            scale = min(height, width) / crop_size
            centre = (crop_size - 1) / 2
            for channel, side in ((0, width), (1, height)):
                room = side / scale - crop_size
                # Where the crop's middle lies in the source, and the colour there.
                middle = (centre + room * share + 0.5) * scale - 0.5
                colour = 255 * middle / (side - 1)
                found = view[0, ..., channel].astype(float).mean()
                assert abs(found - colour) < 3 + 255 * scale / side, (label, crop, channel)


def test_a_clip_can_cover_the_whole_video(folder):
    """As PySlowFast's `Ssv2` says it, in Python's numbers."""
    options = {"num_clips": 1, "num_frames": 4, "span": 0, "crop_size": 36}
    dataset = evaluation_dataset(folder, "train", batch_size=7, num_crops=1, **options)
    (batch,) = dataset.as_numpy_iterator()
    for (view,), label in zip(batch["views"], batch["label"]):
        ends = [round((LENGTHS[label] - 1) / 4 * part) for part in range(5)]
        expected = [(first + last) // 2 for first, last in itertools.pairwise(ends)]
        assert frame_numbers(view).tolist() == expected
    with pytest.raises(ValueError, match=r"`num_clips` must be 1\. Received: num_clips=2"):
        views_of_frames([b"x"], **{**options, "num_clips": 2})


@pytest.mark.slow
def test_prediction_sees_what_evaluation_sees(folder):
    index = split_index.load_index(folder, "train")
    options = {"num_clips": 4, "num_crops": 3, "num_frames": 4, "span": 16}
    for crop_size in (36, 20):
        dataset = evaluation_dataset(folder, "train", batch_size=3, crop_size=crop_size, **options)
        for batch in dataset.as_numpy_iterator():
            for number, views in zip(batch["index"], batch["views"]):
                frames = split_index.read_video(index, number).frames
                seen = views_of_frames(frames, crop_size=crop_size, **options)
                if batch["mask"].all():
                    np.testing.assert_array_equal(seen, views)


@pytest.mark.slow
@pytest.mark.parametrize(("batch_size", "num_workers"), [(1, 1), (4, 1), (4, 2), (6, 3), (16, 2)])
def test_every_video_is_evaluated_once_over_all_workers(folder, batch_size, num_workers):
    index = split_index.load_index(folder, "train")
    seen, lengths = [], set()
    for worker in range(num_workers):
        dataset = evaluation_dataset(
            folder,
            "train",
            batch_size=batch_size,
            num_workers=num_workers,
            worker_index=worker,
            num_clips=1,
            crop_size=16,
            data_workers=2,
        )
        batches = list(dataset.as_numpy_iterator())
        lengths.add(len(batches))
        for batch in batches:
            numbers, mask = batch["index"], batch["mask"]
            np.testing.assert_array_equal(batch["label"][mask], index.labels[numbers[mask]])
            assert not batch["views"][~mask].any()
            seen += numbers[mask].tolist()
    assert sorted(seen) == list(range(len(index)))
    assert len(lengths) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be 1 or more. Received: batch_size=0"),
        ({"num_workers": 0}, "`num_workers` must be 1 or more. Received: num_workers=0"),
        ({"num_workers": 3}, "`num_workers` must divide batch_size.*num_workers=3"),
        ({"num_workers": 2, "worker_index": 2}, "Received: worker_index=2, num_workers=2"),
        ({"worker_index": -1}, "Received: worker_index=-1"),
        ({"crop_size": 0}, "`crop_size` must be 1 or more. Received: crop_size=0"),
        ({"span": 63}, "Received: span=63, num_frames=8"),
        ({"data_workers": 0}, "Received: data_workers=0"),
        ({"split": "test"}, "no finished split 'test'"),
    ],
)
def test_bad_arguments_are_refused(folder, options, message):
    options = {"batch_size": 4, "split": "train", **options}
    with pytest.raises(ValueError, match=message):
        training_stream(folder, **options)
    with pytest.raises(ValueError, match=message):
        evaluation_dataset(folder, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_area": 0}, "Received: min_area=0"),
        ({"min_area": 1.5}, "Received: min_area=1.5"),
        ({"seed": 2**63}, "`seed` must fit into 64 bits"),
        ({"start_step": -1}, "Received: start_step=-1"),
        ({"order": "sorted"}, "Received: order='sorted'"),
        ({"flip": {1: 2}}, "both directions"),
        ({"flip": {1: 99, 99: 1}}, "both directions"),
    ],
)
def test_bad_training_arguments_are_refused(folder, options, message):
    with pytest.raises(ValueError, match=message):
        training_stream(folder, batch_size=4, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_crops": 2}, "`num_crops` must be 1 or 3. Received: num_crops=2"),
        ({"num_clips": 0}, "`num_clips` must be 1 or more. Received: num_clips=0"),
    ],
)
def test_bad_views_are_refused(folder, options, message):
    with pytest.raises(ValueError, match=message):
        evaluation_dataset(folder, "train", batch_size=4, **options)
    with pytest.raises(ValueError, match=message):
        views_of_frames([b"x"], **options)


def test_a_video_without_frames_has_no_views():
    with pytest.raises(ValueError, match="at least one frame"):
        views_of_frames([])


def test_an_evaluation_makes_few_batches_ahead(folder, monkeypatch):
    """However many threads there are: the views of a video can be 200 MB."""
    made = []

    def count(number):
        made.append(number)
        return number

    def views(video, *, num_clips, num_frames, crop_size, **_):
        tf.numpy_function(count, [video.num_frames], tf.int64)
        return tf.zeros((num_clips, num_frames, crop_size, crop_size, 3), tf.uint8)

    monkeypatch.setattr(evaluation, "video_views", views)
    monkeypatch.setattr(evaluation, "_BYTES_AHEAD", 1)
    monkeypatch.setattr(evaluation, "_padded_share", lambda *_: np.arange(400, dtype=np.int32) % 7)
    batches = iter(evaluation_dataset(folder, "train", batch_size=2, crop_size=24, data_workers=16))
    next(batches)
    before = -1
    while before != len(made):
        before = len(made)
        time.sleep(0.3)
    # In use, held ready, being put together, and the rows of one that are made: four batches, and
    # on a busy machine five. The 16 threads alone would make eight.
    assert 2 < len(made) < 16
