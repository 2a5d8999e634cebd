import concurrent.futures
import contextlib
import os
import tracemalloc

import pytest

from pipelines.conversion import dry_run
from pipelines.conversion.conversion_plan import Plan, Settings
from pipelines.conversion.split_plans import SplitPlans
from pipelines.frames.video_file import VideoError
from pipelines.layouts.annotations import Clip
from pipelines.system.text import stable_hash


def path_of(number, count):
    return f"train-{number:05d}-of-{count:05d}.tfrecord"


def plan(clips, videos="/nowhere", settings=None, **options):
    return Plan(iter(clips), str(videos), path_of, settings or Settings(), **options)


def clips(count, start=0):
    return [Clip(f"class/{n}.mp4", f"class/{n}.mp4", n % 3) for n in range(start, start + count)]


def test_order_by_hash_and_equal_shards():
    listed = clips(103)
    with plan(reversed(listed), num_shards=4) as made:
        tasks = list(made.tasks())
        assert [task.path for task in tasks] == [path_of(n, 4) for n in range(4)]
        assert [len(task.clips) for task in tasks] in ([25, 26, 26, 26], [26, 26, 26, 25])
        order = [clip for task in tasks for clip in task.clips]
        assert order == sorted(listed, key=lambda clip: stable_hash(clip.key))
        assert [clip for clip, _ in made.clips()] == order
        assert made.clips_per_class == {0: 35, 1: 34, 2: 34} and len(made) == 103
    with plan(listed, num_shards=4) as again:
        assert list(again.tasks()) == tasks


def test_threads_may_read_it_at_once():
    with plan(clips(2000), num_shards=20) as made:
        expected = list(made.tasks())
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            several = [pool.submit(lambda: list(made.tasks())) for _ in range(8)]
            assert all(each.result() == expected for each in several)


def test_the_hash_is_the_same_on_every_machine():
    assert stable_hash("class/é.mp4") == 0x33FFDC930B000F10


@pytest.mark.parametrize("count, shards", [(1, 1), (9, 9), (16, 16), (500, 16), (2049, 17)])
def test_usual_number_of_shards(count, shards):
    with plan(clips(count)) as made:
        assert made.num_shards == shards
        assert all(task.clips for task in made.tasks())


def test_clips_keep_every_field():
    strange = Clip("a\udcff".encode("utf-8", "backslashreplace").decode(), 'a\udcff\n,".mp4', 2)
    timed = Clip("b#1.5-", "b", 0, 1.5, None)
    with plan([strange, timed]) as made:
        assert {clip for clip, _ in made.clips()} == {strange, timed}


def test_missing_files_are_counted_and_keep_their_place(tmp_path):
    (tmp_path / "class").mkdir()
    for number in range(0, 20, 2):
        (tmp_path / "class" / f"{number}.mp4").write_bytes(b"x" * number)
    with plan(clips(20), tmp_path) as made:
        before = [task.clips for task in made.tasks()]
        fingerprints = [task.fingerprint for task in made.tasks()]
        assert made.num_missing == 10 and made.first_missing == "class/1.mp4"
        assert {clip.key: size for clip, size in made.clips()}["class/8.mp4"] == 8
    (tmp_path / "class" / "7.mp4").write_bytes(b"y")
    with plan(clips(20), tmp_path) as made:
        assert [task.clips for task in made.tasks()] == before
        changed = [
            task.clips
            for task, fingerprint in zip(made.tasks(), fingerprints)
            if task.fingerprint != fingerprint
        ]
        assert len(changed) == 1 and any(clip.key == "class/7.mp4" for clip in changed[0])


def test_fingerprints_change_with_settings_files_labels_and_times(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    clip = Clip("a", "a", 0)

    def fingerprint(clip, settings=None):
        with plan([clip], tmp_path, settings) as made:
            return next(made.tasks()).fingerprint

    first = fingerprint(clip)
    assert fingerprint(clip) == first
    others = [
        fingerprint(clip, Settings(fps=24)),
        fingerprint(clip, Settings(quality=5)),
        fingerprint(clip, Settings(short_side=None)),
        fingerprint(clip, Settings(upscale=False)),
        fingerprint(clip._replace(label=1)),
        fingerprint(clip._replace(start=0.5)),
    ]
    (tmp_path / "a").write_bytes(b"xy")
    others.append(fingerprint(clip))
    os.utime(tmp_path / "a", ns=(1, 1))
    others.append(fingerprint(clip))
    assert len({first, *others}) == 9


def test_shared_clips_are_found_behind_links_and_other_names(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(b"x")
    os.symlink("a", tmp_path / "soft")
    os.link(tmp_path / "b", tmp_path / "hard")
    train = [Clip("a", "a", 0), Clip("b", "b", 0), Clip("c", "c", 0, 0, 5), Clip("gone", "gone", 0)]
    other = [
        Clip("soft", "soft", 0),
        Clip("hard", "./hard", 0),
        Clip("c2", "c", 0, 5, 9),
        Clip("gone", "gone", 1),
    ]
    with plan(train, tmp_path) as first, plan(other, tmp_path) as second:
        pairs = {(here.key, there.key) for here, there in first.shared_with(second)}
    assert pairs == {("a", "soft"), ("b", "hard"), ("gone", "gone")}


def test_errors():
    with pytest.raises(ValueError, match="A plan must have at least one video"):
        plan([])
    with pytest.raises(ValueError, match=r"'k' is listed twice, as 'a' with label 0 and as 'b'"):
        plan([Clip("k", "a", 0), Clip("x", "c", 0), Clip("k", "b", 1)])
    for number in (0, 100_000):
        with pytest.raises(ValueError, match=f"Received: num_shards={number}$"):
            plan(clips(3), num_shards=number)
    with pytest.raises(ValueError, match="Received: quality=0"):
        Settings(quality=0)


@pytest.mark.slow
def test_planning_holds_numbers_and_no_clips():
    def many(count):
        for number in range(count):
            yield Clip(
                f"some class/{number:011d}_000010_000020", f"{number:011d}.mp4", number % 400
            )

    peaks = []
    for count in (2_000, 20_000):
        tracemalloc.start()
        with plan(many(count)) as made:
            assert sum(len(task.clips) for task in made.tasks()) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Three numbers of 8 bytes a clip, and as many again while they are sorted; no clip itself.
    assert peaks[1] - peaks[0] < 18_000 * 100, peaks


def test_a_dry_run_gives_its_videos_up_after_the_timeout_too(tmp_path, monkeypatch):
    class Reader(contextlib.nullcontext):
        def read_frames(self, path, **settings):
            raise VideoError(path, f"given up after {self.enter_result} s")

        def __enter__(self):
            return self

    monkeypatch.setattr(dry_run.isolated_reader, "IsolatedReader", Reader)
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "0.mp4").write_bytes(b"x")
    with plan(clips(1), tmp_path, timeout=7.5) as made:
        report = dry_run.describe(SplitPlans({"train": made}, ["a"], str(tmp_path)), workers=1)
    assert "given up after 7.5 s" in report
