import dataclasses
import os

import command_runner
import numpy as np
import pytest
import tensorflow as tf
import video_files
from changed_files import change_json
from paths import ROOT

from pipelines import verify
from pipelines.shards import contact_sheet, records, split_index, split_writing, verification
from pipelines.system import filesystems

SCRIPT = os.path.join(ROOT, "pipelines", "verify.py")


def jpeg(number, height=48, width=64):
    return tf.io.encode_jpeg(video_files.numbered_frame(number, height, width)).numpy()


def video(key, label, first, count=6):
    frames = [jpeg(first + n) for n in range(count)]
    return records.EncodedVideo(key, label, frames, height=48, width=64, fps=25.0)


def write(folder, split, shards, class_names=("jump", "run"), **extra):
    rows = [
        records.write_shard(split_index.shard_path(str(folder), split, number, len(shards)), videos)
        for number, videos in enumerate(shards)
    ]
    split_writing.write_split(str(folder), split, rows, class_names, extra)
    return rows


@pytest.fixture
def data(tmp_path):
    write(
        tmp_path,
        "train",
        [
            [video("jump/a", 0, 0), video("run/b\né", 1, 10), video("run/c", 1, 20)],
            [video("jump/d", 0, 30)],
            [],
        ],
    )
    write(tmp_path, "validation", [[video("jump/e", 0, 40), video("run/f", 1, 50)]])
    return tmp_path


def problems(folder, split="train", **options):
    index = split_index.load_index(str(folder), split)
    whole, wrong = verification.check_split(index, **options)
    return [video.key for video in whole], wrong


@pytest.mark.parametrize("change", ["swapped", "repeated", "of another video"])
def test_frames_of_equal_length_that_changed_places_are_found(tmp_path, change):
    # Lossless sizes vary: padding behind a JPEG's end makes all frames equally long.
    def padded(first):
        made = video("jump/a", 0, first, count=3)
        frames = [frame.ljust(4096, b"\0") for frame in made.frames]
        return dataclasses.replace(made, frames=frames)

    whole, other = padded(0), padded(40)
    write(tmp_path, "train", [[whole]], ("jump",))
    assert problems(tmp_path)[1] == []
    a, b, c = whole.frames
    frames = {"swapped": [b, a, c], "repeated": [a, a, c], "of another video": [*other.frames]}
    path = split_index.shard_path(str(tmp_path), "train", 0, 1)
    records.write_shard(path, [dataclasses.replace(whole, frames=frames[change])])
    (problem,) = problems(tmp_path)[1]
    assert "'jump/a': digest is" in str(problem)


def damage(path, offset, length=1):
    with open(path, "rb+") as file:
        file.seek(offset)
        content = file.read(length)
        file.seek(offset)
        file.write(bytes(byte ^ 0x55 for byte in content))


def test_what_is_whole(data):
    assert problems(data) == (["jump/a", "run/b\né", "run/c", "jump/d"], [])
    assert problems(data, workers=3, frame_step=4) == problems(data)
    assert verify.verify(str(data)) == 0


@pytest.mark.parametrize("place", ["header", "first frame", "last frame", "length"])
def test_damage_costs_one_video_and_is_located(data, place):
    index = split_index.load_index(str(data), "train")
    offset, following = int(index.offsets[1]), int(index.offsets[2])
    where = {
        "length": offset + 3,
        "header": offset + 20,
        "first frame": int(index.anchors[index.anchor_starts[1]]) + 40,
        "last frame": following - 30,
    }[place]
    damage(index.shard_paths[0], where)
    whole, wrong = problems(data)
    assert whole == ["jump/a", "run/c", "jump/d"]
    assert len(wrong) == 1 and wrong[0].offset == offset
    assert str(wrong[0]).startswith(f"{index.shard_paths[0]}, byte {offset}: 'run/b\\né': ")
    assert verify.verify(str(data)) == 1


def test_several_damages_in_one_shard(data):
    index = split_index.load_index(str(data), "train")
    for place in (0, 2):
        damage(index.shard_paths[0], int(index.offsets[place]) + 20)
    whole, wrong = problems(data)
    assert whole == ["run/b\né", "jump/d"] and len(wrong) == 2


def test_images_that_are_none(tmp_path):
    torn = video("torn", 0, 0)
    torn.frames[3] = torn.frames[3][:2] + b"\0" * 200
    other = video("other", 1, 10)
    other.frames[2] = jpeg(0, 32, 64)
    write(tmp_path, "train", [[torn, other]])
    whole, wrong = problems(tmp_path)
    assert whole == [] and len(wrong) == 2
    assert "frame 3 is no JPEG" in wrong[0].text
    assert "frame 2 is 64x32, its header says 64x48" in wrong[1].text
    assert verify.verify(str(tmp_path), sheets=str(tmp_path)) == 2
    assert (tmp_path / "train.png").exists()


def test_records_of_another_conversion(data):
    other = data / "other"
    other.mkdir()
    write(other, "train", [[video("jump/a", 0, 0), video("x", 1, 10), video("run/c", 1, 20)]])
    index = split_index.load_index(str(data), "train")
    whole, wrong = verification.check_split(index)
    assert not wrong
    os.replace(split_index.shard_path(str(other), "train", 0, 1), index.shard_paths[0])
    whole, wrong = verification.check_split(index)
    assert "jump/a" in [video.key for video in whole]
    assert any("key is 'x' in the record and 'run/b\\né' in the index" in p.text for p in wrong)


def test_more_videos_than_the_index_lists(data):
    index = split_index.load_index(str(data), "train")
    with open(index.shard_paths[0], "ab") as file, open(index.shard_paths[1], "rb") as other:
        file.write(other.read())
    _, wrong = verification.check_split(index)
    assert len(wrong) == 1 and "was added to" in wrong[0].text
    assert wrong[0].offset == index.manifest["shards"][0]["bytes"]


def test_a_cut_shard_costs_the_videos_behind_the_cut(data, capsys):
    index = split_index.load_index(str(data), "train")
    cut = int(index.offsets[2]) + 200
    os.truncate(index.shard_paths[0], cut)
    index = split_index.load_index(str(data), "train", check_shards=False)
    whole, wrong = verification.check_split(index)
    assert [video.key for video in whole] == ["jump/a", "run/b\né", "jump/d"]
    assert [problem.offset for problem in wrong] == [cut, int(index.offsets[2])]
    assert f"is cut: it has {cut} bytes" in wrong[0].text and "'run/c': " in wrong[1].text
    assert verify.verify(str(data), sheets=str(data)) == 2
    assert "validation: 2 of 2 videos are whole" in capsys.readouterr().out


def test_a_missing_shard_is_one_problem(data):
    index = split_index.load_index(str(data), "train")
    os.remove(index.shard_paths[0])
    index = split_index.load_index(str(data), "train", check_shards=False)
    whole, wrong = verification.check_split(index)
    assert [video.key for video in whole] == ["jump/d"]
    assert [problem.text for problem in wrong] == ["is missing, and with it 3 videos"]
    assert contact_sheet.contact_sheet(index).shape == (2 * 130, 2 * 5 * 150, 3)


@pytest.mark.parametrize("lost", ["train.json", "train.index.npz"])
def test_a_split_that_is_not_whole_hides_no_other(data, capsys, lost):
    (data / lost).unlink()
    damage(split_index.shard_path(str(data), "validation", 0, 1), 30)
    assert verify.verify(str(data)) == 2
    printed = capsys.readouterr().out
    assert "train: cannot be checked" in printed and "validation: 1 of 2" in printed


@pytest.mark.parametrize(
    "change, text",
    [
        ({"num_videos": 5}, "num_videos is 5 and must be 4"),
        ({"num_frames": 1}, "num_frames is 1 and must be 24"),
        ({"videos_per_class": [1, 3]}, "videos_per_class is [1, 3] and must be [2, 2]"),
    ],
)
def test_counts_against_the_manifest(data, change, text):
    path = data / "train.json"
    change_json(path, **change)
    _, wrong = problems(data)
    assert len(wrong) == 1 and wrong[0].shard == str(path)
    assert wrong[0].text == text


def test_duplicates(data, capsys):
    folder = data / "same"
    folder.mkdir()
    write(folder, "train", [[video("a", 0, 0), video("again", 0, 0), video("torn", 1, 0)]])
    write(folder, "validation", [[video("b", 0, 0), video("c", 0, 70)]])
    assert verify.verify(str(folder)) == 2
    printed = capsys.readouterr().out
    assert "1 videos with the same frames are in two splits" in printed
    assert "train: 'a' and validation: 'b'" in printed
    assert "1 videos with the same frames have different labels" in printed
    assert "1 videos have the same frames as another of their class" in printed
    assert verify.verify(str(folder), ["train", "train"]) == 1


def test_contact_sheet(data):
    index = split_index.load_index(str(data), "train")
    sheet = contact_sheet.contact_sheet(index)
    assert sheet.shape == (2 * 130, 2 * 5 * 150, 3) and sheet.dtype == np.uint8
    # Row 1, second clip: frames 0, 1, 2, 4, 5 of run/c, whose numbers start at 20.
    for number, expected in enumerate((20, 21, 22, 24, 25)):
        left = 750 + 150 * number
        thumbnail = sheet[130 + 18 : 260, left : left + 150]
        columns = np.flatnonzero(thumbnail.any(axis=(0, 2)))
        assert video_files.frame_number(thumbnail[:, columns[0] : columns[-1] + 1]) == expected
    assert contact_sheet.contact_sheet(index, max_classes=1).shape[0] == 130
    damage(index.shard_paths[0], int(index.offsets[1]) + 20)
    assert contact_sheet.contact_sheet(index).shape == sheet.shape


def test_captions_are_legible():
    assert contact_sheet._ascii("1 läuft: run/é\n走.mp4") == "1 lauft: run/e??.mp4"


def test_contact_sheets_have_legible_captions(data):
    index = split_index.load_index(str(data), "train")
    sheets = [
        contact_sheet.contact_sheet(dataclasses.replace(index, class_names=[name, "run"]))
        for name in ("läuft", "lauft", "laeft")
    ]
    np.testing.assert_array_equal(sheets[0], sheets[1])
    assert (sheets[0] != sheets[2]).any()


def test_command_line(data):
    ended = command_runner.run(
        SCRIPT, f"--data={data}", f"--contact_sheet={data}/sheets", cold=True
    )
    assert "train: 4 of 4 videos are whole" in ended.stdout
    assert "Everything is as it was written." in ended.stdout
    image = tf.io.decode_png((data / "sheets" / "validation.png").read_bytes())
    assert image.shape == (260, 1500, 3)
    index = split_index.load_index(str(data), "train")
    damage(index.shard_paths[1], 30)
    ended = command_runner.run(
        SCRIPT, f"--data={data}", "--split=train", "--contact_sheet=", status=1
    )
    assert "Traceback" not in ended.stderr
    assert "train: 3 of 4 videos are whole" in ended.stdout and "1 problems." in ended.stdout
    assert f"{index.shard_paths[1]}, byte 0" in ended.stdout
    assert not (data / "train.png").exists()


def test_a_folder_that_can_only_be_read_is_checked_to_its_end(data, monkeypatch, capsys):
    def refuse(path, content):
        raise OSError(f"{path} cannot be written: Read-only file system.")

    monkeypatch.setattr(filesystems, "write_file", refuse)
    assert verify.verify(str(data), sheets=str(data)) == 0
    said = capsys.readouterr().out
    assert said.count("No contact sheet: ") == 2 and "--contact_sheet" in said
    assert "train: 4 of 4" in said and "validation: " in said


def test_errors(tmp_path, data):
    with pytest.raises(ValueError, match=r"no finished split 'test' \(finished splits: train"):
        verify.verify(str(data), ["test"])
    with pytest.raises(ValueError, match="holds no converted videos"):
        verify.verify(str(tmp_path / "nowhere"))
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "labels.txt").write_text("run\n")
    with pytest.raises(ValueError, match="has no finished split"):
        verify.verify(str(tmp_path / "begun"))
