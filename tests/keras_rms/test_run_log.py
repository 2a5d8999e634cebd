"""The three logs of a run tell the same, also after it was killed and continued."""

import errno

import pytest
from run_logs import check_agreement

from keras_rms.training.work_dir.run_log import COLUMNS, RunLog

STEPS_PER_EPOCH = 4


def values(epoch, step, attempt=0):
    """What the loop tells; the loss says which step of which attempt it is from."""
    loss = step + attempt / 8
    return {
        "epoch": epoch,
        "step": step,
        "learning_rate": 0.1,
        "loss": loss,
        "top1": 0.5,
        "clips_per_second": 3.14159265,
        "seconds": 1.5,
    }


def write_steps(log, first, last, attempt=0):
    """Logs the steps first..last, and each epoch that ends with one of them."""
    for step in range(first, last + 1):
        epoch = (step - 1) // STEPS_PER_EPOCH + 1
        log.on_train_batch_end(step, {**values(epoch, step, attempt), "seconds_left": 9.0})
        if step == epoch * STEPS_PER_EPOCH:
            write_epoch(log, epoch, attempt)


def write_epoch(log, epoch, attempt=0):
    logs = values(epoch, epoch * STEPS_PER_EPOCH, attempt)
    validation = {"validation_loss": 2.0, "validation_top1": 0.25, "validation_top5": 1.0}
    log.on_epoch_end(epoch - 1, {**logs, **validation})


def test_three_logs_of_one_run(tmp_path):
    log = RunLog(tmp_path)
    write_steps(log, 1, 9)
    log.on_train_end()
    check_agreement(tmp_path, [(i, float(i)) for i in range(1, 10)], [(1, 4, 4.0), (2, 8, 8.0)])
    header, first, _ = (tmp_path / "log.csv").read_text().splitlines()
    assert header == ",".join(COLUMNS)
    assert first == "1,4,0.1,4.0,0.5,2.0,0.25,1.0,3.141593,,1.5"


@pytest.mark.parametrize("torn", [False, True])
def test_a_killed_run_takes_back_what_it_does_again(tmp_path, torn):
    write_steps(RunLog(tmp_path), 1, 7)  # never closed: killed
    if torn:
        with open(tmp_path / "log.jsonl", "a") as file:
            file.write('{"kind": "train", "st')
        with open(tmp_path / "log.csv", "a") as file:
            file.write("2,8,0.")
        with open(next((tmp_path / "tensorboard").iterdir()), "ab") as file:
            file.write(b"\x18\0\0\0\0\0\0\0half")
    log = RunLog(tmp_path, step=5, epochs=1)
    write_steps(log, 6, 8, attempt=1)
    log.on_train_end()
    steps = [(i, i + (0.125 if i > 5 else 0)) for i in range(1, 9)]
    check_agreement(tmp_path, steps, [(1, 4, 4.0), (2, 8, 8.125)])


def test_an_epoch_logged_but_not_saved_is_logged_once(tmp_path):
    """Killed after the validation, before the checkpoint that knows of it."""
    write_steps(RunLog(tmp_path), 1, 8)
    log = RunLog(tmp_path, step=8, epochs=1)
    write_epoch(log, 2, attempt=1)
    log.on_train_end()
    steps = [(i, float(i)) for i in range(1, 9)]
    check_agreement(tmp_path, steps, [(1, 4, 4.0), (2, 8, 8.125)])


def test_what_a_kill_left_of_a_rewrite_is_not_read(tmp_path):
    write_steps(RunLog(tmp_path), 1, 3)
    events = next((tmp_path / "tensorboard").iterdir())
    events.with_name("unfinished." + events.name).write_bytes(events.read_bytes())
    RunLog(tmp_path, step=3).on_train_end()
    check_agreement(tmp_path, [(1, 1.0), (2, 2.0), (3, 3.0)], [])


def test_a_full_disk_names_the_log(tmp_path, monkeypatch):
    log = RunLog(tmp_path)

    def full(path, *args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("builtins.open", full)
    with pytest.raises(OSError, match=r"log\.jsonl could not be written \(No space left"):
        log.on_train_batch_end(1, values(1, 1))
    with pytest.raises(OSError, match=r"log\.csv could not be written \(No space left"):
        log.on_epoch_end(0, values(1, 4))
    with pytest.raises(OSError, match=r"The log in .* could not be written \(No space left"):
        RunLog(tmp_path / "other")
