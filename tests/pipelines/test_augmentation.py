"""Crops, scaling and flips on frames whose pixels tell their place."""

import numpy as np
import pytest
import tensorflow as tf
from coded_videos import coded_frame, frame_numbers

from pipelines.input import augmentation

HEIGHT, WIDTH = 37, 53


def encoded_frames(numbers, height=HEIGHT, width=WIDTH, **options):
    options = {"quality": 100, "chroma_downsampling": False, **options}
    return tf.stack([tf.io.encode_jpeg(coded_frame(n, height, width), **options) for n in numbers])


def boxes(count, height, width, **options):
    seeds = tf.data.Dataset.range(count).map(lambda n: tf.stack([n, tf.constant(11, tf.int64)]))
    crops = seeds.map(lambda seed: augmentation.random_crop(seed, height, width, **options))
    return np.array(list(crops.as_numpy_iterator()))


def scaled_exactly(image, height, width):
    """Bilinear interpolation with half-pixel centres, in float64."""

    def weights(old, new):
        centre = (np.arange(new) + 0.5) * old / new - 0.5
        low = np.floor(centre).astype(int)
        matrix = np.zeros((new, old))
        np.add.at(matrix, (np.arange(new), np.clip(low, 0, old - 1)), 1 - (centre - low))
        np.add.at(matrix, (np.arange(new), np.clip(low + 1, 0, old - 1)), centre - low)
        return matrix

    rows, columns = weights(image.shape[0], height), weights(image.shape[1], width)
    return np.einsum("yh,hwc,xw->yxc", rows, image.astype(np.float64), columns)


@pytest.mark.parametrize("size", [(256, 340), (340, 256), (37, 53)])
def test_random_boxes_have_the_area_aspect_and_place_asked_for(size):
    height, width = size
    count = 2000
    drawn = boxes(count, height, width)
    top, left, box_height, box_width = drawn.T
    assert (top >= 0).all() and (left >= 0).all()
    assert (top + box_height <= height).all() and (left + box_width <= width).all()
    area = box_height * box_width / (height * width)
    aspect = box_width / box_height
    rounding = 1.2 / min(height, width)
    assert area.min() >= 0.25 * (1 - 3 * rounding) and area.max() > 0.9
    assert aspect.min() >= 0.75 * (1 - 3 * rounding)
    assert aspect.max() <= 4 / 3 * (1 + 3 * rounding)
    # Boxes that fit at any aspect follow the uniform law: below half the area almost all do.
    shares = np.histogram(area, [0.25, 0.3, 0.35, 0.4, 0.45])[0]
    assert shares.min() > shares.mean() - 4 * np.sqrt(shares.mean()), shares
    # The place is uniform over all that the box leaves, both ends included.
    roomy = height - box_height >= 4
    place = (top / np.maximum(height - box_height, 1))[roomy]
    assert abs(place.mean() - 0.5) < 4 * 0.3 / np.sqrt(len(place))
    assert place.min() == 0 and place.max() == 1


def test_the_same_seed_gives_the_same_box_eagerly_and_in_tf_data():
    in_tf_data = boxes(50, HEIGHT, WIDTH)
    eager = [
        augmentation.random_crop(tf.constant([n, 11], tf.int64), HEIGHT, WIDTH) for n in range(50)
    ]
    np.testing.assert_array_equal(in_tf_data, np.array(eager))
    assert len({tuple(box) for box in in_tf_data.tolist()}) > 45


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((10, 1000), [0, 493, 10, 13]),
        ((1000, 10), [493, 0, 13, 10]),
        ((1, 1), [0, 0, 1, 1]),
        ((1, 100_000), [0, 49_999, 1, 1]),
        ((2, 3), None),
    ],
)
def test_frames_too_narrow_for_any_box_give_the_centre(size, expected):
    for box in boxes(10, *size, min_area=0.9):
        assert (box[2:] >= 1).all() and (box[:2] + box[2:] <= size).all()
        if expected:
            assert box.tolist() == expected


def test_the_whole_frame_can_be_asked_for():
    drawn = boxes(10, 60, 60, min_area=1.0, min_aspect=1.0, max_aspect=1.0)
    np.testing.assert_array_equal(drawn, [[0, 0, 60, 60]] * 10)


@pytest.mark.parametrize("chroma_downsampling", [False, True])
@pytest.mark.parametrize("box", [(0, 0, 37, 53), (5, 9, 20, 31), (36, 52, 1, 1), (3, 16, 16, 8)])
def test_a_decoded_box_is_that_part_of_the_whole(box, chroma_downsampling):
    encoded = encoded_frames([4, 7], chroma_downsampling=chroma_downsampling)
    whole = augmentation.decode_frames(encoded, tf.constant([0, 0, HEIGHT, WIDTH])).numpy()
    part = augmentation.decode_frames(encoded, tf.constant(box)).numpy()
    top, left, height, width = box
    np.testing.assert_array_equal(part, whole[:, top : top + height, left : left + width])
    if not chroma_downsampling:
        expected = np.stack([coded_frame(n, HEIGHT, WIDTH) for n in (4, 7)])
        assert np.abs(whole.astype(int) - expected).max() <= 3
        np.testing.assert_array_equal(frame_numbers(part), [4, 7])


@pytest.mark.parametrize("size", [(64, 48), (16, 20), (37, 53), (20, 90)])
def test_scaling_is_bilinear_to_half_a_level(size):
    frames = np.random.default_rng(2).integers(0, 256, (3, HEIGHT, WIDTH, 3), np.uint8)
    scaled = augmentation.scale(tf.constant(frames), *size).numpy()
    assert scaled.dtype == np.uint8
    expected = np.stack([scaled_exactly(frame, *size) for frame in frames])
    assert np.abs(scaled - expected).max() <= 0.5 + 1e-3
    if size == (HEIGHT, WIDTH):
        np.testing.assert_array_equal(scaled, frames)


@pytest.mark.parametrize("in_tf_data", [False, True])
@pytest.mark.parametrize("box", [(5, 9, 20, 31), (0, 0, 37, 53), (30, 1, 7, 9)])
def test_a_scaled_crop_shows_its_box(box, in_tf_data):
    encoded = encoded_frames([0, 5])

    def crop(frames):
        return augmentation.decode_and_scale(frames, tf.constant(box), 24, 24, max_ratio=1)

    if in_tf_data:
        clip = next(iter(tf.data.Dataset.from_tensors(encoded).map(crop))).numpy()
    else:
        clip = crop(encoded).numpy()
    top, left, height, width = box
    for frame, number in zip(clip, (0, 5)):
        source = coded_frame(number, HEIGHT, WIDTH)[top : top + height, left : left + width]
        assert np.abs(frame - scaled_exactly(source, 24, 24)).max() <= 3.5


@pytest.mark.parametrize(("size", "ratio"), [(8, 8), (9, 4), (16, 4), (17, 2), (33, 1)])
def test_large_boxes_are_decoded_at_a_fraction(size, ratio):
    # 160 x 200, of which the box takes 64 x 80 at (32, 48).
    assert augmentation.largest_ratio(64, 80, size, size) == ratio
    encoded = encoded_frames([0, 5], 160, 200)
    box = tf.constant([32, 48, 64, 80])
    clip = augmentation.decode_and_scale(encoded, box, size, size).numpy()
    assert clip.shape == (2, size, size, 3)
    for frame, number in zip(clip, (0, 5)):
        source = coded_frame(number, 160, 200)[32:96, 48:128]
        # The frames are linear in x and y, so that averaging before scaling changes nothing.
        assert np.abs(frame - scaled_exactly(source, size, size)).max() <= 4, ratio


def test_a_reduction_averages_what_lies_between():
    # A checkerboard of single pixels: without averaging, scaling by 1/4 gives black or white.
    board = np.indices((64, 64)).sum(0) % 2 * 255
    image = np.repeat(board[..., None], 3, -1).astype(np.uint8)
    encoded = tf.io.encode_jpeg(image, quality=100, chroma_downsampling=False)[None]
    clip = augmentation.decode_and_scale(encoded, tf.constant([0, 0, 64, 64]), 16, 16).numpy()
    assert np.abs(clip.astype(int) - 127).max() <= 8


def test_a_flip_mirrors_all_frames_left_to_right():
    frames = tf.constant(np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), np.uint8))
    np.testing.assert_array_equal(augmentation.flip(frames, tf.constant(False)), frames)
    flipped = augmentation.flip(frames, tf.constant(True)).numpy()
    np.testing.assert_array_equal(flipped, frames.numpy()[:, :, ::-1])
