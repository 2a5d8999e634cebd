"""What long work shows: a bar on a terminal, plain lines now and then elsewhere."""

import io
import re

import pytest

from pipelines.system import progress
from pipelines.system.progress import Progress


class Screen(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when a test says so."""

    class Clock:
        seconds = 0.0

        def monotonic(self):
            return self.seconds

    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_a_log_gets_a_line_an_interval_and_one_at_the_end(clock):
    log = io.StringIO()
    with Progress(100, "video", "train", done=20, interval=10, file=log) as shown:
        for _ in range(60):
            clock.seconds += 0.5
            shown.update()
    assert (shown.count, shown.total) == (80, 100)
    assert log.getvalue().splitlines() == [
        "train:  40% 40/100 [00:10<00:30,  2.00video/s]",
        "train:  60% 60/100 [00:20<00:20,  2.00video/s]",
        "train:  80% 80/100 [00:30<00:10,  2.00video/s]",
    ]


def test_short_work_is_one_line_without_carriage_returns(clock):
    log = io.StringIO()
    with Progress(160, "video", file=log) as shown:
        for _ in range(160):
            clock.seconds += 0.01
            shown.update(1)
    assert log.getvalue() == "100% 160/160 [00:01<00:00, 100.00video/s]\n"


def test_a_total_that_is_not_known(clock):
    log = io.StringIO()
    with Progress(None, "window", "film", file=log) as shown:
        clock.seconds += 2
        shown.update(3)
    assert log.getvalue() == "film: 3 window [00:02,  1.50window/s]\n"


def test_where_it_stopped_is_shown_after_an_error_too(clock):
    log = io.StringIO()
    with pytest.raises(KeyError), Progress(7, "shard", file=log) as shown:
        shown.update(3)
        raise KeyError
    assert "43% 3/7" in log.getvalue()


def test_a_terminal_gets_a_bar_in_place():
    screen = Screen()
    with Progress(5, "video", "train", done=1, file=screen) as shown:
        shown.update(4)
    assert shown.count == 5
    assert re.fullmatch(r"(\r +)?\rtrain: .*\rtrain: 100%\|.*\| 5/5 .*\n", screen.getvalue())


def test_items_are_counted_when_they_are_done(capsys):
    assert list(progress.over("abc", "row", "table")) == ["a", "b", "c"]
    assert capsys.readouterr().err.startswith("table: 100% 3/3 [")


def test_what_is_written_goes_to_stdout(capsys):
    progress.write("a result")
    assert capsys.readouterr().out == "a result\n"
