"""CutMix and MixUp against NumPy, on clips whose pixels say whose they are and where."""

import numpy as np
import pytest
import tensorflow as tf

from keras_rms.training.optimization.mixing import CutMix, Mixing, MixUp, stateless_beta

CLASSES = 7


def coded_clips(batch=5, frames=3, height=11, width=8):
    """Every value says its clip, and its place in the frame."""
    place = np.arange(height * width).reshape(height, width)
    clips = np.arange(batch)[:, None, None] * height * width + place
    return np.broadcast_to(clips[:, None, :, :, None], (batch, frames, height, width, 3))


def targets_of(batch=5):
    return np.eye(CLASSES, dtype="float32")[np.arange(batch)]


@pytest.mark.parametrize("seed", range(6))
def test_cutmix_puts_one_box_of_another_clip_into_all_frames(seed):
    clips = coded_clips().astype("float32")
    mixed, targets = CutMix()(tf.constant(clips), targets_of(), tf.constant([seed, 3]))
    mixed, targets = mixed.numpy(), targets.numpy()
    foreign = mixed != clips
    # A clip may be its own partner; the others show the box.
    boxes = [mask for mask in foreign if mask.any()]
    for mask in boxes:
        np.testing.assert_array_equal(mask, np.broadcast_to(mask[:1, :, :, :1], mask.shape))
        np.testing.assert_array_equal(mask, boxes[0])
        rows, columns = np.nonzero(mask[0, :, :, 0])
        box = mask[0, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1, 0]
        assert box.all(), f"seed {seed}: not a rectangle"
    share = 1 - boxes[0][0, :, :, 0].mean() if boxes else 1.0
    for i, (clip, target) in enumerate(zip(mixed, targets)):
        owners = np.unique(clip // (11 * 8)).astype(int)
        np.testing.assert_array_equal(clip % (11 * 8), clips[i] % (11 * 8))
        partner = next((owner for owner in owners if owner != i), i)
        expected = share * np.eye(CLASSES)[i] + (1 - share) * np.eye(CLASSES)[partner]
        if foreign[i].any():
            np.testing.assert_allclose(target, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("share", "place"), [(0.75, (0.0, 0.99)), (0.36, (0.5, 0.5)), (1, (0.0, 0.0))]
)
def test_the_box_is_the_one_of_the_reference_algorithm(monkeypatch, share, place):
    monkeypatch.setattr(tf.random, "stateless_uniform", lambda shape, seed: tf.constant(place))
    height, width = 11, 8
    zeros, ones = tf.zeros((1, 2, height, width, 1)), tf.ones((1, 2, height, width, 1))
    mixed, own = CutMix().mix(zeros, ones, tf.constant(share, tf.float32), None)
    box_height, box_width = (int(size * np.sqrt(1 - share)) for size in (height, width))
    top = int(height * place[0]) - box_height // 2
    left = int(width * place[1]) - box_width // 2
    expected = np.zeros((height, width))
    expected[max(top, 0) : max(top + box_height, 0), max(left, 0) : max(left + box_width, 0)] = 1
    np.testing.assert_array_equal(mixed[0, 0, :, :, 0], expected)
    np.testing.assert_array_equal(mixed[0, 1, :, :, 0], expected)
    assert float(own) == pytest.approx(1 - expected.mean())


@pytest.mark.parametrize("seed", range(4))
def test_mixup_averages_clips_and_labels_with_one_share(seed):
    random = np.random.default_rng(seed)
    clips = random.normal(size=(5, 2, 3, 4, 3)).astype("float32")
    mixed, targets = MixUp()(tf.constant(clips), targets_of(), tf.constant([seed, 0]))
    # The labels tell partner and share; the clips must agree with them.
    weights = targets.numpy()[:, :5]
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(mixed, np.einsum("ij,jthwc->ithwc", weights, clips), atol=1e-5)
    shares = {round(float(w[i]), 5) for i, w in enumerate(weights) if w[i] < 1}
    assert len(shares) <= 1, f"seed {seed}"


def test_mixup_rounds_uint8():
    clips = np.stack([np.full((1, 2, 2, 1), 10, np.uint8), np.full((1, 2, 2, 1), 21, np.uint8)])
    mixed, own = MixUp().mix(tf.constant(clips), tf.constant(clips[::-1]), tf.constant(0.3), None)
    assert mixed.dtype == tf.uint8
    assert np.unique(mixed.numpy()[0]) == round(0.3 * 10 + 0.7 * 21)
    assert float(own) == pytest.approx(0.3)


@pytest.mark.parametrize("mixing", [CutMix(), MixUp(0.4)])
@pytest.mark.parametrize("seed", range(4))
def test_images_are_mixed_like_clips_of_one_frame(mixing, seed):
    clips = coded_clips(frames=1).astype("float32")
    mixed, targets = mixing(tf.constant(clips), targets_of(), tf.constant([seed, 2]))
    images, image_targets = mixing(tf.constant(clips[:, 0]), targets_of(), tf.constant([seed, 2]))
    np.testing.assert_array_equal(images, mixed[:, 0])
    np.testing.assert_array_equal(image_targets, targets)


@pytest.mark.parametrize("mixing", [CutMix(), MixUp(0.4)])
def test_it_is_a_function_of_the_seed(mixing):
    clips = tf.constant(coded_clips().astype("float32"))

    def mix(seed):
        return [part.numpy() for part in mixing(clips, targets_of(), tf.constant(seed))]

    for first, again in zip(mix([1, 2]), mix([1, 2])):
        np.testing.assert_array_equal(first, again)
    assert any((a != b).any() for a, b in zip(mix([1, 2]), mix([1, 3])))


def test_probability_says_how_many_batches_are_mixed():
    clips, mixing = tf.constant(coded_clips().astype("float32")), MixUp(1.0, probability=0.3)
    call = tf.function(mixing)
    mixed = [
        bool((call(clips, targets_of(), tf.constant([seed, 5]))[1].numpy() != targets_of()).any())
        for seed in range(300)
    ]
    # One pairing in 120 is the identity.
    expected = 0.3 * (1 - 1 / 120)
    sigma = np.sqrt(expected * (1 - expected) / 300)
    assert abs(np.mean(mixed) - expected) < 4 * sigma


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_the_share_has_the_moments_of_beta(alpha):
    draw = tf.function(lambda seed: stateless_beta(alpha, tf.stack([seed, 11])))
    values = np.array([float(draw(tf.constant(seed))) for seed in range(2000)])
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(values.mean() - 0.5) < 4 * np.sqrt(variance / 2000)
    assert values.var() == pytest.approx(variance, rel=0.15)
    assert values.min() >= 0 and values.max() <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [({"alpha": 0.0}, "alpha=0.0"), ({"probability": 1.5}, "probability=1.5")],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        CutMix(**options)


def test_the_base_class_does_not_mix():
    with pytest.raises(NotImplementedError):
        Mixing()(tf.zeros((2, 1, 2, 2, 1)), tf.zeros((2, 3)), tf.constant([0, 1]))
