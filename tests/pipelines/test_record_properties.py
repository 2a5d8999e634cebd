"""Shards, indices and lists of any content come back as they were written."""

import dataclasses
import itertools
import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import tried

from pipelines.input.clip_reader import ClipReader
from pipelines.layouts import annotations, csv_list
from pipelines.shards import index_arrays, records, sealed_json, split_index, split_writing

CLASSES = ["a", "b", "é"]
# No text that Python cannot encode: `printable` has seen to that.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
LENGTHS = st.sampled_from([1, 2, 15, 16, 17, 31, 32, 33, 50])


@st.composite
def videos(draw):
    """Up to six videos; their frames begin like JPEG files and are all different."""
    made = []
    for key in draw(st.lists(TEXT, min_size=1, max_size=6, unique=True)):
        length, padding = draw(LENGTHS), draw(st.integers(0, 40))
        frames = [
            b"\xff\xd8" + bytes([n]) * padding + repr((key, n)).encode() for n in range(length)
        ]
        label, fps = draw(st.integers(0, 2)), draw(st.sampled_from([25.0, 29.97, 0.1]))
        height, width = draw(st.integers(1, 5000)), draw(st.integers(1, 5000))
        made.append(records.EncodedVideo(key, label, frames, height, width, fps))
    return made


def as_stored(row):
    """The rate is a number of 32 bits in a shard."""
    return dataclasses.replace(row, fps=float(np.float32(row.fps)))


@pytest.mark.slow
@tried(12)
@given(videos=videos(), cuts=st.lists(st.integers(0, 6), max_size=3), data=st.data())
def test_what_is_written_is_read(tmp_path, videos, cuts, data):
    folder = tmp_path / "data"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    bounds = sorted([0, *(min(cut, len(videos)) for cut in cuts), len(videos)])
    parts = [videos[a:b] for a, b in itertools.pairwise(bounds)]  # some are empty
    paths = [
        split_index.shard_path(str(folder), "train", number, len(parts))
        for number in range(len(parts))
    ]
    rows = [records.write_shard(path, part) for path, part in zip(paths, parts)]
    written = split_writing.write_split(str(folder), "train", rows, CLASSES, {"settings": {}})
    index = split_index.load_index(str(folder), "train")
    assert index.manifest == written and index.keys == [video.key for video in videos]
    assert index.class_names == CLASSES and index.shard_paths == paths
    for path, of_shard in zip(paths, rows):
        assert records.scan_shard(path) == [as_stored(row) for row in of_shard]
    number = data.draw(st.integers(0, len(videos) - 1))
    video = videos[number]
    seen = split_index.read_video(index, number)
    assert seen == dataclasses.replace(video, fps=float(np.float32(video.fps)))
    assert index.digest(number) == records.frames_digest(video.frames)
    reader = ClipReader(index)
    start = data.draw(st.integers(0, len(video.frames) - 1))
    stride, count = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 5))
    clip = reader.open(number).read(start, stride, count).numpy().tolist()
    last = len(video.frames) - 1
    assert clip == [video.frames[min(last, start + n * stride)] for n in range(count)]


@st.composite
def row_lists(draw):
    """Rows of shards that need not be there, with the anchors that their lengths ask for."""
    shards = draw(st.lists(st.lists(LENGTHS, max_size=4), min_size=1, max_size=5))
    places = itertools.count(draw(st.integers(0, 2**50)), 1000)
    digest = draw(st.sampled_from(["", "0f" * 16]))
    return [
        [
            records.VideoRow(
                key=f"{draw(TEXT)}{next(places)}",
                label=draw(st.integers(0, 2**31 - 1)),
                num_frames=length,
                height=draw(st.integers(1, 2**31 - 1)),
                width=draw(st.integers(1, 65_535)),
                fps=draw(st.sampled_from([25.0, 0.125])),
                offset=next(places),
                anchors=[next(places) for _ in range(-(-length // records.ANCHOR_INTERVAL))],
                digest=digest,
            )
            for length in lengths
        ]
        for lengths in shards
    ]


@tried(60)
@given(shards=row_lists())
def test_an_index_holds_all_rows(shards):
    rows = [row for shard in shards for row in shard]
    content = index_arrays.pack(shards)
    assert content == index_arrays.pack(shards)
    if not rows:
        with pytest.raises(ValueError, match="no index"):
            index_arrays.unpack(content, len(shards))
        return
    arrays = index_arrays.unpack(content, len(shards))
    assert arrays["keys"] == [row.key for row in rows]
    numbers = [number for number, shard in enumerate(shards) for _ in shard]
    assert arrays["shards"].tolist() == numbers
    fields = ("labels", "num_frames", "heights", "widths", "fps", "offsets")
    for name in fields:
        field = name if name in ("num_frames", "fps") else name.removesuffix("s")
        assert arrays[name].tolist() == [getattr(row, field) for row in rows], name
    ends = [*arrays["anchor_starts"][1:], len(arrays["anchors"])]
    anchors = [arrays["anchors"][a:b].tolist() for a, b in zip(arrays["anchor_starts"], ends)]
    assert anchors == [row.anchors for row in rows]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.slow
@tried(100)
@given(content=st.dictionaries(st.text(), JSON), indent=st.none() | st.integers(0, 2))
def test_a_seal_fits_its_content_however_it_is_written(content, indent):
    sealed = sealed_json.sealed(content)
    text = json.dumps(sealed, indent=indent, sort_keys=bool(indent)).encode()
    assert sealed_json.opened(text) == sealed
    other = {**sealed, "one more": 1}
    with pytest.raises(ValueError, match="was changed"):
        sealed_json.opened(json.dumps(other).encode())


# --- lists ----------------------------------------------------------------------------------------

NAMES = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters="#\ufeff/."),
    min_size=1,
    max_size=12,
).filter(lambda name: name == name.strip())
TIMES = st.none() | st.integers(0, 100).map(lambda n: n / 4)
LABELS = st.sampled_from(["run", "jump, high", 'the "long" one', "é"])


@st.composite
def list_rows(draw):
    """Lines of a list with a header: paths, labels, and perhaps start, end and split."""
    names = draw(st.lists(NAMES, min_size=1, max_size=8, unique=True))
    rows = []
    for name in names:
        start, length = draw(TIMES), draw(st.none() | st.integers(1, 40))
        end = None if length is None else (start or 0) + length / 4
        rows.append(
            (f"{name}.mp4", draw(LABELS), start, end, draw(st.sampled_from(["train", "test"])))
        )
    return rows


def quoted(field):
    text = "" if field is None else str(field)
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"') else text


@tried(150)
@given(
    rows=list_rows(),
    order=st.permutations(["path", "label", "start", "end", "split"]),
    end=st.sampled_from(["\n", "\r\n"]),
    mark=st.booleans(),
    empty=st.booleans(),
)
def test_lists_say_what_they_were_made_of(tmp_path, rows, order, end, mark, empty):
    names = ["path", "label", "start", "end", "split"]
    lines = [",".join(order)]
    for row in rows:
        named = dict(zip(names, row))
        lines += [",".join(quoted(named[name]) for name in order)] + [""] * empty
    path = tmp_path / "list.csv"
    path.write_bytes(("\ufeff" * mark + end.join(lines) + end).encode())
    labels = sorted({row[1] for row in rows})
    for split in ("train", "test"):
        source = annotations.Source(str(tmp_path), str(path), split)
        listing = csv_list.csv_list(source)
        assert listing.class_names == labels
        clips = list(listing.clips())
        expected = [
            (video, labels.index(label), start, finish)
            for video, label, start, finish, where in rows
            if where == split
        ]
        assert [(clip.path, clip.label, clip.start, clip.end) for clip in clips] == expected
        assert len({clip.key for clip in clips}) == len(clips)


@tried(80)
@given(
    names=st.lists(NAMES, min_size=1, max_size=8, unique=True),
    ids=st.lists(st.integers(0, 30), min_size=8, max_size=8),
    form=st.sampled_from(["{}", "{}.0", "{:02d}"]),
)
def test_ids_are_what_they_say(tmp_path, names, ids, form):
    path = tmp_path / "list.csv"
    lines = [f"{quoted(name)},{form.format(label)}\n" for name, label in zip(names, ids)]
    path.write_bytes("".join(lines).encode())
    listing = csv_list.csv_list(annotations.Source(str(tmp_path), str(path)))
    used = ids[: len(names)]
    assert listing.class_names == [str(number) for number in range(max(used) + 1)]
    assert [(clip.path, clip.label) for clip in listing.clips()] == list(zip(names, used))
