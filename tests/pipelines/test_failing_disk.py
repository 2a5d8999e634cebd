"""Whatever write, flush or renaming of a conversion fails: it is told, and nothing half counts."""

import functools
import os
import shutil

import failing_disk
import pytest
import video_files

from pipelines.conversion import conversion_job
from pipelines.conversion.conversion_plan import Settings
from pipelines.conversion.split_plans import Conversion
from pipelines.frames import isolated_reader, video_file
from pipelines.layouts.annotations import Source
from pipelines.shards import split_index
from pipelines.system import command_line

NEVER = 2**62


@pytest.fixture
def conversion(tmp_path, monkeypatch):
    """Of three videos of two classes into two shards; decoded in this process, and once only."""
    for number, name in enumerate(("jump/a", "jump/b", "run/c")):
        path = tmp_path / "videos" / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        video_files.write_numbered(path, 2 + number, height=16, width=16)
    read = functools.cache(video_file.read_frames)
    monkeypatch.setattr(
        isolated_reader.IsolatedReader,
        "read_frames",
        lambda self, path, **settings: read(path, **settings),
    )
    return Conversion(
        source=Source(str(tmp_path / "videos"), validation_share=0.0),
        dataset="folder",
        output=str(tmp_path / "out"),
        splits=("train",),
        settings=Settings(short_side=16),
        num_shards=2,
    )


def files(folder):
    """What a reader sees, by name."""
    present = {}
    for entry in os.scandir(folder):
        if not entry.name.endswith(".lock"):
            with open(entry.path, "rb") as file:
                present[entry.name] = file.read()
    return present


def test_every_write_of_a_conversion_may_fail(conversion):
    with failing_disk.failing(NEVER) as disk:
        conversion_job.convert_splits(conversion)
    expected = files(conversion.output)
    # Label map, two shards with reports, index and manifest; each is flushed, renamed and flushed.
    assert len(expected) == 7 and disk.calls > 7 * 3 + 5 * 2
    for at in range(disk.calls):
        for number, lasts in failing_disk.faults_at(at):
            where = at, os.strerror(number)
            shutil.rmtree(conversion.output)
            with failing_disk.failing(at, number, lasts), pytest.raises(OSError) as raised:
                conversion_job.convert_splits(conversion)
            message = str(raised.value)
            assert message.startswith(f"{conversion.output}/"), (where, message)
            assert os.strerror(number) in message and "run the same command again" in message, where
            assert "\n\n" not in command_line.paragraph(message)
            left = files(conversion.output)
            assert left.items() <= expected.items(), (where, left.keys())
            assert "train.json" not in left or left == expected, where
            conversion_job.convert_splits(conversion)
            assert files(conversion.output) == expected, where


def test_a_split_that_is_converted_anew_is_the_old_one_or_none(conversion, tmp_path):
    """An added video changes one of the shards."""
    conversion_job.convert_splits(conversion)
    before = files(conversion.output)
    video_files.write_numbered(tmp_path / "videos" / "run" / "d.mp4", 5, height=16, width=16)
    shutil.copytree(conversion.output, tmp_path / "kept")
    with failing_disk.failing(NEVER) as disk:
        conversion_job.convert_splits(conversion)
    after = files(conversion.output)
    for at in range(disk.calls):
        shutil.rmtree(conversion.output)
        shutil.copytree(tmp_path / "kept", conversion.output)
        with failing_disk.failing(at, *failing_disk.FAULTS[at % 4]), pytest.raises(OSError):
            conversion_job.convert_splits(conversion)
        for name, content in files(conversion.output).items():
            assert content in (before.get(name), after[name]), (at, name)
        if os.path.exists(split_index.manifest_path(conversion.output, "train")):
            assert files(conversion.output) in (before, after), at
        conversion_job.convert_splits(conversion)
        assert files(conversion.output) == after, at
