"""One training at a time in a work folder."""

import pytest

from keras_rms.training.work_dir import lock as of_folder


def test_one_process_at_a_time(tmp_path):
    claim = of_folder.lock(tmp_path)
    with pytest.raises(of_folder.InUseError, match=rf"running in {tmp_path} \(process \d+ on "):
        of_folder.lock(tmp_path)
    claim.close()
    of_folder.lock(tmp_path).close()


def test_a_file_system_without_locks_is_usable(tmp_path, monkeypatch):
    def refuse(file, operation):
        raise OSError("no locks")

    monkeypatch.setattr(of_folder.fcntl, "flock", refuse)
    of_folder.lock(tmp_path).close()
