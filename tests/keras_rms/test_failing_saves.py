"""Whatever write, flush or renaming of a checkpoint fails: it is told, and nothing half counts."""

import os
import shutil

import failing_disk
import keras
import numpy as np
import pytest

from keras_rms.training.work_dir.checkpoints import BEST, Checkpoints, read
from keras_rms.training.work_dir.whole_files import save_model

NEVER = 2**62


def save(folder, step):
    """Three arrays that hold the step."""
    state = {name: keras.Variable(np.full(5, step, "float32"), name=name) for name in "ab"}
    Checkpoints(folder, state, keep=2).save(step, {"best": step}, best=True)


def restored(folder):
    """The step that a restart would go on from; checks that all of it is of that step."""
    state = {name: keras.Variable(np.zeros(5, "float32"), name=name) for name in "ab"}
    host = Checkpoints(folder, state).restore_newest()
    for variable in state.values():
        np.testing.assert_array_equal(variable, np.full(5, host["step"]))
    assert host["best"] == host["step"]
    return host["step"]


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_write_of_a_checkpoint_may_fail(tmp_path):
    for step in (1, 2):
        save(tmp_path / "before", step)
    shutil.copytree(tmp_path / "before", tmp_path / "after")
    with failing_disk.failing(NEVER) as disk:
        save(tmp_path / "after", 3)
    before, after = files(tmp_path / "before"), files(tmp_path / "after")
    # Two files of three arrays; each is flushed, renamed and flushed.
    assert disk.calls > 2 * (3 * 2 + 3) and len(after) == 3
    for at in range(disk.calls):
        for number, lasts in failing_disk.faults_at(at):
            folder, where = tmp_path / "folder", (at, os.strerror(number))
            shutil.copytree(tmp_path / "before", folder)
            message = rf"checkpoint of step 3 in {folder} could not .*{os.strerror(number)}.*"
            with failing_disk.failing(at, number, lasts):
                with pytest.raises(OSError, match=f"{message} run the same command again"):
                    save(folder, 3)
            for name, content in files(folder).items():
                assert content in (before.get(name), after.get(name)), (where, name)
            assert restored(folder) in (2, 3)
            assert read(folder / BEST)["a"][0] in (2, 3), where
            save(folder, 3)
            assert files(folder) == after and restored(folder) == 3, where
            shutil.rmtree(folder)


@pytest.mark.parametrize("call", [0, 1, 2], ids=["flush", "renaming", "flush of the folder"])
def test_a_network_that_cannot_be_saved_leaves_the_old_one(tmp_path, call):
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    path = tmp_path / "model.keras"
    path.write_bytes(b"the old one")
    with failing_disk.failing(call), pytest.raises(OSError, match=f"{path} could not be written"):
        save_model(model, path)
    assert [each.name for each in tmp_path.iterdir()] == ["model.keras"]
    if call < 2:
        assert path.read_bytes() == b"the old one"
    else:
        assert keras.saving.load_model(path).count_params() == 3
