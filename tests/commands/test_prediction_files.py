"""What `predict` reads by the words of its command line, and writes as it comes."""

import json
import zipfile

import numpy as np
import pytest

from prediction import files, results


def made(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return [str(folder / name) for name in names]


def test_files_folders_and_patterns(tmp_path, capsys):
    first, second, odd, text, hidden, image = made(
        tmp_path, "b/a.MP4", "b/c/d.webm", "b/[x].avi", "b/notes.txt", "b/.e.mp4", "f/g.png"
    )
    folder = str(tmp_path / "b")
    assert files.listed([folder]) == [odd, first, second]
    assert f"Left out: 1 files without the ending of a video or image: {text}" in (
        " ".join(capsys.readouterr().err.split())
    )
    assert files.listed([hidden, text, odd]) == [hidden, text, odd]
    assert files.listed([f"{tmp_path}/*/*.[mM][pP]4", first, image]) == [first, image]
    assert files.listed([f"{tmp_path}/**/*.webm"]) == [second]
    assert files.listed([f"{tmp_path}/f*"]) == [image]
    assert files.listed(["nowhere.mp4"]) == ["nowhere.mp4"]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("gs://bucket/a.mp4", "is an address that is not read: .* Download it first"),
        ("{folder}/*.mp4", r"No file fits .*/\*\.mp4"),
        ("{folder}", "holds no video and no image: their names end in one of .avi|.3gp"),
    ],
)
def test_what_means_no_file(tmp_path, word, message):
    with pytest.raises(ValueError, match=message):
        files.listed([word.format(folder=tmp_path)])


def test_what_is_live_is_named_alone(tmp_path):
    assert files.live(["rtsp://camera/1"]) == "rtsp://camera/1"
    assert files.live([str(tmp_path), "b.mp4"]) is None
    with pytest.raises(ValueError, match=r"^rtsp://me@a is a camera or a stream.* it alone"):
        files.live(["b.mp4", "rtsp://me:secret@a"])


NAMES = ["file", "/videos/a b.mp4", "odd\udcff.mp4", "self", "arr_0"]


def added(features, names=NAMES):
    for number, name in enumerate(names):
        features.add(name, np.full((2, 3), number, "float32"))


def assert_holds(path, names=NAMES):
    with np.load(path) as arrays:
        printed = [name.encode("utf-8", "backslashreplace").decode() for name in names]
        assert arrays.files == printed
        for number, name in enumerate(printed):
            np.testing.assert_array_equal(arrays[name], np.full((2, 3), number, "float32"))


@pytest.mark.parametrize("end", [None, KeyboardInterrupt, OSError])
def test_features_of_any_name_stay_after_any_end(tmp_path, end):
    path = tmp_path / "features.npz"
    try:
        with results.FeatureFile(str(path)) as features:
            added(features)
            if end:
                raise end
    except (KeyboardInterrupt, OSError):
        pass
    assert_holds(path)
    assert list(tmp_path.iterdir()) == [path]


def test_features_are_in_their_place_before_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "_SECONDS", 0.0)
    monkeypatch.setattr(results, "_SHARE", 0)
    path = tmp_path / "features.npz"
    with results.FeatureFile(str(path)) as features:
        added(features, NAMES[:1])
        assert_holds(path, NAMES[:1])
        added(features, NAMES[1:2])
        with zipfile.ZipFile(path) as archive:
            assert len(archive.namelist()) == 2


def test_without_features_an_older_file_stays(tmp_path):
    path = tmp_path / "features.npz"
    path.write_text("old")
    with results.FeatureFile(str(path)):
        pass
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_json_lines_are_in_the_file_at_once(tmp_path):
    path = tmp_path / "x.json"
    with results.json_lines(str(path)) as lines:
        lines.add(video="odd\udcff.mp4", classes=[1])
        assert json.loads(path.read_text()) == {"video": "odd\udcff.mp4", "classes": [1]}
        lines.add(video="b", error="is empty")
    assert len(path.read_text().splitlines()) == 2
    with results.json_lines(None) as lines:
        lines.add(video="a")
