"""Crops out of padded frames, as CIFAR's networks are trained on, and views of scaled images."""

import itertools

import coded_videos
import numpy as np
import pytest
import tensorflow as tf

from pipelines.input import (
    augmentation,
    evaluation_dataset,
    open_split,
    training_stream,
    views_of_frames,
)


def coded_frames(height, width, frames=2):
    """Every pixel tells its place; none is black."""
    y, x = np.mgrid[1 : height + 1, 1 : width + 1]
    frame = np.stack([x, y, np.full_like(x, 7)], -1).astype(np.uint8)
    return np.stack([frame + np.uint8([0, 0, number]) for number in range(frames)])


@pytest.mark.parametrize(("height", "width", "padding"), [(9, 9, 2), (9, 13, 1), (9, 9, 0)])
def test_padded_crops_are_parts_of_frames_with_a_black_border(height, width, padding):
    frames = coded_frames(height, width)
    around = (padding, padding)
    padded = np.pad(frames, [(0, 0), around, around, (0, 0)])
    places = set()
    crop = tf.function(lambda seed: augmentation.padded_crop(seed, tf.constant(frames), 9, padding))
    for seed in range(400):
        result = crop(tf.constant([seed, 5])).numpy()
        assert result.shape == (2, 9, 9, 3)
        candidates = itertools.product(
            range(2 * padding + height - 8), range(2 * padding + width - 8)
        )
        found = [
            (top, left)
            for top, left in candidates
            if (padded[:, top : top + 9, left : left + 9] == result).all()
        ]
        assert len(found) == 1, f"seed {seed}"
        places.add(found[0])
    # Every place comes; one of 25 is missing after 400 draws once in a million.
    assert len(places) == (2 * padding + height - 8) * (2 * padding + width - 8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three images of 32x32, and one that is wider."""
    path = tmp_path_factory.mktemp("images")
    sizes = [(32, 32)] * 3 + [(32, 48)]
    videos = [coded_videos.coded_video(f"{n}", n % 3, 1, *size) for n, size in enumerate(sizes)]
    coded_videos.write_folder(path, videos)
    return str(path)


def test_training_on_padded_images(folder):
    batches = training_stream(
        folder, batch_size=8, num_frames=1, span=1, crop_size=32, padding=4, seed=3
    )
    flipped, borders = 0, 0
    for clips, _ in batches.take(20).as_numpy_iterator():
        assert clips.shape == (8, 1, 32, 32, 3)
        for image in clips[:, 0].astype(int):
            inside = image[6:-6, 6:-6]
            steps = np.diff(inside[..., 0], axis=1)
            flipped += (steps <= 2).all() and steps.mean() < 0
            # Unscaled: red rises by 255 / 31 a pixel, or by 255 / 47 in the wide image.
            assert min(abs(abs(steps).mean() - 255 / (n - 1)) for n in (32, 48)) < 0.5
            assert abs(np.diff(inside[..., 1], axis=0).mean() - 255 / 31) < 0.5
            borders += (image[0] < 4).all()
    # Half are flipped, and four of nine crops begin in the border above, in 160 draws.
    assert abs(flipped - 80) < 4 * np.sqrt(160 / 4)
    assert abs(borders - 160 * 4 / 9) < 4 * np.sqrt(160 * 20 / 81)


def test_frames_of_another_size_are_scaled_first(folder):
    batches = training_stream(
        folder, batch_size=4, num_frames=1, span=1, crop_size=16, padding=0, flip=False
    )
    clips = next(iter(batches))[0].numpy()[:, 0].astype(int)
    # Without a border the whole height is in the crop.
    assert (clips[:, 0, :, 1] < 12).all() and (clips[:, -1, :, 1] > 243).all()


def test_a_crop_out_of_a_larger_short_side(folder):
    """ImageNet's protocol at a seventh of its size: 32 of a short side of 32, 28 of it taken."""
    batches = evaluation_dataset(
        folder, "train", batch_size=4, num_clips=1, num_frames=1, span=1,
        crop_size=28, short_side=32,
    )  # fmt: skip
    batch = next(batches.as_numpy_iterator())
    for views, number in zip(batch["views"], batch["index"]):
        width = 48 if open_split(folder, "train").keys[number] == "3" else 32
        frame = coded_videos.coded_frame(0, 32, width).astype(int)
        left = (width - 28) // 2
        assert abs(views[0, 0].astype(int) - frame[2:30, left : left + 28]).max() <= 4


def test_three_crops_of_a_larger_short_side_lie_along_the_longer_one(folder):
    batches = evaluation_dataset(
        folder, "train", batch_size=4, num_clips=1, num_crops=3, num_frames=1, span=1,
        crop_size=28, short_side=32,
    )  # fmt: skip
    batch = next(batches.as_numpy_iterator())
    keys = open_split(folder, "train").keys
    (wide,) = (views for views, n in zip(batch["views"], batch["index"]) if keys[n] == "3")
    frame = coded_videos.coded_frame(0, 32, 48).astype(int)
    for view, left in zip(wide[:, 0].astype(int), (0, 10, 20)):
        assert abs(view - frame[2:30, left : left + 28]).max() <= 4


def test_bad_arguments_are_refused(folder):
    with pytest.raises(ValueError, match="Received: padding=-1"):
        training_stream(folder, batch_size=4, padding=-1)
    for call in (
        lambda **sizes: evaluation_dataset(folder, "train", batch_size=4, **sizes),
        lambda **sizes: views_of_frames([b"x"], **sizes),
    ):
        with pytest.raises(ValueError, match="Received: short_side=19, crop_size=20"):
            call(short_side=19, crop_size=20)
