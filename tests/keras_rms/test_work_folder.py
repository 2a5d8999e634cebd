"""Whether a folder holds something of a run."""

from keras_rms.training.work_dir.work_folder import WorkFolder


def test_a_run_begins_with_its_first_checkpoint_and_ends_with_its_network(tmp_path):
    folder = WorkFolder(tmp_path / "run")
    assert str(folder) == f"{tmp_path}/run" and not (folder.begun or folder.finished)
    folder.checkpoints.mkdir(parents=True)
    folder.settings.touch()
    (folder.checkpoints / "unfinished.step_0000000001.npz").touch()
    assert not folder.begun
    (folder.checkpoints / "step_0000000001.npz").touch()
    assert folder.begun and not folder.finished
    folder.model.touch()
    assert folder.finished


def test_a_network_alone_is_a_run_too(tmp_path):
    folder = WorkFolder(tmp_path)
    folder.model.touch()
    assert folder.begun and folder.finished


def test_a_batch_is_named_after_its_step_and_worker(tmp_path):
    path = WorkFolder(tmp_path).not_finite(12, 3)
    assert path == tmp_path / "not_finite_step_12_worker_3.npz"
