"""Checkpoints: whole or absent, found by name, checked when read."""

import errno
import logging

import keras
import numpy as np
import pytest
from small_training import small_model

from keras_rms.training.work_dir import checkpoints
from keras_rms.training.work_dir.checkpoints import Checkpoints, model_state
from keras_rms.training.work_dir.whole_files import save_model, write_whole


def variables(value=0.0):
    return {
        "weight/a": keras.Variable(np.full((2, 3), value, "float32"), name="a"),
        "weight/b": keras.Variable(np.full((4,), value, "float32"), name="b"),
    }


def values(state):
    return {name: float(np.unique(variable.numpy())[0]) for name, variable in state.items()}


def test_the_newest_is_restored_with_what_the_loop_remembers(tmp_path):
    for step in (3, 12):
        Checkpoints(tmp_path, variables(step)).save(step, {"sums": [0.1, 2.0]})
    state = variables()
    assert Checkpoints(tmp_path, state).restore_newest() == {"sums": [0.1, 2.0], "step": 12}
    assert values(state) == {"weight/a": 12, "weight/b": 12}


def test_averages_of_statistics_begin_where_an_older_version_kept_none(tmp_path, caplog):
    def state(value):
        names = ("weight/bn/gamma", "weight/bn/moving_mean", "average/bn/gamma")
        return {name: keras.Variable([value + i]) for i, name in enumerate(names)}

    Checkpoints(tmp_path, state(1.0)).save(3, {})
    now = state(5.0) | {"average/bn/moving_mean": keras.Variable([9.0])}
    with caplog.at_level(logging.WARNING):
        Checkpoints(tmp_path, now).restore_newest()
    assert values(now) == {
        "weight/bn/gamma": 1,
        "weight/bn/moving_mean": 2,
        "average/bn/gamma": 3,
        "average/bn/moving_mean": 2,
    }
    assert "step_0000000003.npz was written by a version that averaged the weights" in caplog.text
    # Nothing else is made up.
    with pytest.raises(ValueError, match="lacks average/bn/beta"):
        Checkpoints(tmp_path, now | {"average/bn/beta": keras.Variable([0.0])}).restore_newest()


def test_an_empty_folder_restores_nothing(tmp_path):
    assert Checkpoints(tmp_path / "none", variables()).restore_newest() is None


def test_the_last_few_and_the_best_are_kept(tmp_path):
    for step in range(1, 8):
        Checkpoints(tmp_path, variables(step), keep=2).save(step, {}, best=step == 3)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["best.npz", "step_0000000006.npz", "step_0000000007.npz"]
    assert checkpoints.read(tmp_path / "best.npz")["weight/b"][0] == 3


@pytest.mark.parametrize("name", [checkpoints.BEST, "step_0000000002.npz"])
def test_what_the_newest_calls_the_best_is_there(tmp_path, monkeypatch, name):
    """Whichever of the two files could not be written."""
    Checkpoints(tmp_path, variables(1)).save(1, {"best": 1}, best=True)

    def write_whole(path, write, really=checkpoints.write_whole):
        if path.name == name:
            raise OSError(errno.ENOSPC, "No space left on device")
        really(path, write)

    monkeypatch.setattr(checkpoints, "write_whole", write_whole)
    with pytest.raises(OSError, match="No space left"):
        Checkpoints(tmp_path, variables(2)).save(2, {"best": 2}, best=True)
    assert Checkpoints(tmp_path, variables()).restore_newest() == {"best": 1, "step": 1}
    assert checkpoints.read(tmp_path / "best.npz")["weight/b"][0] in (1, 2)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other"])
def test_a_damaged_file_is_passed_over_with_a_warning(tmp_path, caplog, damage):
    for step in (1, 2):
        Checkpoints(tmp_path, variables(step)).save(step, {})
    newest = tmp_path / "step_0000000002.npz"
    content = bytearray(newest.read_bytes())
    position = content.index(np.float32(2).tobytes() * 4)
    content[position] ^= 0xFF
    damaged = {"cut": content[:-30], "flipped": content, "empty": b"", "other": b"not a zip file"}
    newest.write_bytes(damaged[damage])
    state = variables()
    with caplog.at_level(logging.WARNING):
        assert Checkpoints(tmp_path, state).restore_newest() == {"step": 1}
    assert f"{newest} is damaged" in caplog.text
    assert values(state) == {"weight/a": 1, "weight/b": 1}


def test_it_says_so_when_all_are_damaged(tmp_path):
    Checkpoints(tmp_path, variables()).save(5, {})
    (tmp_path / "step_0000000005.npz").write_bytes(b"")
    with pytest.raises(ValueError, match=r"All 1 checkpoints in .* are damaged"):
        Checkpoints(tmp_path, variables()).restore_newest()


def test_another_model_is_named_by_its_differences(tmp_path):
    Checkpoints(tmp_path, variables()).save(1, {})
    other = variables()
    other["weight/c"] = other.pop("weight/b")
    other["weight/a"] = keras.Variable(np.zeros((2, 4), "float32"))
    with pytest.raises(ValueError, match="belongs to another model") as error:
        Checkpoints(tmp_path, other).restore_newest()
    for part in ("weight/a has shape (2, 3) and not (2, 4)", "lacks weight/c", "holds weight/b"):
        assert part in str(error.value)


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    Checkpoints(tmp_path, variables(1)).save(1, {})

    def full(file, **arrays):
        file.write(b"a part")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match=r"step 2 in .* could not be written \(No space left"):
        Checkpoints(tmp_path, variables(2)).save(2, {})
    assert [path.name for path in tmp_path.iterdir()] == ["step_0000000001.npz"]
    assert Checkpoints(tmp_path, variables()).restore_newest() == {"step": 1}


def test_an_unfinished_file_is_never_taken_for_a_checkpoint(tmp_path):
    (tmp_path / "unfinished.step_0000000009.npz").write_bytes(b"half")
    assert Checkpoints(tmp_path, variables()).restore_newest() is None


def test_write_whole_replaces_at_once(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def write(file):
        file.write(b"new")
        assert path.read_text() == "old"

    write_whole(path, write)
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_keep_must_be_positive(tmp_path):
    with pytest.raises(ValueError, match="keep=0"):
        Checkpoints(tmp_path, {}, keep=0)


def test_the_state_of_a_model_holds_weights_statistics_and_random_states():
    model = small_model()
    state = model_state(model)
    assert sorted(state) == sorted(
        ["weight/conv/kernel", "weight/conv/bias", "weight/logits/kernel", "weight/logits/bias"]
        + [f"weight/bn/{name}" for name in ("gamma", "beta", "moving_mean", "moving_variance")]
        + ["random/rms/0", "random/dropout/0"]
    )
    before = state["random/rms/0"].numpy().tolist()
    model(np.zeros((2, 4, 5, 6, 3), "uint8"), training=True)
    assert state["random/rms/0"].numpy().tolist() != before


def test_names_do_not_depend_on_what_was_built_before():
    names = list(model_state(small_model()))
    small_model()
    assert list(model_state(small_model())) == names


def test_two_weights_of_one_name_are_refused():
    class Twice(keras.layers.Layer):
        def build(self, shape):
            for _ in range(2):
                self.add_weight(shape=(1,), name="same")

        def call(self, x):
            return x

    layer = Twice(name="twice")
    inputs = keras.Input((2,))
    with pytest.raises(ValueError, match="both named weight/twice/same"):
        model_state(keras.Model(inputs, layer(inputs)))


def test_a_saved_model_is_there_as_a_whole_or_not(tmp_path, monkeypatch):
    model, path = small_model(), tmp_path / "model.keras"
    save_model(model, path)
    assert [p.name for p in tmp_path.iterdir()] == ["model.keras"]
    clips = np.random.default_rng(0).integers(0, 255, (2, 4, 5, 6, 3), np.uint8)
    np.testing.assert_array_equal(keras.saving.load_model(path)(clips), model(clips))
    before = path.read_bytes()

    def full(self, path):
        path.write_bytes(b"a part")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(keras.Model, "save", full)
    with pytest.raises(OSError, match="No space left"):
        save_model(model, path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["model.keras"]
