"""Each layout on a small copy of the dataset as its owners publish it."""

import contextlib
import csv
import functools
import json
import os
import time

import changed_files
import pytest
import video_files

from pipelines.conversion import shard_conversion
from pipelines.frames.video_file import VideoError
from pipelines.layouts import annotations, catalog
from pipelines.layouts.annotations import Clip, Source
from pipelines.system import command_line
from pipelines.system.text import printable


def touch(folder, *names):
    for name in names:
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(b"x")


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    return str(path)


def listed(dataset, **arguments):
    listing = catalog.LAYOUTS[dataset](Source(**{k: v for k, v in arguments.items()}))
    clips = list(listing.clips())
    assert clips == list(listing.clips()), "a second iteration must give the same clips"
    return listing.class_names, clips


# --- folder --------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    names = [f"{c}/{c} {n},é.mp4" for c in ("walk", "run", "sit") for n in range(10)]
    touch(tmp_path, *names, "run/.hidden.mp4", "run/notes.txt", "empty/x.txt", "top.mp4")
    return str(tmp_path)


def test_folder_splits_each_class(folder):
    names, train = listed("folder", videos=folder, split="train")
    _, validation = listed("folder", videos=folder, split="validation")
    assert names == ["run", "sit", "walk"]
    assert len(train) + len(validation) == 30 and {clip.label for clip in train} == {0, 1, 2}
    assert not {clip.key for clip in train} & {clip.key for clip in validation}
    clip = train[-1]
    assert clip.path == clip.key and clip.path.startswith("walk/walk ") and clip.label == 2


def test_folder_split_depends_on_names_only(folder, tmp_path):
    other = tmp_path / "elsewhere"
    for label in ("walk", "run", "sit"):
        for name in sorted(os.listdir(os.path.join(folder, label)), reverse=True):
            touch(other, f"{label}/{name}")
    first = listed("folder", videos=folder, split="validation")
    assert listed("folder", videos=str(other), split="validation") == first


@pytest.mark.parametrize("split, share", [("test", 0.2), ("train", 0.0), ("validation", 0.0)])
def test_folder_takes_every_video_otherwise(folder, split, share):
    _, clips = listed("folder", videos=folder, split=split, validation_share=share)
    assert len(clips) == 30


@pytest.mark.parametrize(
    "split, usual", [("validation", "val"), ("validation", "valid"), ("train", "training")]
)
def test_folder_knows_splits_by_their_usual_names(folder, split, usual):
    assert listed("folder", videos=folder, split=usual) == listed(
        "folder", videos=folder, split=split
    )


def test_folder_keeps_a_video_in_its_split_when_others_come_and_go(folder):
    before = {clip.path for clip in listed("folder", videos=folder, split="validation")[1]}
    touch(folder, *(f"walk/new {n}.mp4" for n in range(500)))
    after = {clip.path for clip in listed("folder", videos=folder, split="validation")[1]}
    assert before == {path for path in after if "new" not in path}
    # 500 x 0.2, within four standard deviations
    assert abs(len(after - before) - 100) < 4 * (500 * 0.2 * 0.8) ** 0.5


def test_folder_says_what_it_left_out(folder):
    touch(folder, "sit/deep/er/a.mp4", "only/deeper/b.mp4")
    listing = catalog.LAYOUTS["folder"](Source(videos=folder, validation_share=0))
    assert listing.class_names == ["run", "sit", "walk"]
    assert listing.notes == (
        "Left out: 1 videos beside the folders of the classes: top.mp4.",
        "Left out: 2 videos in a folder inside of a class's: only/deeper/b.mp4, sit/deep/er/a.mp4.",
        "Left out: 2 files without the ending of a video: empty/x.txt, run/notes.txt.",
        "Left out: 1 folders without any video: empty.",
    )


@pytest.mark.parametrize("split, other", [("train", "validation"), ("validation", "train")])
def test_folder_says_what_is_in_the_other_split(tmp_path, split, other):
    touch(tmp_path, *(f"{c}/{n}.mp4" for c in "abcdefgh" for n in range(2)))
    listing = catalog.LAYOUTS["folder"](Source(videos=str(tmp_path), split=split))
    clips = list(listing.clips())
    without = sorted(set(range(8)) - {clip.label for clip in clips})
    note = f"{len(clips)} of 16 videos belong to this split and {16 - len(clips)} to '{other}'"
    assert listing.notes[0].startswith(note)
    told = listing.notes[1:] and listing.notes[1].startswith(
        f"{len(without)} classes have no video in this split: {'abcdefgh'[without[0]]}"
    )
    assert bool(told) == bool(without)


def test_folder_of_which_a_split_gets_nothing(tmp_path):
    touch(tmp_path, "a/1.mp4")
    for split, share in (("validation", 1e-9), ("train", 1 - 1e-9)):
        with pytest.raises(ValueError, match=f"None of the 1 videos in .* belongs to '{split}'"):
            listed("folder", videos=str(tmp_path), split=split, validation_share=share)


def test_folder_of_splits(tmp_path):
    touch(tmp_path, "train/a/1.mp4", "train/b/2.mp4", "train/b/3.mp4", "val/a/4.mp4", "val/b/5.mp4")
    names, train = listed("folder", videos=str(tmp_path), split="train")
    assert names == ["a", "b"] and [clip.label for clip in train] == [0, 1, 1]
    _, validation = listed("folder", videos=str(tmp_path), split="validation")
    assert [clip.path for clip in validation] == ["val/a/4.mp4", "val/b/5.mp4"]
    with pytest.raises(ValueError, match=r"has a folder 'train' with classes and none .*'test'"):
        listed("folder", videos=str(tmp_path), split="test")


def test_folder_of_a_class_that_is_called_as_a_split(tmp_path):
    touch(tmp_path, "train/1.mp4", "train/.thumbnails/1.jpg", "walk/2.mp4")
    names, clips = listed("folder", videos=str(tmp_path), validation_share=0)
    assert names == ["train", "walk"]
    assert [clip.path for clip in clips] == ["train/1.mp4", "walk/2.mp4"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"videos": "EMPTY"}, "No video was found"),
        ({"videos": "FOLDER", "validation_share": 1.0}, "Received: validation_share=1.0"),
        ({"videos": "NEWLINE"}, "A class name must be one line"),
        ({"videos": "BYTES"}, "A class name must be one line of Unicode"),
    ],
)
def test_folder_errors(folder, tmp_path, arguments, message):
    touch(tmp_path / "EMPTY", "class/x.txt")
    touch(tmp_path / "NEWLINE", "a\nb/x.mp4")
    touch(tmp_path / "BYTES", "a\udcff/x.mp4")
    path = folder if arguments["videos"] == "FOLDER" else str(tmp_path / arguments["videos"])
    with pytest.raises(ValueError, match=message):
        listed("folder", **{**arguments, "videos": path})


# --- csv -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a.mp4,run\nb.mp4,sit\n", [("a.mp4", "run"), ("b.mp4", "sit")]),
        ("path,label\r\na.mp4,run\r\n\r\n", [("a.mp4", "run")]),
        ("\ufefflabel, path\nrun, a.mp4\n", [("a.mp4", "run")]),
        ("a b/c, d.mp4,run\n", [("a b/c, d.mp4", "run")]),
        ('"a, b.mp4",run\n', [("a, b.mp4", "run")]),
        ('"a ""b"".mp4","run, fast"\n', [('a "b".mp4', "run, fast")]),
        ('"a\nb.mp4",run\nc.mp4,run\n', [("a\nb.mp4", "run"), ("c.mp4", "run")]),
        ("a b.mp4 run\n", [("a b.mp4", "run")]),
        ("é\u202e.mp4,läuft\n", [("é\u202e.mp4", "läuft")]),
        ("a\udcff.mp4,run\n", [("a\udcff.mp4", "run")]),
        # A quote within a bare path opens nothing, and the lines after it stay lines.
        ('6" pipe.mp4,run\nb.mp4,sit\n', [('6" pipe.mp4', "run"), ("b.mp4", "sit")]),
        ('a "b".mp4,run\nc".mp4,run\n', [('a "b".mp4', "run"), ('c".mp4', "run")]),
        ('"a""",run\n"b\r\n,""c"" d",run\n', [('a"', "run"), ('b\r\n,"c" d', "run")]),
        ("path label\na b.mp4 run\nc.mp4 sit\n", [("a b.mp4", "run"), ("c.mp4", "sit")]),
    ],
)
def test_csv_lines(tmp_path, text, expected):
    path = write(tmp_path / "list.csv", text)
    names, clips = listed("csv", videos=str(tmp_path), annotations=path)
    assert names == sorted({label for _, label in expected})
    assert [(clip.path, names[clip.label]) for clip in clips] == expected
    for clip in clips:
        assert clip.key.encode() and clip.key == printable(clip.path)


def test_csv_times(tmp_path):
    text = "path,start,end,label\na.mp4,1.5,4,run\na.mp4,,2,run\nb.mp4,3,,sit\nc.mp4,,,sit\n"
    _, clips = listed("csv", videos="v", annotations=write(tmp_path / "list.csv", text))
    assert clips == [
        Clip("a.mp4#1.5-4", "a.mp4", 0, 1.5, 4.0),
        Clip("a.mp4#0-2", "a.mp4", 0, None, 2.0),
        Clip("b.mp4#3-", "b.mp4", 1, 3.0, None),
        Clip("c.mp4", "c.mp4", 1, None, None),
    ]


def test_csv_times_are_told_apart(tmp_path):
    text = "path,label,start,end\na.mp4,run,10000.21,10001\na.mp4,run,10000.24,10001\n"
    _, clips = listed("csv", videos="v", annotations=write(tmp_path / "list.csv", text))
    assert [clip.key for clip in clips] == ["a.mp4#10000.21-10001", "a.mp4#10000.24-10001"]


def test_csv_of_several_splits(tmp_path):
    text = "path,label,split\na,run,train\nb,sit,val\nc,run,test\nd,walk,test\n"
    path = write(tmp_path / "list.csv", text)
    for split, expected in (("train", ["a"]), ("validation", ["b"]), ("test", ["c", "d"])):
        names, clips = listed("csv", videos="v", annotations=path, split=split)
        assert names == ["run", "sit", "walk"] and [clip.path for clip in clips] == expected


def test_csv_ids(tmp_path):
    path = write(tmp_path / "list.csv", "a.mp4,2\nb.mp4,0\n")
    names, clips = listed("csv", videos="v", annotations=path)
    assert names == ["0", "1", "2"] and [clip.label for clip in clips] == [2, 0]
    known = ("run", "sit", "walk")
    names, clips = listed("csv", videos="v", annotations=path, class_names=known)
    assert tuple(names) == known and [clip.label for clip in clips] == [2, 0]
    with pytest.raises(ValueError, match=r"class id 2, and the label map .* has 2 classes"):
        listed("csv", videos="v", annotations=path, class_names=("run", "sit"))


def numbered(comment, form="{}", count=12):
    return comment + "".join(f"{n}.mp4,{form.format(n % count)}\n" for n in range(30))


@pytest.mark.parametrize(
    "text",
    [
        numbered("# exported list\n"),
        numbered("# path,label\n#\n"),
        numbered("path,label\n# a.mp4,walk\n"),
        numbered("", "{}.0"),
        numbered("", "{:02d}"),
    ],
)
def test_csv_ids_keep_their_numbers_whatever_stands_around_them(tmp_path, text):
    names, clips = listed("csv", videos="v", annotations=write(tmp_path / "list.csv", text))
    assert names == [str(n) for n in range(12)]
    assert [clip.label for clip in clips] == [n % 12 for n in range(30)]


def test_csv_a_file_whose_name_begins_with_a_hash_is_a_video(tmp_path):
    touch(tmp_path, "#1.mp4")
    path = write(tmp_path / "list.csv", "#1.mp4,run\n#2.mp4,run\n")
    _, clips = listed("csv", videos=str(tmp_path), annotations=path)
    assert [clip.path for clip in clips] == ["#1.mp4"]


@pytest.mark.parametrize(
    "extra, line, label",
    [("x.mp4,walk\n", 31, "walk"), ("x.mp4,-1\n", 31, "-1"), ("x.mp4,2.5\n", 31, "2.5")],
)
def test_csv_a_label_that_is_no_id_among_ids_is_named(tmp_path, extra, line, label):
    path = write(tmp_path / "list.csv", numbered("") + extra)
    with pytest.raises(ValueError, match=rf"list\.csv, line {line} has the label '{label}'"):
        listed("csv", videos="v", annotations=path)


def test_csv_numbers_among_names_are_named_unless_the_label_map_has_them(tmp_path):
    path = write(tmp_path / "list.csv", "a,run\nb,sit\nc,360\n")
    with pytest.raises(ValueError, match=r"line 3 has the label '360', and .*line 1 has 'run'"):
        listed("csv", videos="v", annotations=path)
    known = ("sit", "run", "360")
    assert set(listed("csv", videos="v", annotations=path, class_names=known)[0]) == set(known)


def test_csv_ids_that_begin_at_1_are_spoken_of(tmp_path):
    path = write(tmp_path / "list.csv", "a,1\nb,2\nc,1\n")
    (note,) = catalog.LAYOUTS["csv"](Source(videos="v", annotations=path)).notes
    assert "1 of 3 classes have no video in the list, with id 0" in note
    assert "seem to begin at 1" in note
    path = write(tmp_path / "list.csv", "a,0\nb,7\n")
    (note,) = catalog.LAYOUTS["csv"](Source(videos="v", annotations=path)).notes
    assert "6 of 8 classes have no video in the list, with id 1, 2, 3 and others." in note


def test_csv_one_file_has_one_name(tmp_path):
    text = f"./a.mp4,run\nb//c.mp4,run\n{tmp_path}/d.mp4,run\n../e.mp4,run\n"
    path = write(tmp_path / "list.csv", text)
    _, clips = listed("csv", videos=str(tmp_path), annotations=path)
    assert [clip.path for clip in clips] == ["a.mp4", "b/c.mp4", "d.mp4", "../e.mp4"]
    assert [clip.key for clip in clips] == [clip.path for clip in clips]


def test_csv_folder_of_lists(tmp_path):
    write(tmp_path / "train.csv", "a.mp4,run\n")
    write(tmp_path / "val.csv", "b.mp4,run\n")
    folder = str(tmp_path)
    assert listed("csv", videos="v", annotations=folder, split="train")[1][0].path == "a.mp4"
    assert listed("csv", videos="v", annotations=folder, split="validation")[1][0].path == "b.mp4"


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "lists no video"),
        ("path,label\n", "lists no video"),
        ("path,label,split\na,run,train\nb,run,\n", "line 3 has an empty split"),
        ("a.mp4\n", "line 1 has 1 fields where path,label"),
        ("a.mp4,run\nb.mp4,\n", "line 2 lacks a path or a label"),
        ("path,label,start\na,b,c,d\n", "line 2 has 4 fields where path,label,start"),
        ("path,label,start,end\na,b,3,1\n", "line 2 ends before it starts"),
        ("path,label,start,end\na,b,x,1\n", "a time must be a number of seconds. Received: 'x'"),
        ("path,label,start,end\na,b,nan,1\n", "a time must be a number of seconds"),
        ("path,label,start_time\na,b,3\n", "names 'start_time'; the columns are end, lab"),
        ("path,label,\na,b,\n", "names ''; the columns"),
        ("path,label,group,fold,split\n", r"'group', 'fold'; the .* by: cut -d, -f1,2,5 OLD"),
        ("a.mp4,99999999\n", "A class id must be below 1000000"),
        ("video,class\na.mp4,1\n", "line 1 is a header and does not name the columns path and"),
        ("filename label\na.mp4 1\n", "line 1 is a header and does not name the columns path and"),
        ('a.mp4,run\n\n"b.mp4,run\nc.mp4,run\n', "line 3 does not end: a field begins with a quo"),
        ('"' + "b.mp4,run\n" * 400_000, "line 1 does not end: a field begins with a quote"),
        ("\0" * 100_000, "line 1 does not end: .* or it is no list"),
    ],
)
def test_csv_errors(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        listed("csv", videos="v", annotations=write(tmp_path / "list.csv", text))


def test_a_quote_that_is_never_closed_costs_no_time(tmp_path):
    before = time.process_time()
    with pytest.raises(ValueError, match="line 1 does not end"):
        listed("csv", videos="v", annotations=write(tmp_path / "list.csv", '"' + "a\n" * 40_000))
    assert time.process_time() - before < 5


def test_lists_that_are_missing(tmp_path):
    with pytest.raises(ValueError, match=r"needs --annotations=FILE .* Received: none"):
        listed("csv", videos="v")
    with pytest.raises(ValueError, match=r"nowhere.csv does not exist"):
        listed("csv", videos="v", annotations=str(tmp_path / "nowhere.csv"))
    with pytest.raises(ValueError, match=r"has none of train.csv, training.csv"):
        listed("csv", videos="v", annotations=str(tmp_path))


# --- Kinetics ------------------------------------------------------------------------------------

KINETICS = [
    ("arm wrestling", "-0abcDEF_12", 7, 17, "train"),
    ("arm wrestling", "bbbbbbbbbbb", 0, 10, "train"),
    ("zumba", "ccccccccccc", 115, 125, "train"),
    ("zumba", "ddddddddddd", 3, 13, "train"),
    ("zumba", "eeeeeeeeeee", 20, 30, "train"),
    ("zumba", "fffffffffff", 5, 15, "val"),
]


def write_kinetics(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["label", "youtube_id", "time_start", "time_end", "split"])
        writer.writerows(rows)


@pytest.mark.parametrize("dataset", ["kinetics400", "kinetics600", "kinetics700"])
def test_kinetics(tmp_path, dataset):
    videos = tmp_path / "videos"
    touch(
        videos,
        "arm wrestling/-0abcDEF_12_000007_000017.mp4",
        "arm_wrestling/bbbbbbbbbbb_000000_000010.mkv",
        "ccccccccccc_000115_000125.webm",
        "zumba/ddddddddddd.mp4",
    )
    write_kinetics(tmp_path / "lists" / "train.csv", KINETICS)
    for where in (tmp_path / "lists", tmp_path / "lists" / "train.csv"):
        names, clips = listed(dataset, videos=str(videos), annotations=str(where))
        assert names == ["arm wrestling", "zumba"]
        assert clips == [
            Clip("-0abcDEF_12_000007_000017", "arm wrestling/-0abcDEF_12_000007_000017.mp4", 0),
            Clip("bbbbbbbbbbb_000000_000010", "arm_wrestling/bbbbbbbbbbb_000000_000010.mkv", 0),
            Clip("ccccccccccc_000115_000125", "ccccccccccc_000115_000125.webm", 1),
            Clip("ddddddddddd_000003_000013", "zumba/ddddddddddd.mp4", 1, 3.0, 13.0),
            Clip("eeeeeeeeeee_000020_000030", "zumba/eeeeeeeeeee_000020_000030.mp4", 1),
        ]


@pytest.mark.parametrize("above", ["val", "validate", "videos_val", "val_256"])
@pytest.mark.parametrize("below", ["", "zumba"])
def test_kinetics_below_a_folder_of_the_split(tmp_path, above, below):
    path = os.path.join(above, below, "fffffffffff_000005_000015.mp4")
    touch(tmp_path / "videos", path, "train/fffffffffff_000005_000015.mp4")
    write_kinetics(tmp_path / "val.csv", KINETICS)
    _, clips = listed(
        "kinetics400",
        videos=str(tmp_path / "videos"),
        annotations=str(tmp_path / "val.csv"),
        split="validation",
    )
    assert [clip.path for clip in clips] == [path]


def test_kinetics_validation_under_each_name(tmp_path):
    for name in ("val.csv", "validate.csv", "kinetics-400_val.csv", "kinetics_val.csv"):
        write_kinetics(tmp_path / name / name, KINETICS)
        for split in ("validation", "val", "validate"):
            _, clips = listed(
                "kinetics400", videos="v", annotations=str(tmp_path / name), split=split
            )
            assert [clip.key for clip in clips] == ["fffffffffff_000005_000015"]


def test_kinetics_lists_of_path_and_label(tmp_path):
    path = write(tmp_path / "train_list_videos.txt", "zumba/a b.mp4 1\narm wrestling/c.mp4 0\n")
    for where in (path, str(tmp_path)):
        _, clips = listed("kinetics400", videos="v", annotations=where)
        assert [(clip.path, clip.label) for clip in clips] == [
            ("zumba/a b.mp4", 1),
            ("arm wrestling/c.mp4", 0),
        ]


def test_kinetics_errors(tmp_path):
    path = write(tmp_path / "test.csv", "youtube_id,time_start,time_end,split\na,1,2,test\n")
    with pytest.raises(ValueError, match=r"has no column label. The test lists of some"):
        listed("kinetics400", videos="v", annotations=path, split="test")
    write_kinetics(tmp_path / "train.csv", KINETICS[-1:])
    with pytest.raises(ValueError, match="lists no video of split 'train'"):
        listed("kinetics400", videos="v", annotations=str(tmp_path))


@pytest.mark.parametrize(
    "row", ["zumba,a", "zumba,a,,10", ",a,0,10", "zumba,a,10,10", "zumba,a,x,10", "zumba,a,0,inf"]
)
def test_kinetics_rows_that_make_no_sense(tmp_path, row):
    header = "label,youtube_id,time_start,time_end,split\n"
    path = write(tmp_path / "train.csv", f"{header}zumba,b,0,10,train\n{row}\n")
    with pytest.raises(ValueError, match=r"train.csv, line 3: expected a label, an id, and two"):
        listed("kinetics400", videos="v", annotations=path)
    # Rows of other splits need make none: test lists have no labels.
    path = write(tmp_path / "all.csv", f"{header}zumba,b,0,10,train\n,c,0,10,test\n")
    assert len(listed("kinetics400", videos="v", annotations=path)[1]) == 1


def test_mini_kinetics(tmp_path):
    lists = tmp_path / "lists"
    write_kinetics(lists / "train.csv", KINETICS)
    write_kinetics(lists / "validate.csv", KINETICS)
    write(lists / "train_ytid_list.txt", "ccccccccccc\nddddddddddd\nunknown\n")
    write(lists / "val_ytid_list.txt", "fffffffffff\n")
    names, clips = listed("mini_kinetics", videos="v", annotations=str(lists))
    assert names == ["zumba"]
    assert [c.key for c in clips] == ["ccccccccccc_000115_000125", "ddddddddddd_000003_000013"]
    _, clips = listed("mini_kinetics", videos="v", annotations=str(lists), split="validation")
    assert [clip.key for clip in clips] == ["fffffffffff_000005_000015"]
    with pytest.raises(ValueError, match="needs a folder as --annotations"):
        listed("mini_kinetics", videos="v", annotations=str(lists / "train.csv"))


# --- Something-Something-v2 ----------------------------------------------------------------------

TEMPLATES = {
    "Pushing something from left to right": "1",
    "Approaching something with your camera": "0",
    "Putting something on something": "2",
}


@pytest.mark.parametrize("prefix", ["", "something-something-v2-"])
def test_something_something_v2(tmp_path, prefix):
    entry = {"id": "78687", "label": "pushing a cup from left to right", "placeholders": ["a cup"]}
    entry["template"] = "Pushing [something] from left to right"
    other = {"id": "42", "template": "Putting [something] on [something]"}
    write(tmp_path / f"{prefix}labels.json", json.dumps(TEMPLATES))
    write(tmp_path / f"{prefix}train.json", json.dumps([entry, other]))
    write(tmp_path / f"{prefix}validation.json", json.dumps([dict(other, id="7")]))
    where = {"videos": "v", "annotations": str(tmp_path)}
    names, clips = listed("something_something_v2", **where)
    assert names == sorted(TEMPLATES, key=lambda name: int(TEMPLATES[name]))
    assert clips == [Clip("78687", "78687.webm", 1), Clip("42", "42.webm", 2)]
    assert listed("something_something_v2", split="val", **where)[1] == [Clip("7", "7.webm", 2)]


def test_something_something_v2_errors(tmp_path):
    where = {"videos": "v", "annotations": str(tmp_path)}
    with pytest.raises(ValueError, match=r"has none of labels.json"):
        listed("something_something_v2", **where)
    write(tmp_path / "labels.json", "[1")
    with pytest.raises(ValueError, match=r"labels.json is not JSON"):
        listed("something_something_v2", **where)
    write(tmp_path / "labels.json", "[]")
    with pytest.raises(ValueError, match="holds a list, expected a dict"):
        listed("something_something_v2", **where)
    write(tmp_path / "labels.json", json.dumps({"a": "1", "b": "2"}))
    with pytest.raises(ValueError, match="does not number its 2 templates from 0 on"):
        listed("something_something_v2", **where)
    write(tmp_path / "labels.json", json.dumps(TEMPLATES))
    write(tmp_path / "test.json", json.dumps([{"id": "1"}]))
    with pytest.raises(ValueError, match="which those of the test split lack"):
        listed("something_something_v2", split="test", **where)
    write(tmp_path / "train.json", json.dumps([{"id": "1", "template": "Doing [something]"}]))
    with pytest.raises(ValueError, match=r"template that labels.json lacks: 'Doing \[something\]'"):
        listed("something_something_v2", **where)
    with pytest.raises(ValueError, match="needs --annotations=FOLDER"):
        listed("something_something_v2", videos="v", annotations=str(tmp_path / "test.json"))
    for entry in ([], None, {"template": "Putting [something]"}, {"id": [1], "template": "a"}):
        write(tmp_path / "train.json", json.dumps([entry]))
        with pytest.raises(ValueError, match=r"train.json: each entry must have an id and a templ"):
            listed("something_something_v2", **where)


# --- UCF101 and HMDB51 ---------------------------------------------------------------------------


def test_ucf101(tmp_path):
    write(tmp_path / "classInd.txt", "1 ApplyEyeMakeup\r\n2 ApplyLipstick\r\n")
    for number in (1, 2, 3):
        train = f"ApplyEyeMakeup/v_ApplyEyeMakeup_g0{number}_c01.avi 1\r\n"
        train += "ApplyLipstick/v_ApplyLipstick_g08_c01.avi 2\r\n"
        write(tmp_path / f"trainlist0{number}.txt", train)
        write(tmp_path / f"testlist0{number}.txt", f"ApplyLipstick/v_g0{number}_c02.avi\r\n")
    where = {"videos": "v", "annotations": str(tmp_path)}
    for number in (1, 2, 3):
        names, clips = listed("ucf101", split_number=number, **where)
        path = f"ApplyEyeMakeup/v_ApplyEyeMakeup_g0{number}_c01.avi"
        assert names == ["ApplyEyeMakeup", "ApplyLipstick"]
        assert clips[0] == Clip(path, path, 0) and clips[1].label == 1
        for split in ("test", "validation"):
            _, clips = listed("ucf101", split_number=number, split=split, **where)
            path = f"ApplyLipstick/v_g0{number}_c02.avi"
            assert clips == [Clip(path, path, 1)]


def test_ucf101_errors(tmp_path):
    where = {"videos": "v", "annotations": str(tmp_path)}
    with pytest.raises(ValueError, match="Received: split_number=4"):
        listed("ucf101", split_number=4, **where)
    with pytest.raises(ValueError, match=r"Received: split=extra"):
        listed("ucf101", split="extra", **where)
    with pytest.raises(ValueError, match=r"has none of classInd.txt"):
        listed("ucf101", **where)
    write(tmp_path / "classInd.txt", "1 A\n3 B\n")
    with pytest.raises(ValueError, match="does not number its 2 classes from 1 on"):
        listed("ucf101", **where)
    for text in ("A\n", "one A\n", "1\n"):
        write(tmp_path / "classInd.txt", text)
        with pytest.raises(ValueError, match=r"classInd.txt: expected lines `<number> <class>`"):
            listed("ucf101", **where)
    write(tmp_path / "classInd.txt", "1 A\n2 A\n")
    with pytest.raises(ValueError, match=r"classInd.txt names two classes 'A'"):
        listed("ucf101", **where)
    write(tmp_path / "classInd.txt", "1 A\n")
    write(tmp_path / "trainlist01.txt", "B/v.avi 1\n")
    with pytest.raises(ValueError, match=r"a video of no class in classInd.txt: 'B/v.avi'"):
        listed("ucf101", **where)
    with pytest.raises(ValueError, match="UCF101 needs --annotations=FOLDER"):
        listed("ucf101", videos="v", annotations=str(tmp_path / "classInd.txt"))


def test_hmdb51(tmp_path):
    for number in (1, 2, 3):
        write(
            tmp_path / f"brush_hair_test_split{number}.txt", "a_#20 x.avi 1 \nb.avi 2 \nc.avi 0 \n"
        )
        write(tmp_path / f"wave_test_split{number}.txt", f"d{number}.avi 2\n")
    where = {"videos": "v", "annotations": str(tmp_path)}
    names, clips = listed("hmdb51", split_number=2, **where)
    assert names == ["brush_hair", "wave"]
    assert clips == [Clip("brush_hair/a_#20 x.avi", "brush_hair/a_#20 x.avi", 0)]
    _, clips = listed("hmdb51", split_number=2, split="test", **where)
    assert [(clip.path, clip.label) for clip in clips] == [
        ("brush_hair/b.avi", 0),
        ("wave/d2.avi", 1),
    ]


def test_hmdb51_errors(tmp_path):
    where = {"videos": "v", "annotations": str(tmp_path)}
    with pytest.raises(ValueError, match="Received: split_number=0"):
        listed("hmdb51", split_number=0, **where)
    with pytest.raises(ValueError, match="Received: split=all"):
        listed("hmdb51", split="all", **where)
    with pytest.raises(ValueError, match=r"has no files <class>_test_split1.txt"):
        listed("hmdb51", **where)
    with pytest.raises(ValueError, match="HMDB51 needs --annotations=FOLDER"):
        listed("hmdb51", videos="v")
    write(tmp_path / "wave_test_split1.txt", "a.avi 1\nb.avi\n")
    with pytest.raises(
        ValueError, match=r"line 2: expected `<clip>.avi 0\|1\|2`. Received: 'b.avi'"
    ):
        listed("hmdb51", **where)


# --- what all share ------------------------------------------------------------------------------


def published_lists(folder):
    """A list of each layout, where a damaged one is put."""
    header = "label,youtube_id,time_start,time_end,split\n"
    rows = "".join(f"zumba,{i:011d},{i},{i + 10},train\n" for i in range(5))
    entry = {"id": "78687", "template": "Putting [something] on [something]"}
    write(folder / "classInd.txt", "1 A\n2 B\n")
    write(folder / "labels.json", json.dumps(TEMPLATES))
    return {
        "csv": write(folder / "list.csv", 'path,label\n"a b.mp4",1\nc.mp4,0\n'),
        "kinetics400": write(folder / "train.csv", header + rows),
        "something_something_v2": write(folder / "train.json", json.dumps([entry] * 3)),
        "ucf101": write(folder / "trainlist01.txt", "A/v_A_g01_c01.avi 1\nB/v_B_g01_c01.avi 2\n"),
        "hmdb51": write(folder / "wave_test_split1.txt", "a.avi 1\nb.avi 2\nc.avi 0\n"),
    }


@pytest.mark.parametrize(
    "dataset, name",
    [
        ("csv", "list.csv"),
        ("kinetics400", "train.csv"),
        ("something_something_v2", "train.json"),
        ("something_something_v2", "labels.json"),
        ("ucf101", "trainlist01.txt"),
        ("ucf101", "classInd.txt"),
        ("hmdb51", "wave_test_split1.txt"),
    ],
)
def test_damaged_lists_give_clips_or_name_the_file(tmp_path, dataset, name):
    path = published_lists(tmp_path)[dataset]
    where = path if dataset in ("csv", "kinetics400") else str(tmp_path)
    damaged = tmp_path / name
    for number, content in changed_files.mutations(damaged.read_bytes(), 250):
        with changed_files.named(number, content):
            damaged.write_bytes(content)
            try:
                _, clips = listed(dataset, videos=str(tmp_path), annotations=where)
            except ValueError as error:
                assert str(tmp_path) in str(error), error
                command_line.paragraph(str(error)).encode()
            else:
                for clip in clips:
                    assert clip.key.encode()
                    with contextlib.suppress(VideoError):
                        assert shard_conversion.path_inside(str(tmp_path), clip.path)


def test_every_layout_with_a_usual_loss_exists():
    assert set(catalog.USUAL_FAILURES) <= set(catalog.LAYOUTS)


def test_merging_label_maps():
    assert annotations.merge_class_names(["b", "c"], ["a", "b", "c"], "labels.txt") == [1, 2]
    with pytest.raises(ValueError, match=r"'x' and 1 more of this dataset is not in it"):
        annotations.merge_class_names(["a", "x", "y"], ["a"], "labels.txt")


def test_video_files_are_known_by_their_ending(tmp_path):
    is_video = functools.partial(annotations.ends_in, suffixes=annotations.VIDEO_SUFFIXES)
    assert is_video("a.MP4") and is_video("a b.webm")
    assert not is_video("a.txt") and not is_video("._a.mp4")
    assert os.path.exists(video_files.write_numbered(tmp_path / "a.mp4", 1))
