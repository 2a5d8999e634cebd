"""`predict.py --timeline`, and of what is live: windows that slide along a video."""

import csv
import json
import os
import signal
from fractions import Fraction

import av
import command_runner
import finished_runs
import http_streams
import keras
import numpy as np
import pytest
import video_files

from analysis import timelines
from analysis.video_names import stems
from pipelines.frames.video_file import read_frames
from pipelines.input import views_of_frames
from prediction import timeline, windows
from prediction.windows import Window

CLASSES = ["a", "b", "läuft"]


def cut(copies, span, stride, **options):
    frames = ((bytes([number]), count) for number, count in enumerate(copies))
    found = windows.windows(frames, span, Fraction(stride), fps=10, **options)
    return [(window.first, b"".join(window.frames)) for window in found]


@pytest.mark.parametrize(
    ("copies", "span", "stride", "firsts"),
    [
        ([1] * 12, 4, 4, [0, 4, 8]),
        ([1] * 13, 4, 4, [0, 4, 8, 9]),
        ([3, 1, 0, 5, 4], 4, 3, [0, 3, 6, 9]),
        ([1] * 11, 4, Fraction(5, 2), [0, 3, 5, 7]),
        ([1] * 13, 2, 5, [0, 5, 10]),
        ([1] * 3, 4, 2, [0]),
        ([1] * 3, 4, 20, [0]),
        ([], 4, 4, []),
    ],
)
def test_windows(copies, span, stride, firsts):
    video = bytes(number for number, count in enumerate(copies) for _ in range(count))
    assert cut(copies, span, stride) == [(n, video[n : n + span]) for n in firsts]


def test_times_of_windows():
    found = list(windows.windows([(b"x", 7)], 4, Fraction(4), fps=2, begin=100))
    assert [(window.start, window.end) for window in found] == [(100, 102), (101.5, 103.5)]


def test_a_camera_that_is_ahead_is_followed(monkeypatch):
    clock = iter([50.0, 52.5, 57.0, 57.5, 62.2])
    monkeypatch.setattr(windows.time, "monotonic", lambda: next(clock))
    found = [Window(n, [], 2.0 * n, 2.0 * n + 2) for n in range(5)]
    told = []
    taken = list(windows.without_late_ones(iter(found), lambda: told.append(1)))
    assert [window.first for window in taken] == [0, 1, 3] and told == [1]


def answers(images, span, stride):
    """Windows whose best class is their number modulo 3, with a probability of 0.8."""
    frames = ((image, 1) for image in images)
    for number, window in enumerate(windows.windows(frames, span, Fraction(stride), fps=25)):
        scores = np.full(3, 0.1, "float32")
        scores[number % 3] = 0.8
        yield window, scores


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "a.mkv"
    return read_frames(video_files.write_numbered(path, 22, codec="ffv1"), short_side=64).frames


@pytest.mark.parametrize(
    ("span", "stride", "labels"),
    [
        (8, 8, [0] * 8 + [1] * 7 + [2] * 7),  # the last one begins at 14
        (8, 4, [0] * 6 + [1] * 4 + [2] * 4 + [0] * 3 + [1] * 5),
        (30, 30, [0] * 22),
    ],
)
def test_a_film_has_all_frames_with_the_nearest_answer(monkeypatch, images, span, stride, labels):
    monkeypatch.setattr(timeline, "_captioned", lambda image, text: (image, text))
    shown = list(timeline.annotated(answers(images, span, stride), CLASSES))
    assert [image for image, _ in shown] == images
    assert [CLASSES.index(text.split()[0]) for _, text in shown] == labels
    assert shown[0][1] == "a  80%"


def numbers_of(film):
    with av.open(str(film)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert all(frame.shape[0] % 2 == 0 and frame.shape[0] >= 224 for frame in frames)
    return [video_files.frame_number(frame[-256:]) for frame in frames]


def test_a_film_is_whole_or_not_there(tmp_path, images):
    path = tmp_path / "x.mp4"

    def until(number, error):
        for count, answer in enumerate(answers(images, 4, 4)):
            if count == number:
                (only,) = tmp_path.iterdir()  # what a kill would leave
                assert only.name.startswith("x.mp4.") and only.name.endswith(".tmp")
                raise error
            yield answer

    with pytest.raises(OSError, match="disk"):
        timeline.write_film(path, until(3, OSError("disk")), CLASSES, 25)
    timeline.write_film(path, iter(()), CLASSES, 25)
    assert not list(tmp_path.iterdir())
    timeline.write_film(path, answers(images, 4, 4), CLASSES, 25)
    assert numbers_of(path) == list(range(22))
    os.remove(path)
    with pytest.raises(KeyboardInterrupt):
        timeline.write_film(path, until(5, KeyboardInterrupt), CLASSES, 25)
    assert list(tmp_path.iterdir()) == [path]
    found = numbers_of(path)
    assert 0 < len(found) <= 16 and found == list(range(len(found)))


def test_the_picture_shows_what_is_best_somewhere():
    scores = np.full((40, 9), 0.05)
    scores[:, 8] = 0.2
    for number in range(30):
        scores[number, number % 10 % 8] = 0.4
    assert timelines.most_seen(scores, 3) == [0, 1, 8]
    starts = np.arange(40) * 100.0
    figure = timelines.long_timeline(starts, starts + 100, scores, list("abcdefghi"), "x")
    _, lines = figure.axes
    assert [line.get_label() for line in lines.lines] == list("abicde")
    np.testing.assert_array_equal(lines.lines[1].get_ydata(), scores[:, 1])
    names = [text.get_text() for text in lines.get_legend().get_texts()]
    assert names == [*"abicde", "another class"]
    figure.canvas.draw()
    marks = [text.get_text() for text in lines.get_xticklabels()]
    assert {"0", "10:00", "20:00", "30:00"} <= set(marks)
    assert [timelines.clock(seconds) for seconds in (0, 7.5, 127, 3727.2)] == [
        "0",
        "7.5",
        "2:07",
        "1:02:07",
    ]


def test_names_of_files_are_distinct():
    assert stems(["a-2.mp4", "x/a.mp4", "y/a.mkv", "b.mp4"]) == ["a-2", "a", "a-3", "b"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    return folder, finished_runs.make(folder, folder)


def by_hand(network, path, start, end):
    """The probabilities of a clip that is cut out of its video."""
    settings = finished_runs.SETTINGS
    frames = read_frames(str(path), **settings["conversion"], start=start, end=end).frames
    names = ("num_frames", "span")
    views = views_of_frames(
        frames, num_clips=1, num_crops=1, crop_size=32, **{name: settings[name] for name in names}
    )
    logits = network(np.asarray(views), training=False)
    return keras.ops.convert_to_numpy(keras.ops.softmax(logits))[0]


@pytest.mark.slow
def test_scores_of_windows_are_those_of_clips(tmp_path, run):
    folder, network = run
    good, damaged = tmp_path / "good.mp4", tmp_path / "damaged.mkv"
    video_files.write_numbered(good, 50)
    video_files.write_numbered(damaged, 50, codec="mpeg4")
    video_files.cut(damaged, 0.6)
    flags = [f"--timeline={tmp_path / 'found'}", "--annotated", "--stride=0.2"]
    words = [f"--work_dir={folder}", *flags, f"--json={tmp_path / 'lines'}", damaged, good]
    result = command_runner.run("scripts/predict.py", *words, status=1)
    lines = [json.loads(line) for line in (tmp_path / "lines").read_text().splitlines()]
    own = [line for line in lines if line["video"] == str(good)]
    starts = [line["start"] for line in own]
    assert starts == [0, 0.2, 0.4, 0.6, 0.8, 1, 1.2, 1.4, 1.6, 1.68]
    scores = []
    for line in own:
        expected = by_hand(network, good, line["start"], line["end"])
        received = {row["class"]: row["probability"] for row in line["classes"]}
        names = finished_runs.SETTINGS["class_names"]
        scores.append([received[name] for name in names])
        np.testing.assert_allclose(scores[-1], expected, atol=1e-5)
    assert np.std(scores, axis=0).max() > 1e-4
    with open(tmp_path / "found" / "good_timeline.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["start"]) for row in rows] == starts
    assert [row["class_1"] for row in rows] == [line["classes"][0]["class"] for line in own]
    best = max(np.mean(scores, axis=0))
    assert f"{best:8.2%}" in result.stdout
    assert numbers_of(tmp_path / "found" / "good_timeline.mp4") == list(range(50))
    # What came before the damage is there too.
    assert "damaged.mkv: cut short" in result.error or "damaged.mkv: damaged" in result.error
    assert any("error" in line for line in lines)
    film = numbers_of(tmp_path / "found" / "damaged_timeline.mp4")
    assert 15 < len(film) < 45 and film == list(range(len(film)))
    assert (tmp_path / "found" / "damaged_timeline.png").stat().st_size > 1000


@pytest.mark.slow
def test_a_stream_is_watched_until_ctrl_c(tmp_path, run):
    path = tmp_path / "a.ts"
    video_files.write_numbered(path, 60, codec="mpeg2video", options={"g": "10", "bf": "0"})
    lines = tmp_path / "lines"
    with http_streams.serving(path.read_bytes(), endless=True) as address:
        address = address.replace("//", "//me:secret@")
        flags = [f"--timeline={tmp_path / 'found'}", f"--json={lines}", "--stride=0.2"]
        words = ["scripts/predict.py", f"--work_dir={run[0]}", *flags, address]
        command = command_runner.start(None, *words)
        # A decoder, a parser and two clocks hold the last frames back.
        command.wait_for(lambda: lines.exists() and lines.read_text().count("\n") >= 9)
        command.send(signal.SIGINT)
        assert command.status() == 0, command.stderr
    shown = command.stdout.splitlines()
    found = [json.loads(line) for line in lines.read_text().splitlines()]
    assert len(shown) == len(found) >= 9
    for line, text in zip(found, shown):
        assert text.split()[0] == timelines.clock(line["start"])
        assert text.split()[1] == line["classes"][0]["class"]
    expected = by_hand(run[1], path, found[3]["start"], found[3]["end"])
    best = found[3]["classes"][0]["probability"]
    np.testing.assert_allclose(best, max(expected), atol=1e-5)
    assert sorted(os.listdir(tmp_path / "found")) == ["live_timeline.csv", "live_timeline.png"]
    assert "secret" not in lines.read_text()


WRONG = {
    "--annotated v.mp4": "--annotated is for windows along a video: give --timeline too",
    "--stride=1 v.mp4": "--stride is for windows along a video",
    "--timeline=t --clips=3 v.mp4": "--clips is for videos as a whole",
    "--features=f.npz http://host/a": "--features is for videos as a whole",
    "--timeline=t --stride=0.01 v.mp4": "--stride must be at least a frame, 0.04 s",
    "--timeline=t --annotated --stride=1 v.mp4": "--stride of at most 0.32 s, the length",
    "v.mp4 http://host/a": "is a camera or a stream",
}


@pytest.mark.slow
def test_flags_that_do_not_fit_windows(tmp_path, run):
    started = {
        words: command_runner.start(
            None, "scripts/predict.py", f"--work_dir={run[0]}", *words.split()
        )
        for words in WRONG
    }
    for words, command in started.items():
        assert command.status() == 1
        assert WRONG[words] in command.error, words
