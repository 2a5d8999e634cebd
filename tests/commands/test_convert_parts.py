"""A split that several machines convert together, and the progress of what others convert."""

import io
import itertools
import os
import time

import command_runner
import pytest
import video_files
from paths import ROOT

from pipelines import verify
from pipelines.conversion import conversion_job, output_folder
from pipelines.conversion.conversion_plan import Settings
from pipelines.conversion.split_plans import Conversion
from pipelines.layouts import annotations
from pipelines.system import filesystems
from pipelines.system.parts import WHOLE, Part
from pipelines.system.progress import Progress

SHARDS = 7


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for label, number in itertools.product(("jump", "run"), range(5)):
        (folder / label).mkdir(exist_ok=True)
        video_files.write_numbered(folder / label / f"{number}.mp4", 4 + number)
    return str(folder)


def convert(videos, output, part=WHOLE):
    source = annotations.Source(videos=videos, validation_share=0)
    settings = Settings(short_side=48)
    return conversion_job.convert_splits(
        Conversion(source, "folder", str(output), ("train",), settings, SHARDS, part=part)
    )


@pytest.fixture(scope="module")
def whole(videos, tmp_path_factory):
    output = tmp_path_factory.mktemp("whole")
    convert(videos, output)
    return snapshot(output)


def snapshot(folder):
    """Content of every file but the locks."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".lock"}


@pytest.mark.slow
@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2), (2, 3, 1)])
def test_parts_in_any_order_give_the_bytes_of_one_conversion(videos, whole, tmp_path, order):
    for place, number in enumerate(order):
        manifests = convert(videos, tmp_path, Part(number, 3))
        last = place == 2
        assert list(manifests) == (["train"] if last else [])
        shards = [path for path in tmp_path.iterdir() if path.suffix == ".tfrecord"]
        done = sum(number in Part(k, 3) for k in order[: place + 1] for number in range(SHARDS))
        assert len(shards) == done
    assert snapshot(tmp_path) == whole
    # Once more, as after parts that ended without seeing each other's last shard.
    os.remove(tmp_path / "train.json")
    assert list(convert(videos, tmp_path, Part(1, 3))) == ["train"]
    assert snapshot(tmp_path) == whole


def test_an_unfinished_split_is_refused_by_name(videos, tmp_path, capsys):
    convert(videos, tmp_path, Part(2, 2))
    assert "4 shards of other parts are not" in capsys.readouterr().out
    assert verify.verify(str(tmp_path)) == 1
    assert "has no finished split 'train'" in capsys.readouterr().out


def test_a_killed_part_goes_on_and_leaves_the_others_files(videos, whole, tmp_path, monkeypatch):
    convert(videos, tmp_path, Part(1, 2))
    kept = snapshot(tmp_path)
    convert_shard, done = conversion_job.shard_conversion.convert_shard, []

    def killed(task, after_video):
        if done:
            raise KeyboardInterrupt
        done.append(task.path)
        return convert_shard(task, after_video)

    monkeypatch.setattr(conversion_job.shard_conversion, "convert_shard", killed)
    with pytest.raises(KeyboardInterrupt):
        convert(videos, tmp_path, Part(2, 2))
    own, others = (f"train-0000{n}-of-00007.tfrecord.1.tmp" for n in (3, 4))
    for leftover in (own, others):
        (tmp_path / leftover).touch()
    monkeypatch.setattr(
        conversion_job.shard_conversion,
        "convert_shard",
        lambda task, after: done.append(task.path) or convert_shard(task, after),
    )
    convert(videos, tmp_path, Part(2, 2))
    assert len(done) == len(set(done)) == 3
    left = snapshot(tmp_path)
    assert left.pop(others) == b"" and left == whole
    assert kept.items() <= left.items()


def test_parts_exclude_themselves_and_the_whole_and_not_each_other(videos, tmp_path):
    with output_folder.sole_writer(str(tmp_path), "train", Part(1, 2)):
        for part in (Part(1, 2), Part()):
            with pytest.raises(ValueError, match="Another conversion is writing split 'train'"):
                convert(videos, tmp_path, part)
        convert(videos, tmp_path, Part(2, 2))
    with output_folder.sole_writer(str(tmp_path), "train", Part()):
        with pytest.raises(ValueError, match="Another conversion is writing split 'train'"):
            convert(videos, tmp_path, Part(1, 2))


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "1/0", "a/b", "1/-1"])
def test_parts_that_do_not_exist_are_explained(videos, tmp_path, text):
    words = [f"--videos={videos}", f"--output={tmp_path}", f"--shards={text}"]
    done = command_runner.run(
        os.path.join(ROOT, "pipelines", "convert.py"), "--dataset=folder", *words, status=1
    )
    assert "--shards" in done.error and "Received: " in done.error
    assert os.listdir(tmp_path) == []


def test_a_look_of_the_progress_reads_no_report(tmp_path, monkeypatch):
    """Thousands of reports, of which an earlier conversion left one that is made anew."""
    names = [f"train-{n:05d}-of-03000.json" for n in range(3000)]
    awaited = {str(tmp_path / name): 100 for name in names}
    (tmp_path / names[0]).touch()
    monkeypatch.setattr(conversion_job, "_LOOK_S", 0.01)
    monkeypatch.setattr(
        conversion_job.shard_conversion, "finished_report", lambda _: pytest.fail("was read")
    )
    progress = Progress(300_000, "video", file=io.StringIO())
    with conversion_job._polled(progress, str(tmp_path), awaited):
        for name in names[1:]:
            (tmp_path / name).touch()
        wait_for(lambda: progress.count == 299_900)
        os.remove(tmp_path / names[0])
        looks = conversion_job.tf.io.gfile.listdir
        seen = []
        monkeypatch.setattr(
            conversion_job.tf.io.gfile, "listdir", lambda path: seen.append(1) or looks(path)
        )
        wait_for(lambda: len(seen) > 2)
        (tmp_path / names[0]).touch()
        wait_for(lambda: progress.count == 300_000)
    assert progress.count == 300_000


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_an_object_store_has_no_temporary_objects(tmp_path, monkeypatch):
    """A kill would leave them there; instead the old object goes and the new one comes whole."""
    monkeypatch.setattr(filesystems, "scheme", lambda path: "gs")
    path = tmp_path / "x"
    for content in (b"first", b"second"):
        with filesystems.temporary_beside(str(path)) as temporary:
            assert temporary == str(path) and not path.exists()
            path.write_bytes(content)
            filesystems.publish(temporary, str(path))
        assert path.read_bytes() == content
    with pytest.raises(KeyError), filesystems.temporary_beside(str(path)) as temporary:
        path.write_bytes(b"a part")
        raise KeyError
    assert os.listdir(tmp_path) == []
