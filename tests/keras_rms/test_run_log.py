"""The three logs of a run tell the same, also after it was killed and continued."""

import errno

import pytest
from run_logs import board, check_agreement, table

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


DAMAGED_LINES = b"""\xff\xfe no text
[1]
"kind"
{"kind": "epoch"}
{"kind": 1, "epoch": "2"}
"""
DAMAGED_ROWS = b"""\xff\xfe,no,text
2,\0,,,,,,,,,1.5
\xb2,8,,,,,,,,,1.5
no number,1,1,1,1,1,1,1,1,1,1
"""


def test_damaged_logs_lose_what_is_damaged_and_go_on(tmp_path):
    write_steps(RunLog(tmp_path), 1, 5)
    for name, damaged in (("log.jsonl", DAMAGED_LINES), ("log.csv", DAMAGED_ROWS)):
        content = (tmp_path / name).read_bytes().splitlines(keepends=True)
        (tmp_path / name).write_bytes(b"".join([*content[:2], damaged, *content[2:]]))
    [events] = (tmp_path / "tensorboard").iterdir()
    content = events.read_bytes()
    lost = content.index(b"train/top1")
    events.write_bytes(content[: lost - 2] + b"\xff" * 12 + content[lost + 10 :])
    log = RunLog(tmp_path, step=5, epochs=1)
    write_steps(log, 6, 8)
    log.on_train_end()
    check_agreement(tmp_path, [(i, float(i)) for i in range(1, 9)], [(1, 4, 4.0), (2, 8, 8.0)])
    assert [step for step, _ in board(tmp_path, "train/top1")] == list(range(2, 9))


def test_a_damaged_header_of_the_table_loses_no_row(tmp_path):
    write_steps(RunLog(tmp_path), 1, 5)
    path = tmp_path / "log.csv"
    path.write_bytes(b"\xff" + path.read_bytes()[1:])
    RunLog(tmp_path, step=5, epochs=1).on_train_end()
    assert table(tmp_path) == [(1, 4, 4.0)]


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
