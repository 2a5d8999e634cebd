"""Scores as evaluations leave them: the file, the order, the ensemble."""

import numpy as np
import pytest

from keras_rms.inference.saved_scores import SavedScores, mean_of, read_scores


def saved(keys="bca", labels=(1, 0, 2), names=("x", "y", "z")):
    scores = np.arange(9, dtype=np.float32).reshape(3, 3) + 1
    return SavedScores(list(keys), np.array(labels), scores / scores.sum(1)[:, None], list(names))


def test_a_file_has_all_and_names_of_any_letters(tmp_path):
    before = saved(keys=["über/ä b.mp4", "c", "d"])
    (tmp_path / "scores.npz").write_bytes(before.packed())
    after = read_scores(tmp_path / "scores.npz")
    assert after.keys == before.keys and after.class_names == before.class_names
    np.testing.assert_array_equal(after.labels, before.labels)
    np.testing.assert_array_equal(after.scores, before.scores)


def test_another_order_of_videos_and_classes():
    first = saved()
    # The same labels by name: a is z, b is y, c is x.
    other = saved(keys="abc", labels=(0, 2, 1), names=("z", "x", "y"))
    ordered = other.ordered_as(first)
    assert ordered.keys == first.keys and ordered.class_names == first.class_names
    np.testing.assert_array_equal(ordered.labels, first.labels)
    rows, columns = [1, 2, 0], [1, 2, 0]
    np.testing.assert_array_equal(ordered.scores, other.scores[rows][:, columns])


def test_the_ensemble_is_the_mean():
    first, second = saved(), saved(keys="abc", labels=(2, 1, 0))
    expected = (first.scores + second.scores[[1, 2, 0]]) / 2
    np.testing.assert_allclose(mean_of([first, second]).scores, expected, rtol=1e-6)
    with pytest.raises(ValueError, match="at least one"):
        mean_of([])


@pytest.mark.parametrize(
    "other, words",
    [
        (saved(keys="bcd"), "not of the same videos: 3 and 3, 2 of them in one only"),
        (saved(names=("x", "y", "w")), "not of the same classes"),
        (saved(labels=(1, 0, 0)), "1 videos have another label.*'a'"),
    ],
)
def test_what_does_not_belong_together_is_refused(other, words):
    with pytest.raises(ValueError, match=words):
        other.ordered_as(saved())


def test_what_is_no_evaluation_is_refused(tmp_path):
    path = tmp_path / "scores.npz"
    path.write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"scores\.npz must be the \.npz file"):
        read_scores(path)
    np.savez(path, keys=["a"])
    with pytest.raises(ValueError, match=r"must be the \.npz file"):
        read_scores(path)
    np.savez(path, keys=["a"], labels=[0], scores=np.ones((2, 1)), class_names=["x"])
    with pytest.raises(ValueError, match=r"scores\.npz: The arrays do not belong together"):
        read_scores(path)
    np.save(tmp_path / "scores.npy", np.ones(3))
    with pytest.raises(ValueError, match=r"scores\.npy must be the \.npz file"):
        read_scores(tmp_path / "scores.npy")


def test_scores_that_would_pass_for_the_first_class_are_refused():
    scores = np.full((3, 2), 0.5, np.float32)
    scores[1] = np.nan
    with pytest.raises(ValueError, match="1 of 3 videos are not finite numbers, those of 'b'"):
        SavedScores(list("abc"), np.zeros(3, int), scores, ["x", "y"])
    with pytest.raises(ValueError, match="once"):
        saved(keys="aba")
    with pytest.raises(ValueError, match=r"do not belong together.*labels \[0 1 3\]"):
        saved(labels=(1, 0, 3))


def test_classes_of_one_name_keep_their_places():
    first, second = saved(names=("crane", "x", "crane")), saved(names=("crane", "x", "crane"))
    np.testing.assert_array_equal(second.ordered_as(first).scores, second.scores)
    with pytest.raises(ValueError, match="classes of one name"):
        second.ordered_as(saved(labels=(0, 1, 1), names=("x", "crane", "crane")))
