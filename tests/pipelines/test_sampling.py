"""The order of training and the places of clips, eagerly and inside tf.data."""

import numpy as np
import pytest
import tensorflow as tf

from pipelines.input import sampling

SEEDS = [0, 1, -5, 2**62]


def in_tf_data(function, count):
    """Results of a function of the positions 0 to count - 1."""
    return np.array(list(tf.data.Dataset.range(count).map(function).as_numpy_iterator()))


def in_both_modes(function, count):
    """Results inside tf.data, after the first ones were found equal eagerly."""
    results = in_tf_data(function, count)
    eager = [function(tf.constant(value, tf.int64)).numpy() for value in range(min(count, 30))]
    np.testing.assert_array_equal(results[:30], eager)
    return results


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("num_videos", [1, 2, 3, 10, 97])
def test_every_epoch_is_another_permutation(num_videos, seed):
    order = in_both_modes(lambda p: sampling.video_at(p, num_videos, seed), 3 * num_videos).reshape(
        3, num_videos
    )
    for epoch in order:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(num_videos))
    if num_videos > 9:
        assert (order[0] != order[1]).any() and (order[1] != order[2]).any()


def test_seeds_give_different_orders():
    orders = {
        seed: tuple(in_tf_data(lambda p, s=seed: sampling.video_at(p, 50, s), 50)) for seed in SEEDS
    }
    assert len(set(orders.values())) == len(SEEDS)


@pytest.mark.slow
def test_class_sorted_videos_are_mixed_well():
    # 10,000 videos sorted by class, 100 of each of 100 classes, in batches of 100: the classes of
    # a batch must be spread as in a draw without order. Their number of distinct classes has
    # mean 63.4 and standard deviation 3.1 (hypergeometric), so that of 100 batches 0.31.
    for seed in (0, 7):
        order = in_tf_data(lambda p, s=seed: sampling.video_at(p, 10_000, s), 10_000)
        distinct = [len(set(batch // 100)) for batch in order.reshape(100, 100)]
        expected = np.mean(
            [
                len(set(np.random.default_rng(i).permutation(10_000)[:100] // 100))
                for i in range(100)
            ]
        )
        assert abs(np.mean(distinct) - expected) < 4 * 0.44, (seed, np.mean(distinct), expected)
        # Neighbours in the order are no neighbours in the input.
        assert np.mean(np.abs(np.diff(order)) < 100) < 0.05, seed


@pytest.mark.parametrize("seed", SEEDS[:3])
def test_a_balanced_order_has_every_class_in_each_round_and_all_videos_of_each(seed):
    labels = [4, 0, 2, 2, 4, 2, 2, 2, 0]  # two, none, five, none and two videos of a class
    order = sampling.BalancedOrder(labels, seed)
    videos = in_both_modes(order.video_at, 3 * 40)
    rounds = np.take(labels, videos).reshape(40, 3)
    np.testing.assert_array_equal(np.sort(rounds, axis=1), np.tile([0, 2, 4], (40, 1)))
    assert all(set(place) == {0, 2, 4} for place in rounds.T)
    for label in (0, 2, 4):
        own = np.flatnonzero(np.equal(labels, label))
        visits = videos[rounds.ravel() == label].reshape(-1, len(own))
        np.testing.assert_array_equal(np.sort(visits, axis=1), np.tile(own, (len(visits), 1)))
        assert len({tuple(each) for each in visits}) > 1
    # Classes of one size are not drawn alike.
    places = [np.searchsorted(np.flatnonzero(np.equal(labels, k)), videos[rounds.ravel() == k])
              for k in (0, 4)]  # fmt: skip
    assert (places[0] != places[1]).any()


def test_balanced_orders_differ_by_their_seeds():
    labels = np.arange(60) % 3
    orders = {tuple(in_tf_data(sampling.BalancedOrder(labels, s).video_at, 30)) for s in SEEDS}
    assert len(orders) == len(SEEDS)


def test_every_clip_has_a_seed_of_its_own():
    seeds = {
        tuple(sampling.clip_seed(position, seed).numpy())
        for position in range(20)
        for seed in SEEDS
    }
    assert len(seeds) == 20 * len(SEEDS)


def test_a_training_start_is_uniform_over_all_places():
    length, span = 70, 64
    starts = in_both_modes(
        lambda p: sampling.training_start(sampling.clip_seed(p, 3), length, span), 2800
    )
    counts = np.bincount(starts, minlength=7)
    assert counts.size == 7
    sigma = np.sqrt(2800 * 1 / 7 * 6 / 7)
    assert np.all(np.abs(counts - 400) < 4 * sigma), counts


@pytest.mark.parametrize("length", [1, 2, 63, 64])
def test_a_short_video_starts_at_its_first_frame(length):
    for position in range(20):
        assert int(sampling.training_start(sampling.clip_seed(position, 0), length, 64)) == 0
    for num_clips in (1, 3, 10):
        starts = sampling.evaluation_starts(length, num_clips, 64).numpy()
        np.testing.assert_array_equal(starts, np.zeros(num_clips))


@pytest.mark.parametrize(
    ("length", "num_clips", "expected"),
    [
        (250, 1, [93]),
        (250, 3, [0, 93, 186]),
        (250, 10, [0, 20, 41, 62, 82, 103, 124, 144, 165, 186]),
        (65, 3, [0, 0, 1]),
        (64 + 9, 10, list(range(10))),
    ],
)
def test_evaluation_clips_reach_from_the_first_to_the_last_frame(length, num_clips, expected):
    assert sampling.evaluation_starts(length, num_clips, 64).numpy().tolist() == expected


def test_frames_lie_at_equal_intervals():
    assert sampling.frame_stride(64, 8) == 8
    assert sampling.frame_stride(64, 64) == 1
    for span, num_frames in [(64, 7), (0, 8), (8, 0), (-8, 8), (4, 8)]:
        with pytest.raises(ValueError, match=f"Received: span={span}, num_frames={num_frames}"):
            sampling.frame_stride(span, num_frames)
