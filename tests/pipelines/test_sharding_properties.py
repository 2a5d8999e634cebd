"""Every video once an epoch: for any number of videos, batch, workers, epoch and start."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from properties import tried

from pipelines.input import evaluation, sampling, training
from pipelines.input.evaluation import evaluation_dataset
from pipelines.input.training import training_dataset, training_stream

SEEDS = st.integers(-(2**63), 2**63 - 1)


class Videos(list):
    """What an index is to the code that shares out videos."""

    class_names = ("a",)
    keys = property(lambda self: [str(number) for number in self])


@pytest.fixture(scope="module", autouse=True)
def no_files():
    """In the place of a clip there is its position in the order, and of its label the video."""

    def open_split(data_dir, split, format):
        return Videos(range(int(data_dir)))

    def clip_maker(index, *, seed, **options):
        return lambda position: (position, sampling.video_at(position, len(index), seed))

    stored = SimpleNamespace(label=tf.constant(0))
    views = tf.zeros((1, 1, 1, 1, 3), tf.uint8)
    with pytest.MonkeyPatch.context() as patch:
        for module in (training, evaluation):
            patch.setattr(module, "open_split", open_split)
        patch.setattr(training, "clip_maker", clip_maker)
        patch.setattr(evaluation, "largest_ratio", lambda index, side: 1)
        patch.setattr(evaluation, "reader_of", lambda index: SimpleNamespace(open=lambda n: stored))
        patch.setattr(evaluation, "video_views", lambda video, **_: views)
        yield


def batches(dataset, count):
    """The positions and videos of some batches, as arrays (count, batch)."""
    rows = list(dataset.take(count).as_numpy_iterator())
    return tuple(np.stack([row[n] for row in rows]).astype(np.int64) for n in (0, 1))


@pytest.mark.slow
@tried(12)
@given(
    videos=st.integers(1, 60),
    share=st.integers(1, 7),
    workers=st.integers(1, 4),
    start=st.integers(0, 50) | st.integers(0, 2**40),
    seed=SEEDS,
)
def test_workers_share_epochs_of_which_each_has_every_video_once(
    videos, share, workers, start, seed
):
    batch = share * workers
    count = -(-2 * videos // batch) + 1  # so that one epoch is whole, wherever it begins
    parts = [
        training_stream(
            str(videos),
            batch_size=batch,
            seed=seed,
            start_step=start,
            num_workers=workers,
            worker_index=worker,
            data_workers=1,
        )
        for worker in range(workers)
    ]
    taken = [batches(part, count) for part in parts]
    positions, numbers = (np.concatenate(of_all, axis=1) for of_all in zip(*taken))
    # The steps from here on, nothing twice and nothing left out; so it was before, and will be.
    steps = np.arange(start * batch, (start + count) * batch).reshape(count, batch)
    np.testing.assert_array_equal(np.sort(positions), steps)
    order = dict(zip(positions.ravel().tolist(), numbers.ravel().tolist()))
    first = -(-start * batch // videos) * videos
    epoch = [order[position] for position in range(first, first + videos)]
    assert sorted(epoch) == list(range(videos))


@tried(10)
@given(videos=st.integers(1, 40), batch=st.integers(1, 9), step=st.integers(0, 20), seed=SEEDS)
def test_a_stream_from_a_step_is_that_from_the_first_gone_on(videos, batch, step, seed):
    stream = training_stream(str(videos), batch_size=batch, seed=seed, data_workers=1)
    later = training_stream(
        str(videos), batch_size=batch, seed=seed, start_step=step, data_workers=1
    )
    for whole, part in zip(batches(stream, step + 5), batches(later, 5), strict=True):
        np.testing.assert_array_equal(whole[step:], part)


@tried(5)
@given(videos=st.integers(1, 40), batch=st.integers(1, 9), epoch=st.integers(0, 3), seed=SEEDS)
def test_epochs_for_fit_show_all_equally_often_and_go_on(videos, batch, epoch, seed):
    options = {"batch_size": batch, "seed": seed, "data_workers": 1}
    dataset = training_dataset(str(videos), **options)
    steps = int(dataset.cardinality())
    assert steps == -(-videos // batch)
    epochs = [batches(dataset, steps) for _ in range(epoch + 2)]
    shown = np.concatenate([numbers.ravel() for _, numbers in epochs])
    times = np.bincount(shown, minlength=videos)
    assert len(times) == videos and np.ptp(times) <= 1 and times.min() > 0
    later = training_dataset(str(videos), first_epoch=epoch, **options)
    for positions, numbers in epochs[epoch:]:
        again = batches(later, steps)
        np.testing.assert_array_equal(positions, again[0])
        np.testing.assert_array_equal(numbers, again[1])


@tried(200)
@given(videos=st.integers(1, 500), share=st.integers(1, 40), workers=st.integers(1, 8))
def test_workers_evaluate_every_video_once_in_batches_of_equal_number(videos, share, workers):
    shares = [evaluation._padded_share(videos, share, workers, worker) for worker in range(workers)]
    assert len({len(numbers) for numbers in shares}) == 1 and len(shares[0]) % share == 0
    numbers = np.concatenate(shares)
    assert sorted(numbers[numbers >= 0]) == list(range(videos))
    # No batch more than is needed, of all workers together.
    assert (len(shares[0]) // share - 1) * share * workers < videos


@tried(6)
@given(videos=st.integers(1, 30), share=st.integers(1, 5), workers=st.integers(1, 3))
def test_rows_of_evaluation_are_the_shares(videos, share, workers):
    seen = []
    for worker in range(workers):
        rows = evaluation_dataset(
            str(videos),
            "test",
            batch_size=share * workers,
            num_clips=1,
            num_frames=1,
            span=1,
            crop_size=1,
            num_workers=workers,
            worker_index=worker,
            data_workers=1,
        )
        for row in rows.as_numpy_iterator():
            assert row["mask"].shape == (share,)
            seen += row["index"][row["mask"]].tolist()
    assert sorted(seen) == list(range(videos))


@tried(10)
@given(
    videos=st.integers(1, 2**40),
    epoch=st.integers(0, 2**20),
    place=st.integers(0, 2**40),
    seed=SEEDS,
)
def test_no_video_comes_twice_however_many_there_are(videos, epoch, place, seed):
    count = min(videos, 1000)
    first = epoch * videos + place % (videos - count + 1)
    positions = tf.data.Dataset.range(first, first + count)
    numbers = positions.map(lambda position: sampling.video_at(position, videos, seed))
    found = np.fromiter(numbers.as_numpy_iterator(), np.int64)
    assert len(set(found.tolist())) == count
    assert found.min() >= 0 and found.max() < videos


@tried(10)
@given(videos=st.integers(1, 50), position=st.integers(0, 2**40), seed=SEEDS)
def test_what_replaces_a_damaged_video_is_one_of_them(videos, position, seed):
    for attempt in range(8):
        number = sampling.replacement_at(
            tf.constant(position, tf.int64), tf.constant(attempt, tf.int64), videos, seed
        )
        assert 0 <= int(number) < videos


@tried(100)
@given(length=st.integers(1, 400), clips=st.integers(1, 12), span=st.integers(1, 100))
def test_clips_of_an_evaluation_lie_inside_and_reach_both_ends(length, clips, span):
    starts = sampling.evaluation_starts(tf.constant(length), clips, span).numpy().tolist()
    last = max(0, length - span)
    assert len(starts) == clips and starts == sorted(starts)
    assert all(0 <= start <= last for start in starts)
    if clips > 1:
        assert (starts[0], starts[-1]) == (0, last)
        assert np.ptp(np.diff(starts)) <= 1  # equally far apart
