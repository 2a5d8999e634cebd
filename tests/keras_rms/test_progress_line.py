"""The line on the screen: loss, top-1, clips/s, waiting for data, time left."""

import io

import pytest

from keras_rms.training.loop.position import Position, Speed
from keras_rms.training.work_dir.progress_line import ProgressLine, duration

LOGS = {
    "epoch": 2,
    "step": 13,
    "loss": 1.23456,
    "top1": 0.375,
    "clips_per_second": 12.34,
    "data_wait": 0.031,
    "seconds_left": 3725.0,
    "seconds": 61.25,
}


class Screen(io.StringIO):
    def isatty(self):
        return True


def test_a_line_says_all_that_one_wants_to_know():
    file = io.StringIO()
    ProgressLine(3, 10, file=file).on_train_batch_end(13, LOGS)
    assert file.getvalue() == (
        "epoch 2/3  step 3/10  loss 1.2346  top-1 37.5%  12.3 clips/s  data wait 3%  1:02:05 left\n"
    )


def test_on_a_terminal_the_line_is_rewritten_until_the_epoch_ends():
    screen = Screen()
    line = ProgressLine(3, 10, file=screen)
    line.on_train_batch_end(13, LOGS)
    assert screen.getvalue().startswith("\r\x1b[Kepoch 2/3") and "\n" not in screen.getvalue()
    validation = {"validation_loss": 2.5, "validation_top1": 0.25, "validation_top5": 1.0}
    line.on_epoch_end(1, {**LOGS, **validation})
    assert screen.getvalue().endswith(
        "epoch 2/3 done: loss 1.2346, top-1 37.5%; "
        "validation loss 2.5000, top-1 25.0%, top-5 100.0%; 61.2 s\n"
    )


def test_elsewhere_lines_come_at_an_interval():
    file = io.StringIO()
    line = ProgressLine(3, 10, interval=3600.0, file=file)
    for _ in range(5):
        line.on_train_batch_end(13, LOGS)
    assert file.getvalue().count("\n") == 1


def test_the_wait_for_the_first_step_is_explained_once():
    file = io.StringIO()
    line = ProgressLine(3, 10, file=file)
    for step in (10, 11):
        line.on_train_batch_begin(step)
    assert file.getvalue() == "The first step compiles the network and takes longer.\n"


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "0:00"), (59.6, "1:00"), (3600, "1:00:00")])
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_the_speed_forgets_the_call_that_compiles():
    speed = Speed()
    speed.update(clips=8, seconds=80.0, wait=1.0)
    assert speed.clips_per_second == pytest.approx(0.1)
    speed.update(clips=8, seconds=2.0, wait=0.5)
    assert (speed.clips_per_second, speed.data_wait) == (4.0, 0.25)
    for _ in range(200):
        speed.update(clips=8, seconds=1.0, wait=0.1)
    assert speed.clips_per_second == pytest.approx(8, rel=0.01)
    assert speed.data_wait == pytest.approx(0.1, rel=0.02)


def test_a_position_adds_up_an_epoch():
    position = Position()
    position.advance(2, [3.0, 1.0, 16.0], 0.5, 2.0)
    position.advance(1, [1.0, 2.0, 8.0], 0.25, 1.0)
    assert position == Position(3, 0, [4.0, 3.0, 24.0], 0.75, 3.0)
    position.finish_epoch()
    assert position == Position(3, 1)
