"""Files with holes, which libav reads without raising, and good ones that look like it."""

import io
import os
import re

import av
import numpy as np
import pytest
import video_files
from PIL import Image
from video_files import numbers, write_numbered, write_video

from pipelines.frames import any_file
from pipelines.frames.encoded_frames import VideoError
from pipelines.frames.video_file import read_frames


def noise(count=40, strength=40):
    """Numbered frames that need some hundred bytes each."""
    grain = np.random.default_rng(0).integers(0, strength, (count, 64, 96, 3))
    for number in range(count):
        yield np.clip(video_files.numbered_frame(number) + grain[number] - 20, 0, 255).astype("u1")


def holed(path, share, length=512):
    """Zeros a part of a file."""
    with open(path, "rb+") as file:
        content = bytearray(file.read())
        place = int(len(content) * share)
        content[place : place + length] = bytes(length)
        file.seek(0)
        file.write(content)
    return str(path)


def failure(path, **settings):
    with pytest.raises(VideoError) as caught:
        any_file.read_frames(str(path), **settings)
    return caught.value.cause


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
@pytest.mark.parametrize(
    "name, codec, options",
    [
        ("v.mkv", "libx264", {"g": "10"}),
        ("v.mkv", "mjpeg", {}),
        ("v.mkv", "ffv1", {}),
        ("v.gif", "gif", {}),
        ("v.ts", "libx265", {"x265-params": "log-level=none"}),
        ("v.avi", "mjpeg", {}),
        ("v.wmv", "wmv2", {}),
    ],
)
def test_a_hole_is_damage_or_is_said(tmp_path, name, codec, options, share):
    formats = {"mjpeg": "yuvj420p", "gif": "rgb8"}
    pixel_format = formats.get(codec, "yuv420p")
    path = write_video(
        tmp_path / name, noise(), codec=codec, pixel_format=pixel_format, options=options
    )
    whole = read_frames(path)
    assert whole.notes == ()
    try:
        clip = read_frames(holed(path, share))
    except VideoError as error:
        assert "damaged" in error.cause
    else:  # it hit what is no frame, or the frame that is missing is named
        missing = "its header announces 40 frames, it holds 39"
        assert clip.frames == whole.frames or clip.notes == (missing,)


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9", "mpeg4"])
def test_a_hole_between_the_frames_of_matroska_is_heard(tmp_path, codec):
    path = write_numbered(tmp_path / "v.mkv", 40, codec=codec)
    with av.open(path) as container:
        packets = list(container.demux(video=0))
    content = bytearray(open(path, "rb").read())
    # The header of a block, and little of the frame in it.
    place = content.index(bytes(packets[20])[:16]) - 8
    content[place : place + 10] = bytes(10)
    (tmp_path / "d.mkv").write_bytes(content)
    assert "damaged" in failure(tmp_path / "d.mkv")


def test_a_hole_at_the_end_of_matroska_is_damage(tmp_path):
    path = write_numbered(tmp_path / "v.mkv", 40, codec="libvpx", options={"g": "5"})
    with av.open(path) as container:
        packets = list(container.demux(video=0))
    content = bytearray(open(path, "rb").read())
    place = content.index(bytes(packets[33])[:16]) - 8
    end = content.index(bytes(packets[39])[:16], place)
    content[place:end] = bytes(end - place)
    (tmp_path / "d.mkv").write_bytes(content)
    assert "damaged: libav found a hole in it" in failure(tmp_path / "d.mkv")


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.avi", "v.ts", "v.flv", "v.mpg"])
def test_zeros_behind_a_video_are_no_damage(tmp_path, name):
    codec = "mpeg2video" if name == "v.mpg" else "libx264"
    path = write_numbered(tmp_path / name, 20, codec=codec)
    with open(path, "ab") as file:
        file.write(bytes(3000))
    assert numbers(read_frames(path, short_side=None).frames) == list(range(20))


@pytest.mark.parametrize("codec, options", [("libx264", {}), ("mpeg2video", {"bf": "2"})])
def test_a_recording_that_begins_in_the_middle_is_no_damage(tmp_path, codec, options):
    path = write_video(tmp_path / "v.ts", noise(), codec=codec, options={"g": "10", **options})
    content = open(path, "rb").read()
    start = len(content) * 2 // 5 // 188 * 188
    (tmp_path / "d.ts").write_bytes(content[start:])
    found = numbers(read_frames(str(tmp_path / "d.ts"), short_side=None).frames)
    assert found == list(range(found[0], 40)) and 5 <= found[0] <= 25


def test_hevc_that_begins_in_the_middle_shows_no_gray(tmp_path):
    options = {"x265-params": "log-level=none:keyint=10:min-keyint=10"}
    path = write_video(tmp_path / "v.ts", noise(), codec="libx265", options=options)
    content = open(path, "rb").read()
    start = len(content) * 2 // 5 // 188 * 188
    (tmp_path / "d.ts").write_bytes(content[start:])
    found = numbers(read_frames(str(tmp_path / "d.ts"), short_side=None).frames)
    assert found == list(range(found[0], 40)) and 5 <= found[0] <= 25


def test_the_same_damage_is_heard_in_each_file(tmp_path):
    path = holed(write_video(tmp_path / "v.mkv", noise(), codec="ffv1"), 0.5)
    assert failure(path) == failure(path)


def test_what_libav_calls_an_error_is_a_note(tmp_path):
    path = write_numbered(tmp_path / "v.h264", 20)
    content = open(path, "rb").read()
    # A type of unit that has no meaning, between two frames.
    with av.open(path) as container:
        second = bytes(list(container.demux(video=0))[10])
    odd = b"\x00\x00\x01\x06\x05\xff\xff\xff\x80"  # a message that announces more than it has
    (tmp_path / "d.h264").write_bytes(content.replace(second, odd + second))
    clip = read_frames(str(tmp_path / "d.h264"), short_side=None)
    assert numbers(clip.frames) == list(range(20))
    assert "libav says 'h264: SEI type 5" in clip.notes[0]


def test_a_wmv_that_is_cut_between_frames_is_said(tmp_path):
    path = write_numbered(tmp_path / "v.wmv", 100, codec="wmv2")
    assert read_frames(path).notes == ()
    content = open(path, "rb").read()
    found = set()
    for size in range(len(content) * 6 // 10, len(content) * 7 // 10, 40):
        (tmp_path / "d.wmv").write_bytes(content[:size])
        try:
            found.update(read_frames(str(tmp_path / "d.wmv")).notes)
        except VideoError as error:
            assert "damaged" in error.cause
    assert "its header's length is another file's: it may be cut short" in found


def test_a_second_file_behind_the_first_is_said(tmp_path):
    path = write_video(tmp_path / "v.mp4", noise(40, strength=200), options={"qp": "10"})
    content = open(path, "rb").read()
    (tmp_path / "d.mp4").write_bytes(content * 2)
    assert len(content) > 1 << 16
    (note,) = read_frames(str(tmp_path / "d.mp4")).notes
    assert re.fullmatch(r"its last \d{6} bytes hold nothing that is read; was it joined\?", note)


# --- images and streams of them ------------------------------------------------------------------


def jpegs(count=8, **options):
    images = []
    for number in range(count):
        buffer = io.BytesIO()
        image = Image.fromarray(video_files.numbered_frame(number))
        image.save(buffer, "JPEG", quality=95, **options)
        images.append(buffer.getvalue())
    return images


@pytest.mark.parametrize("name", ["v.avi", "v.mp4", "v", "v.MJPG"])
def test_a_stream_of_images_is_a_video_under_any_name(tmp_path, name):
    (tmp_path / name).write_bytes(b"".join(jpegs()))
    path = str(tmp_path / name)
    assert numbers(any_file.read_frames(path, short_side=None).frames) == list(range(8))
    part = any_file.read_frames(path, short_side=None, start=0.08, end=0.2)
    assert numbers(part.frames) == [2, 3, 4]


def test_a_stream_of_png_images(tmp_path):
    content = b""
    for number in range(4):
        buffer = io.BytesIO()
        Image.fromarray(video_files.numbered_frame(number)).save(buffer, "PNG")
        content += buffer.getvalue()
    (tmp_path / "v.mp4").write_bytes(content)
    clip = any_file.read_frames(str(tmp_path / "v.mp4"), short_side=None)
    assert numbers(clip.frames) == [0, 1, 2, 3]


def test_images_stay_images(tmp_path):
    first, second, *_ = jpegs()
    exif = Image.Exif()
    exif[0x010F] = "maker"
    thumbnail = jpegs(1, exif=exif.tobytes())[0]
    views = first[:2] + b"\xff\xe2\x00\x08MPF\0\0\0" + first[2:] + second
    for name, content in [
        ("one.mp4", first),
        ("thumbnail.mp4", thumbnail),
        ("views.mp4", views),
        ("two.jpg", first + second),
        ("text.mp4", first + b"and what a camera wrote behind it"),
    ]:
        (tmp_path / name).write_bytes(content)
        clip = any_file.read_frames(str(tmp_path / name), short_side=None)
        assert numbers(clip.frames) == [0], name


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("kind", ["hole", "end"])
def test_images_that_lost_pixels_are_damaged(tmp_path, kind, progressive):
    grain = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    path = tmp_path / "x.jpg"
    Image.fromarray(grain).resize((160, 120), Image.Resampling.BICUBIC).save(
        path, quality=80, progressive=progressive
    )
    content = path.read_bytes()
    middle = len(content) // 3
    if kind == "hole":
        path.write_bytes(content[:middle] + bytes(512) + content[middle + 512 :])
    else:
        path.write_bytes(content[:middle] + b"\xff\xd9")
    assert Image.open(path).convert("RGB").size == (160, 120), "Pillow says nothing"
    assert "damaged or not an image: libav says" in failure(path)


def test_sound_with_a_cover_is_no_video(tmp_path):
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=8000)
        cover = container.add_stream("mjpeg", rate=1)
        cover.height, cover.width, cover.pix_fmt = 64, 96, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        image = av.VideoFrame.from_ndarray(video_files.numbered_frame(0), "rgb24")
        container.mux(cover.encode(image.reformat(format="yuvj420p")))
        container.mux(cover.encode(None))
        video_files.write_silence(container, sound, seconds=3)
    assert failure(path) == "has no video: its only picture is the cover of its sound"
    assert os.path.getsize(path) > 1000
