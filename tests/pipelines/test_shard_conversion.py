import dataclasses
import json
import os
import shutil

import pytest
import video_files

from pipelines.conversion import shard_conversion
from pipelines.conversion.conversion_plan import Settings, ShardTask
from pipelines.conversion.shard_conversion import (
    convert_shard,
    finished_report,
    path_inside,
    report_path,
)
from pipelines.frames import isolated_reader
from pipelines.frames.video_file import VideoError, read_frames
from pipelines.layouts.annotations import Clip
from pipelines.shards import records


@pytest.fixture
def task(tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    for number in range(3):
        video_files.write_numbered(videos / f"{number}.mp4", 5 + number)
    (videos / "empty.mp4").touch()
    clips = [Clip(f"{n}.mp4", f"{n}.mp4", n) for n in range(3)]
    clips.insert(1, Clip("empty.mp4", "empty.mp4", 0))
    clips.append(Clip("part", "2.mp4", 7, 0.08, 0.2))
    out = tmp_path / "out"
    out.mkdir()
    path = str(out / "train-00000-of-00001.tfrecord")
    settings = Settings(short_side=48)
    return ShardTask(path, str(videos), tuple(clips), "fingerprint", settings, timeout=60)


def test_a_shard_holds_its_clips_in_order(task):
    seen = []
    report = convert_shard(task, lambda: seen.append(1))
    assert len(seen) == 5
    videos = [video for video, _ in records.read_from(task.path, 0)]
    assert [(v.key, v.label, len(v.frames)) for v in videos] == [
        ("0.mp4", 0, 5),
        ("1.mp4", 1, 6),
        ("2.mp4", 2, 7),
        ("part", 7, 3),
    ]
    assert report.rows == records.scan_shard(task.path)
    assert [dataclasses.asdict(failure) for failure in report.failures] == [
        {"key": "empty.mp4", "path": "empty.mp4", "cause": "is empty (0 bytes)", "lasting": True}
    ]
    expected = read_frames(os.path.join(task.videos, "1.mp4"), short_side=48)
    assert (videos[1].frames, videos[1].height, videos[1].width, videos[1].fps) == expected[:4]
    assert video_files.numbers(videos[3].frames) == [2, 3, 4]


def test_a_shard_names_what_is_to_be_looked_at(task):
    video_files.write_numbered(os.path.join(task.videos, "gap.mkv"), 2, codec="ffv1", times=[0, 3])
    task = dataclasses.replace(task, clips=(*task.clips, Clip("gap", "gap.mkv", 0)))
    report = convert_shard(task)
    assert [(note.key, note.path) for note in report.notes] == [("gap", "gap.mkv")]
    assert report.notes[0].notes[0].startswith("one frame is shown for 3.00 s from 0.00 s on")
    assert finished_report(task) == report


def test_a_finished_shard_is_known_again(task):
    assert finished_report(task) is None
    report = convert_shard(task)
    assert finished_report(task) == report
    assert finished_report(dataclasses.replace(task, fingerprint="other")) is None
    content = open(report_path(task.path)).read()
    for damage in ("", "{", "[]", '{"fingerprint": "fingerprint"}', content[:-9]):
        with open(report_path(task.path), "w") as file:
            file.write(damage)
        assert finished_report(task) is None
    with open(report_path(task.path), "w") as file:
        file.write(content)
    assert finished_report(task) == report
    video_files.cut(task.path, 0.9)
    assert finished_report(task) is None
    os.remove(task.path)
    assert finished_report(task) is None


def test_the_report_goes_before_its_shard_changes(task):
    convert_shard(task)

    def look():
        assert not os.path.exists(report_path(task.path))
        assert os.path.exists(task.path), "the old shard stays until the new one is whole"

    convert_shard(task, look)
    assert os.path.exists(report_path(task.path))


def test_the_same_task_gives_the_same_bytes(task):
    convert_shard(task)
    first = [open(path, "rb").read() for path in (task.path, report_path(task.path))]
    convert_shard(task)
    assert [open(path, "rb").read() for path in (task.path, report_path(task.path))] == first


def test_a_shard_that_is_stopped_leaves_nothing(task):
    class StoppedError(Exception):
        pass

    def stop():
        raise StoppedError

    with pytest.raises(StoppedError):
        convert_shard(task, stop)
    assert os.listdir(os.path.dirname(task.path)) == []


def test_a_shard_without_a_video_that_works(task):
    task = dataclasses.replace(task, clips=(Clip("gone", "gone.mp4", 0),))
    report = convert_shard(task)
    assert report.rows == [] and report.failures[0].cause == "No such file or directory"
    assert report.is_lasting and finished_report(task) == report
    os.remove(task.path)  # as in stores that hold no empty files
    assert finished_report(task) == report


HOSTILE = """
import os, time
from pipelines.frames import reader_process, video_file

read_frames = video_file.read_frames


def hang_or_crash(path, **settings):
    if path.endswith("hang.mp4"):
        time.sleep(600)
    if path.endswith("crash.mp4"):
        os.abort()
    return read_frames(path, **settings)


video_file.read_frames = hang_or_crash
reader_process.serve()
"""


def test_videos_that_hang_or_crash_the_decoder_cost_themselves_only(task, monkeypatch):
    def start(command, **options):
        return subprocess_popen([command[0], "-c", HOSTILE], **options)

    subprocess_popen = isolated_reader.subprocess.Popen
    monkeypatch.setattr(isolated_reader.subprocess, "Popen", start)
    names = ["0.mp4", "hang.mp4", "1.mp4", "crash.mp4", "2.mp4"]
    for name in ("hang.mp4", "crash.mp4"):
        shutil.copy(os.path.join(task.videos, "0.mp4"), os.path.join(task.videos, name))
    clips = tuple(Clip(name, name, 0) for name in names)
    report = convert_shard(dataclasses.replace(task, clips=clips, timeout=6))
    assert [row.key for row in report.rows] == ["0.mp4", "1.mp4", "2.mp4"]
    hung, crashed = report.failures
    assert (hung.key, hung.cause) == ("hang.mp4", "given up: decoding took more than 6 s")
    assert crashed.key == "crash.mp4"
    assert crashed.cause.startswith("made the decoder crash (SIGABRT):\n")
    assert "in hang_or_crash" in crashed.cause
    # The next run has more time or memory, it may be.
    assert [failure.lasting for failure in report.failures] == [False, False]
    assert not report.is_lasting


def test_an_output_that_cannot_be_written(task):
    task = dataclasses.replace(task, path="/proc/nowhere/train-00000-of-00001.tfrecord")
    with pytest.raises(OSError, match=r"/proc/nowhere/train.* cannot be written: .* run the same"):
        convert_shard(task)


# --- nothing outside the folder of the videos ----------------------------------------------------


@pytest.fixture
def walls(tmp_path):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "inside").mkdir()
    for name in ("secret.mp4", "in/a.mp4", "in/sub/b.mp4", "inside/c.mp4"):
        video_files.write_numbered(tmp_path / name, 2)
    os.symlink(tmp_path / "secret.mp4", tmp_path / "in" / "link.mp4")
    os.symlink(tmp_path, tmp_path / "in" / "up")
    os.symlink("sub/b.mp4", tmp_path / "in" / "good.mp4")
    os.symlink(tmp_path / "in", tmp_path / "alias")
    os.symlink("loop.mp4", tmp_path / "in" / "loop.mp4")
    return tmp_path


@pytest.mark.parametrize("folder", ["in", "alias", "in/", "in/../in"])
@pytest.mark.parametrize("path", ["a.mp4", "sub/b.mp4", "sub/../a.mp4", "./a.mp4", "good.mp4"])
def test_paths_inside(walls, folder, path):
    real = path_inside(f"{walls}/{folder}", path)
    assert real.startswith(f"{os.path.realpath(walls)}/in/") and os.path.isfile(real)


def test_absolute_paths_inside(walls):
    assert path_inside(str(walls / "in"), str(walls / "in/a.mp4")) == str(walls / "in/a.mp4")


@pytest.mark.parametrize(
    "path",
    ["../secret.mp4", "link.mp4", "up/secret.mp4", "sub/../../secret.mp4", "../inside/c.mp4"],
)
def test_paths_outside(walls, path):
    with pytest.raises(VideoError, match="leads outside the folder of the videos"):
        path_inside(str(walls / "in"), path)
    with pytest.raises(VideoError, match="leads outside the folder of the videos"):
        path_inside(str(walls / "in"), str(walls / "in" / path))


@pytest.mark.parametrize("path", ["/etc/passwd", "", ".", "a\0b.mp4", "loop.mp4"])
def test_paths_that_are_no_files_inside(walls, path):
    task = ShardTask(
        path=str(walls / "train-00000-of-00001.tfrecord"),
        videos=str(walls / "in"),
        clips=(Clip("bad", path, 0), Clip("good", "a.mp4", 0)),
        fingerprint="",
        settings=Settings(),
        timeout=60,
    )
    report = convert_shard(task)
    assert [row.key for row in report.rows] == ["good"]
    assert [failure.key for failure in report.failures] == ["bad"]
    assert json.loads(open(shard_conversion.report_path(task.path)).read())["failures"][0]["cause"]
