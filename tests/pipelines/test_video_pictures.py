"""What frames say of themselves: colours that are rare, sides that are cut off, which way is up."""

import io
import struct
import tempfile

import av
import numpy as np
import pytest
import video_files
from PIL import Image
from video_files import decode, numbers, write_numbered, write_video

from pipelines.frames import matroska_crop, mp4_crop
from pipelines.frames.encoded_frames import VideoError
from pipelines.frames.video_file import read_frames


def write_levels(path, levels, **tags):
    """Writes frames of gray, given as shares of the video range, in 10 bits."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p10le"
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        for number, level in enumerate(levels):
            frame = av.VideoFrame(96, 64, "yuv420p10le")
            for plane, value in zip(frame.planes, (round(64 + 876 * level), 512, 512)):
                plane.update(np.full(plane.buffer_size // 2, value, np.uint16).tobytes())
            frame.pts = number
            for name, value in tags.items():
                setattr(frame, name, value)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return str(path)


def pq(light):
    """SMPTE ST 2084: the signal of a light in cd/m2."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    power = (light / 10_000) ** m1
    return ((c1 + c2 * power) / (1 + c3 * power)) ** m2


def hlg(light):
    """BT.2100: the signal of a gray of that light on a screen of 1000 cd/m2."""
    scene = (light / 1000) ** (1 / 1.2)
    if scene <= 1 / 12:
        return (3 * scene) ** 0.5
    return 0.17883277 * np.log(12 * scene - 0.28466892) + 0.55991073


@pytest.mark.parametrize("transfer, signal, name", [(16, pq, "PQ"), (18, hlg, "HLG")])
def test_white_of_high_dynamic_range_becomes_white(tmp_path, monkeypatch, transfer, signal, name):
    lights = [0.0, 10, 50, 100, 203, 900]
    tags = {"color_trc": transfer, "color_primaries": 9, "colorspace": 9, "color_range": 1}
    path = write_levels(tmp_path / "v.mkv", map(signal, lights), **tags)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    clip = read_frames(path, short_side=None, quality=1)
    # The process may be killed at any time from now on.
    assert not list((tmp_path / "temporary").iterdir())
    found = [decode(frame).mean() for frame in clip.frames]
    # The light of a usual screen, of gamma 2.4, whose white is the 203 cd/m2 of HDR's.
    expected = [255 * min(1, light / 203) ** (1 / 2.4) for light in lights]
    assert found == pytest.approx(expected, abs=4)
    assert clip.notes == (
        f"its high dynamic range ({name}) was brought to the usual one: what is brighter than its "
        "reference white, 203 cd/m2, is white",
    )


@pytest.mark.parametrize("number", [0, 8, 10, 11, 12, 13, 14, 15, 16, 17])
def test_rare_matrices_are_guessed_and_said(tmp_path, number):
    path = write_numbered(tmp_path / "v.ts", 3, options={"qp": "10"})
    with av.open(path) as container, open(tmp_path / "d.h264", "wb") as file:
        stream = container.streams.video[0]
        tag = f"h264_metadata=matrix_coefficients={number}:video_full_range_flag=0"
        tagged = av.BitStreamFilterContext(tag, stream)
        for packet in container.demux(stream):
            file.writelines(map(bytes, tagged.filter(packet if packet.size else None)))
    with av.open(str(tmp_path / "d.h264")) as container:
        assert next(container.decode(video=0)).colorspace == number
    clip = read_frames(str(tmp_path / "d.h264"), short_side=None)
    assert numbers(clip.frames) == [0, 1, 2]
    assert "colour" in clip.notes[0] and len(clip.notes) == 1
    if number != 10:  # what libav took for BT.601 is so
        assert video_files.corner_names(decode(clip.frames[0])) == list(video_files.CORNERS)


def test_interlaced_video_that_changes_its_size(tmp_path):
    parts = b""
    options = {"flags": "+ildct+ilme", "top": "1", "b": "20000000", "alternate_scan": "1"}
    for name, size in (("a.ts", (64, 96)), ("b.ts", (96, 144))):
        path = write_numbered(
            tmp_path / name,
            10,
            height=size[0],
            width=size[1],
            codec="mpeg2video",
            options=options,
        )
        parts += open(path, "rb").read()
    (tmp_path / "v.ts").write_bytes(parts)
    clip = read_frames(str(tmp_path / "v.ts"), short_side=None)
    found = numbers(clip.frames)
    assert found[:9] == list(range(9)) and found[-9:] == list(range(1, 10))
    assert 19 <= len(found) <= 20
    assert {decode(frame).shape for frame in clip.frames} == {(64, 96, 3)}


@pytest.mark.parametrize("ending", ["avi", "mov", "mkv"])
def test_side_data_that_pyav_has_no_name_for(tmp_path, ending):
    path = write_jpegs(tmp_path / f"v.{ending}", orientation=1)
    assert numbers(read_frames(path, short_side=None).frames) == list(range(5))


def test_the_rotation_is_read_beside_such_side_data(tmp_path):
    path = write_jpegs(tmp_path / "v.mov", orientation=None)
    video_files.set_display_matrix(path, 0, 1, -1, 0)
    clip = read_frames(path, short_side=None)
    assert (clip.height, clip.width) == (96, 64)
    turned = ["bottom left", "top left", "bottom right", "top right"]
    assert video_files.corner_names(decode(clip.frames[0])) == turned


def write_jpegs(path, orientation):
    """Muxes JPEG images as cameras write them."""
    exif = Image.Exif()
    exif[0x010F] = "maker"
    if orientation:
        exif[0x0112] = orientation
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuvj420p"
        for number in range(5):
            buffer = io.BytesIO()
            image = Image.fromarray(video_files.numbered_frame(number))
            image.save(buffer, "JPEG", quality=95, exif=exif.tobytes())
            packet = av.Packet(buffer.getvalue())
            packet.pts = packet.dts = number
            packet.time_base = stream.codec_context.time_base or 1 / stream.average_rate
            packet.stream = stream
            packet.is_keyframe = True
            container.mux(packet)
    return str(path)


def cropped(path, **cuts):
    """Writes Matroska's crop in the place of its colours."""
    ids = {"left": 0x54CC, "top": 0x54BB, "right": 0x54DD, "bottom": 0x54AA}
    content = bytearray(open(path, "rb").read())
    place = content.index(b"\x55\xb0\x90")
    content[place : place + 19] = b"\xec\x81\x00" + b"".join(
        ids[name].to_bytes(2, "big") + b"\x81" + bytes([cuts.get(name, 0)]) for name in ids
    )
    with open(path, "wb") as file:
        file.write(content)


COLOURS = {"color_range": 1, "colorspace": 6, "color_primaries": 6, "color_trc": 6}


def test_what_matroska_crops_is_cut_off(tmp_path):
    images = [np.pad(video_files.numbered_frame(n), [(3, 8), (5, 2), (0, 0)]) for n in range(3)]
    path = write_video(tmp_path / "v.mkv", images, codec="ffv1", pixel_format="yuv444p", **COLOURS)
    assert read_frames(path, short_side=None)[1:3] == (75, 103)
    cropped(path, left=5, top=3, right=2, bottom=8)
    assert matroska_crop.crop_of(path, 0) == (5, 3, 2, 8)
    clip = read_frames(path, short_side=None)
    assert (clip.height, clip.width) == (64, 96)
    assert numbers(clip.frames) == [0, 1, 2]
    assert video_files.corner_names(decode(clip.frames[0])) == list(video_files.CORNERS)
    assert read_frames(path, short_side=32)[1:3] == (32, 48)


def with_aperture(path, *aperture):
    """Adds a clean aperture to the first sample entry of an MP4 file, whose tables are its end."""
    content = bytearray(open(path, "rb").read())
    box = struct.pack(">I4sIIIIiIiI", 40, b"clap", *aperture)
    place = content.index(b"stsd") + 12  # after the kind of box, flags and the number of entries
    place += int.from_bytes(content[place : place + 4], "big")
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"mp4v"):
        begin = content.index(kind, 0 if kind == b"moov" else content.index(b"moov")) - 4
        size = int.from_bytes(content[begin : begin + 4], "big") + len(box)
        content[begin : begin + 4] = size.to_bytes(4, "big")
    content[place:place] = box
    with open(path, "wb") as file:
        file.write(content)


def test_what_is_outside_of_an_mp4_s_aperture_is_cut_off(tmp_path):
    images = [np.pad(video_files.numbered_frame(n), [(4, 8), (6, 2), (0, 0)]) for n in range(3)]
    path = write_video(tmp_path / "v.mp4", images, codec="mpeg4")
    assert read_frames(path, short_side=None)[1:3] == (76, 104)
    assert mp4_crop.crop_of(path, 0) == matroska_crop.NOTHING
    # 96x64, its centre 2 to the right of the frame's and 2 above it, as 4 / 2.
    with_aperture(path, 96, 1, 128, 2, 4, 2, -2, 1)
    assert mp4_crop.crop_of(path, 0) == (6, 4, 2, 8)
    assert mp4_crop.crop_of(path, 1) == matroska_crop.NOTHING
    clip = read_frames(path, short_side=None)
    assert (clip.height, clip.width) == (64, 96)
    assert numbers(clip.frames) == [0, 1, 2]
    assert video_files.corner_names(decode(clip.frames[0])) == list(video_files.CORNERS)


@pytest.mark.parametrize(
    "aperture",
    [(96, 0, 64, 1, 0, 1, 0, 1), (120, 1, 64, 1, 0, 1, 0, 1), (0, 1, 64, 1, 0, 1, 0, 1)],
)
def test_an_aperture_that_makes_no_sense_crops_nothing(tmp_path, aperture):
    path = write_numbered(tmp_path / "v.mp4", 1, codec="mpeg4")
    with_aperture(path, *aperture)
    assert mp4_crop.crop_of(path, 0) == matroska_crop.NOTHING
    content = open(path, "rb").read()
    for length in (0, 5, content.index(b"clap") + 9):
        (tmp_path / "cut.mp4").write_bytes(content[:length])
        assert mp4_crop.crop_of(str(tmp_path / "cut.mp4"), 0) == matroska_crop.NOTHING


def test_a_crop_that_leaves_nothing_is_refused(tmp_path):
    path = write_numbered(tmp_path / "v.mkv", 3, codec="ffv1", pixel_format="yuv444p", **COLOURS)
    cropped(path, top=32, bottom=32)
    with pytest.raises(VideoError, match="damaged or not a video"):
        read_frames(path)


@pytest.mark.parametrize("length", [0, 3, 40, 300, 700])
def test_a_table_of_tracks_that_is_cut_crops_nothing(tmp_path, length):
    path = write_numbered(tmp_path / "v.mkv", 1, codec="ffv1")
    content = open(path, "rb").read()
    (tmp_path / "d.mkv").write_bytes(content[:length])
    assert matroska_crop.crop_of(str(tmp_path / "d.mkv"), 0) == matroska_crop.NOTHING
    assert matroska_crop.crop_of(path, 1) == matroska_crop.NOTHING
