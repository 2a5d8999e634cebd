import json
import math
import os
import random
import resource
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import video_files
from paths import SHARED
from video_files import decode, numbers, write_numbered, write_video

from pipelines.frames.encoded_frames import VideoError, check_settings, scaled_size
from pipelines.frames.video_file import read_frames

VIDEOS = str(SHARED / "videos")


def shown(times, count, fps=25):
    """The frame seen in each slot, in floating point: the last one whose nearest slot has come."""
    slots = [math.floor((time - times[0]) * fps + 0.5) for time in times]
    return [max(n for n, slot in enumerate(slots) if slot <= k) for k in range(count)]


# --- time ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rate, frames, expected",
    [(25, 25, 25), (28, 28, 25), (30, 45, 38), (6, 12, 50), (Fraction(30000, 1001), 60, 50)],
)
def test_frames_are_placed_by_the_clock(tmp_path, rate, frames, expected):
    path = write_numbered(tmp_path / "v.mp4", frames, rate=rate)
    clip = read_frames(path, short_side=None)
    assert len(clip.frames) == expected and clip.fps == 25
    assert numbers(clip.frames) == shown([n / rate for n in range(frames)], expected)


def test_the_clock_is_the_one_of_libavs_fps_filter(tmp_path):
    path = write_numbered(tmp_path / "v.mp4", 41, rate=Fraction(24000, 1001))
    graph = av.filter.Graph()
    with av.open(path) as container:
        stream = container.streams.video[0]
        source = graph.add_buffer(template=stream, time_base=stream.time_base)
        graph.link_nodes(source, graph.add("fps", "25"), graph.add("buffersink")).configure()
        for frame in container.decode(stream):
            graph.vpush(frame)
        graph.vpush(None)
    expected = []
    while True:
        try:
            expected.append(graph.vpull().to_ndarray(format="rgb24"))
        except (av.error.EOFError, av.error.BlockingIOError):
            break
    clip = read_frames(path, short_side=None)
    assert numbers(clip.frames) == [video_files.frame_number(image) for image in expected]


def test_variable_frame_rate(tmp_path):
    times = [0, 0.04, 0.5, 0.52, 0.53, 1.0, 1.9]
    path = write_numbered(tmp_path / "v.mkv", len(times), times=times)
    clip = read_frames(path, short_side=None)
    # The last frame's own length is not known to a millisecond.
    assert 48 <= len(clip.frames) <= 50
    assert numbers(clip.frames)[:48] == shown(times, 48)


@pytest.mark.parametrize("name, codec", [("v.mkv", "ffv1"), ("v.ts", "libx264")])
@pytest.mark.parametrize("first", [-0.48, 3.2])
def test_the_first_frame_is_at_slot_0_wherever_its_clock_starts(tmp_path, name, codec, first):
    path = write_numbered(
        tmp_path / name,
        25,
        codec=codec,
        times=[first + n / 25 for n in range(25)],
        container_options={"avoid_negative_ts": "disabled"},
    )
    with av.open(path) as container:
        frame = next(container.decode(video=0))
        assert frame.pts * frame.time_base == pytest.approx(first, abs=1e-3)
    assert numbers(read_frames(path, short_side=None).frames) == list(range(25))


def test_missing_duration(tmp_path):
    path = write_numbered(tmp_path / "v.mkv", 25, container_options={"live": "1"})
    with av.open(path) as container:
        assert container.duration is None and container.streams.video[0].duration is None
    assert numbers(read_frames(path, short_side=None).frames) == list(range(25))


def test_a_video_of_one_frame(tmp_path):
    path = write_numbered(tmp_path / "v.mp4", 1, rate=120)
    assert len(read_frames(path).frames) == 1


def test_repeated_frames_are_encoded_once(tmp_path):
    clip = read_frames(write_numbered(tmp_path / "v.mp4", 3, rate=5))
    assert len(clip.frames) == 15 and len({id(frame) for frame in clip.frames}) == 3


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.ts", "v.avi"])
@pytest.mark.parametrize("start, end", [(0, 1.2), (2.4, 3.6), (5.0, None), (None, 0.02), (7, 99)])
def test_trimming_equals_the_part_of_the_whole(tmp_path, name, start, end):
    path = write_numbered(tmp_path / name, 200, options={"g": "60", "bf": "3"})
    whole = read_frames(path, short_side=None).frames
    part = read_frames(path, short_side=None, start=start, end=end).frames
    first = round((start or 0) * 25)
    last = len(whole) if end is None or end > 8 else max(1, math.floor(end * 25 + 0.5))
    assert numbers(part) == numbers(whole[first:last])


def test_trimming_behind_the_end_is_an_error(tmp_path):
    path = write_numbered(tmp_path / "v.mp4", 25)
    with pytest.raises(VideoError, match=r"v\.mp4: has no frame from 3 s to 4 s"):
        read_frames(path, start=3, end=4)


# --- space ---------------------------------------------------------------------------------------

QUARTERS = [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)]
MIRRORED = [(-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0), (0, -1, -1, 0)]


@pytest.mark.parametrize("matrix", QUARTERS + MIRRORED)
def test_rotation_and_mirroring_in_the_metadata(tmp_path, matrix):
    path = write_numbered(tmp_path / "v.mp4", 2, height=64, width=96)
    video_files.set_display_matrix(path, *matrix)
    a, b, c, d = matrix
    places = {"top left": (-1, -1), "top right": (1, -1), "bottom left": (-1, 1)}
    places["bottom right"] = (1, 1)
    moved = {(a * x + c * y, b * x + d * y): name for name, (x, y) in places.items()}
    expected = [moved[place] for place in places.values()]
    clip = read_frames(path, short_side=32)
    assert (clip.height, clip.width) == ((32, 48) if a else (48, 32))
    image = decode(clip.frames[1])
    assert image.shape[:2] == (clip.height, clip.width)
    assert video_files.corner_names(image) == expected


@pytest.mark.parametrize(
    "size, short_side, upscale, expected",
    [
        ((127, 333), None, True, (127, 333)),
        ((127, 333), 64, True, (64, 168)),
        ((333, 127), 64, True, (168, 64)),
        ((127, 333), 200, True, (200, 524)),
        ((127, 333), 200, False, (127, 333)),
    ],
)
def test_odd_sizes_and_scaling(tmp_path, size, short_side, upscale, expected):
    height, width = size
    # 4:2:0 cannot be written at odd sizes by every encoder; 4:4:4 can.
    path = write_numbered(
        tmp_path / "v.mkv", 3, height=height, width=width, codec="ffv1", pixel_format="yuv444p"
    )
    clip = read_frames(path, short_side=short_side, upscale=upscale)
    assert (clip.height, clip.width) == expected
    image = decode(clip.frames[2])
    assert image.shape == (*expected, 3)
    assert video_files.corner_names(image) == list(video_files.CORNERS)
    assert numbers(clip.frames) == [0, 1, 2]


def test_scaling_keeps_everything_in_place(tmp_path):
    # A ramp: after scaling, every pixel still shows its own relative place.
    x = np.linspace(16, 235, 320)[None, :, None]
    ramp = np.broadcast_to(x, (180, 320, 3)).astype(np.uint8)
    path = write_video(tmp_path / "v.mkv", [ramp] * 2, codec="ffv1", pixel_format="yuv444p")
    image = decode(read_frames(path, short_side=90, quality=1).frames[0]).mean(axis=(0, 2))
    assert image.shape == (160,)
    centres = (np.arange(160) + 0.5) * 2 - 0.5
    expected = np.interp(centres, np.arange(320), x[0, :, 0])
    np.testing.assert_allclose(image, expected, atol=2)


def test_scaled_size_of_squares_and_slivers():
    assert scaled_size(200, 200, 256) == (256, 256)
    assert scaled_size(3, 2, 1) == (2, 1)
    assert scaled_size(640, 360, 256) == (455, 256)
    assert scaled_size(360, 640, 256) == (256, 455)


def test_the_resolution_may_change_within_a_stream(tmp_path):
    parts = []
    for name, size in (("a.ts", (64, 96)), ("b.ts", (48, 72))):
        path = write_numbered(tmp_path / name, 10, height=size[0], width=size[1])
        parts.append(open(path, "rb").read())
    (tmp_path / "v.h264").write_bytes(b"")
    with open(tmp_path / "v.h264", "wb") as file:
        for name in ("a.ts", "b.ts"):
            with av.open(str(tmp_path / name)) as container:
                file.writelines(bytes(p) for p in container.demux(video=0) if p.size)
    clip = read_frames(str(tmp_path / "v.h264"))
    assert numbers(clip.frames) == list(range(10)) * 2
    assert {decode(frame).shape for frame in clip.frames} == {(256, 384, 3)}


# --- colour --------------------------------------------------------------------------------------

COLOURS = [(200, 40, 40), (40, 180, 60), (50, 60, 210), (230, 230, 230), (20, 20, 20)]


def colour_error(path):
    images = [decode(frame) for frame in read_frames(str(path), quality=1).frames]
    return max(
        np.abs(image[8:-8, 8:-8].reshape(-1, 3).mean(0) - colour).max()
        for image, colour in zip(images, COLOURS, strict=True)
    )


@pytest.mark.parametrize(
    "codec, pixel_format, attributes",
    [
        ("libx264", "yuv420p", {"color_range": 1}),
        ("libx264", "yuvj420p", {"color_range": 2}),
        ("libx264", "yuv420p", {"color_range": 1, "colorspace": 1}),
        ("libx264", "yuv420p", {"color_range": 1, "colorspace": 5}),
        ("libx264", "yuv444p", {"color_range": 1}),
        ("libx264", "yuv422p10le", {"color_range": 1}),
        ("libx265", "yuv420p10le", {"color_range": 1}),
        ("libx264rgb", "rgb24", {}),
        ("libvpx-vp9", "yuv420p", {"color_range": 1}),
        ("mpeg4", "yuv420p", {}),
        ("ffv1", "yuv420p16le", {"color_range": 1}),
        ("png", "rgb24", {}),
    ],
)
def test_colours(tmp_path, codec, pixel_format, attributes):
    images = [np.full((64, 96, 3), colour, np.uint8) for colour in COLOURS]
    quality = {"libx264": {"qp": "4"}, "libx265": {"x265-params": "qp=4:log-level=error"}}
    path = write_video(
        tmp_path / ("v.mov" if codec == "png" else "v.mkv"),
        images,
        codec=codec,
        pixel_format=pixel_format,
        options=quality.get(codec),
        **attributes,
    )
    assert colour_error(path) <= 5


def test_gray_and_palette(tmp_path):
    images = [np.full((64, 96, 3), value, np.uint8) for value in (30, 128, 220)]
    for name, codec, pixel_format in (("a.mkv", "ffv1", "gray"), ("b.gif", "gif", "rgb8")):
        path = write_video(tmp_path / name, images, codec=codec, pixel_format=pixel_format)
        clip = read_frames(path, quality=1)
        means = [decode(frame).mean() for frame in clip.frames]
        # 3-bit levels are 36 apart.
        assert np.abs(np.subtract(sorted(set(np.round(means))), (30, 128, 220))).max() <= 20


def test_interlaced_frames_lose_their_comb(tmp_path):
    # Each field shows an edge elsewhere, as in a pan: weaving both gives a comb.
    def woven(number):
        image = np.zeros((128, 192, 3), np.uint8)
        image[0::2, : 24 + 16 * number] = 255
        image[1::2, : 32 + 16 * number] = 255
        return image

    def comb(image):
        rows = image[8:-8].astype(float).mean(-1)
        return np.abs(2 * rows[1:-1] - rows[:-2] - rows[2:]).mean()

    images = [woven(n) for n in range(10)]
    options = {"flags": "+ildct+ilme", "top": "1", "b": "20000000", "alternate_scan": "1"}
    path = write_video(tmp_path / "v.mpg", images, codec="mpeg2video", options=options)
    with av.open(path) as container:
        frames = list(container.decode(video=0))
        assert all(frame.interlaced_frame for frame in frames)
        before = np.mean([comb(frame.to_ndarray(format="rgb24")) for frame in frames])
    clip = read_frames(path, short_side=None)
    assert len(clip.frames) == 10
    after = np.mean([comb(decode(frame)) for frame in clip.frames])
    assert after < before / 3
    widths = [decode(frame).mean() for frame in clip.frames]
    assert widths == sorted(widths), "deinterlacing changed the order of the frames"


@pytest.fixture
def usual_priority():
    """Takes back the real-time priority that SVT-AV1 gives to the thread that starts it."""
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    yield
    os.sched_setscheduler(0, policy, parameters)


@pytest.mark.parametrize(
    "name, codec, pixel_format",
    [
        ("v.avi", "mpeg4", "yuv420p"),
        ("v.webm", "libvpx-vp9", "yuv420p"),
        ("v.webm", "libvpx", "yuv420p"),
        ("v.mp4", "libx265", "yuv420p10le"),
        ("v.mov", "mjpeg", "yuvj420p"),
        ("v.flv", "flv1", "yuv420p"),
        ("v.wmv", "wmv2", "yuv420p"),
        ("v.mpg", "mpeg2video", "yuv420p"),
        ("v.mp4", "libsvtav1", "yuv420p"),
    ],
)
def test_codecs_and_containers(tmp_path, name, codec, pixel_format, usual_priority):
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    path = write_numbered(
        tmp_path / name, 25, codec=codec, pixel_format=pixel_format, options=options
    )
    clip = read_frames(path, short_side=None)
    assert numbers(clip.frames) == list(range(25))


def test_quality_changes_size_and_bytes_repeat(tmp_path):
    random_state = np.random.default_rng(0)
    images = [random_state.integers(0, 256, (64, 96, 3), np.uint8) for _ in range(3)]
    path = write_video(tmp_path / "v.mp4", images)
    sizes = [sum(map(len, read_frames(path, quality=q).frames)) for q in (1, 4, 31)]
    assert sizes[0] > 1.5 * sizes[1] > 2 * sizes[2]
    assert read_frames(path).frames == read_frames(path).frames


def test_sound_beside_the_video_changes_nothing(tmp_path):
    silent = write_numbered(tmp_path / "a.mp4", 10)
    sounding = write_numbered(tmp_path / "b.mp4", 10, audio=True)
    assert read_frames(silent).frames == read_frames(sounding).frames


# --- damage and malice ---------------------------------------------------------------------------


def failure(path, **settings):
    with pytest.raises(VideoError) as caught:
        read_frames(str(path), **settings)
    assert str(caught.value) == f"{path}: {caught.value.cause}"
    return caught.value.cause


def test_missing_empty_and_irregular_files(tmp_path):
    (tmp_path / "empty.mp4").touch()
    os.mkfifo(tmp_path / "pipe.mp4")
    assert failure(tmp_path / "absent.mp4") == "No such file or directory"
    assert failure(tmp_path / "empty.mp4") == "is empty (0 bytes)"
    assert failure(tmp_path / "pipe.mp4") == "is not a regular file"
    assert failure(tmp_path) == "is not a regular file"
    assert "null byte" in failure(f"{tmp_path}/a\0b.mp4")


def test_audio_only(tmp_path):
    cause = failure(video_files.write_audio(tmp_path / "a.mp4"))
    assert cause == "has no video stream that can be decoded"


def test_wrong_extension(tmp_path):
    (tmp_path / "v.mp4").write_text("this is no video\n" * 100)
    assert "not a video" in failure(tmp_path / "v.mp4")
    mislabelled = write_numbered(tmp_path / "real.mkv", 5)
    os.rename(mislabelled, tmp_path / "real.avi")
    assert numbers(read_frames(str(tmp_path / "real.avi")).frames) == list(range(5))


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXTINF:1,\nfile://{path}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{path}'\n",
    ],
)
def test_play_lists_do_not_open_other_files(tmp_path, text):
    secret = write_numbered(tmp_path / "secret.ts", 5)
    (tmp_path / "v.mp4").write_text(text.format(path=secret))
    assert "not a video" in failure(tmp_path / "v.mp4")


def test_names_are_never_taken_for_protocols(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_numbered("secret.mp4", 3)
    for name in ("concat:secret.mp4|secret.mp4", "subfile:secret.mp4", "pipe:0", "-.mp4"):
        assert failure(name) == "No such file or directory"
        os.link("secret.mp4", name)
        assert len(read_frames(name).frames) == 3
        os.remove(name)


@pytest.mark.parametrize("name", ["a b, c.mp4", "ünï—\u202e.mp4", "line\nbreak.mp4", "\udcff.mp4"])
def test_strange_names(tmp_path, name):
    os.rename(write_numbered(tmp_path / "v.mp4", 3), tmp_path / name)
    assert len(read_frames(str(tmp_path / name)).frames) == 3


def test_metadata_in_another_encoding(tmp_path):
    path = write_numbered(tmp_path / "v.mkv", 3)
    content = Path(path).read_bytes()
    assert b"Lavf" in content, "the name of the program that wrote the file"
    Path(path).write_bytes(content.replace(b"Lavf", b"\xe9\xe8\xff\xfe"))
    assert len(read_frames(path).frames) == 3


@pytest.mark.parametrize("name, share", [("v.mp4", 0.6), ("v.mkv", 0.05)])
def test_truncated_headers(tmp_path, name, share):
    path = write_numbered(tmp_path / name, 25)
    video_files.cut(path, share)
    assert "damaged or not a video" in failure(path) or "no video stream" in failure(path)


def test_truncated_frames(tmp_path):
    noise = np.random.default_rng(1).integers(0, 256, (100, 64, 96, 3), np.uint8)
    path = write_video(
        tmp_path / "v.mp4", noise, container_options={"movflags": "faststart"}, options={"bf": "0"}
    )
    video_files.cut(path, 0.5)
    assert "damaged" in failure(path) or "cut short" in failure(path)


@pytest.mark.parametrize("audio", [False, True])
def test_truncated_matroska(tmp_path, audio):
    noise = np.random.default_rng(1).integers(0, 256, (100, 64, 96, 3), np.uint8)
    path = write_video(tmp_path / "v.mkv", noise, options={"g": "5", "bf": "0"}, audio=audio)
    assert len(read_frames(path).frames) == 100
    video_files.cut(path, 0.5)
    cause = failure(path)
    assert "damaged" in cause or "cut short: its header announces 4.00 s" in cause


def test_flipped_bits_give_frames_or_a_clear_failure(tmp_path):
    path = write_numbered(tmp_path / "v.mp4", 50)
    content = open(path, "rb").read()
    generator = random.Random(7)
    outcomes = []
    for _ in range(40):
        damaged = bytearray(content)
        for _bit in range(20):
            damaged[generator.randrange(len(damaged))] ^= 1 << generator.randrange(8)
        (tmp_path / "d.mp4").write_bytes(damaged)
        try:
            clip = read_frames(str(tmp_path / "d.mp4"))
        except VideoError as error:
            outcomes.append(error.cause)
        else:
            outcomes.append(len(clip.frames))
            assert clip.frames and decode(clip.frames[-1]).shape == (clip.height, clip.width, 3)
    assert any(isinstance(outcome, str) for outcome in outcomes), json.dumps(outcomes)


def test_slivers_and_huge_frames_are_refused(tmp_path):
    sliver = np.zeros((1, 100_000, 3), np.uint8)
    path = write_video(tmp_path / "a.mkv", [sliver], codec="ffv1", pixel_format="yuv444p")
    assert "would become 25600000x256: too large" in failure(path)
    assert "too large" in failure(path, short_side=None)
    for height, width in ((1, 30_000), (30_000, 1)):
        image = np.zeros((height, width, 3), np.uint8)
        path = write_video(tmp_path / "b.mov", [image], codec="png", pixel_format="rgb24")
        for settings in ({"short_side": None}, {"upscale": False}, {"short_side": 1}):
            cause = failure(path, **settings)
            assert f"frames of {width}x{height} pixels: one side is more than 64 times" in cause


@pytest.mark.parametrize("headers", [[b"IHDR"], [b"IHDR", b"strf"]])
def test_a_decompression_bomb_is_refused_before_it_unfolds(tmp_path, headers):
    # A file of a few hundred bytes that says it holds 60,000 x 60,000 pixels, 10 GB a frame.
    path = write_numbered(tmp_path / "v.avi", 2, codec="png", pixel_format="rgb24")
    content = bytearray(open(path, "rb").read())
    for name in headers:
        place, order = -1, "big" if name == b"IHDR" else "little"
        while (place := content.find(name, place + 1)) >= 0:
            at = place + (4 if name == b"IHDR" else 12)
            content[at : at + 8] = (60_000).to_bytes(4, order) * 2
    (tmp_path / "b.avi").write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cause = failure(tmp_path / "b.avi")
    assert "damaged" in cause or "has frames of 60000x60000" in cause
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000


def test_a_gap_of_years_between_frames_is_refused(tmp_path):
    path = write_numbered(tmp_path / "v.mkv", 3, codec="ffv1", times=[0, 1, 1e6])
    assert "gives more than 1 GiB of JPEG" in failure(path)


# --- arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"fps": 0}, "Received: fps=0"),
        ({"fps": float("nan")}, "Received: fps=nan"),
        ({"short_side": 0}, "Received: short_side=0"),
        ({"quality": 32}, "Received: quality=32"),
        ({"start": -1}, "Received: start=-1"),
        ({"start": 2, "end": 2}, "Received: start=2, end=2"),
    ],
)
def test_bad_arguments(settings, message):
    with pytest.raises(ValueError, match=message):
        read_frames("v.mp4", **settings)


def test_good_settings():
    check_settings(29.97, None, 1)


def test_errors_survive_pickling():
    import pickle

    error = pickle.loads(pickle.dumps(VideoError("a.mp4", "is empty")))
    assert (error.path, error.cause, str(error)) == ("a.mp4", "is empty", "a.mp4: is empty")


# --- real files ----------------------------------------------------------------------------------


@pytest.mark.skipif(not os.path.isdir(VIDEOS), reason="the real test files are not here")
@pytest.mark.parametrize(
    "name, count, size",
    [
        ("arm_wrestling_28fps.mp4", 250, (256, 340)),
        ("flipping_a_pancake.mkv", 258, (256, 454)),
        ("ntsc_29.97fps.mp4", 250, (256, 454)),
        ("slow_6fps.mp4", 238, (256, 340)),
        ("short_32_frames.mp4", 28, (256, 340)),
        ("mpeg4_320x240.avi", 164, (256, 341)),
        ("hevc_10bit.mp4", 25, (256, 256)),
        ("video_0.mov", 3, (256, 454)),
        ("video_90.mov", 3, (454, 256)),
    ],
)
def test_real_files(name, count, size):
    clip = read_frames(os.path.join(VIDEOS, name))
    assert len(clip.frames) == count
    assert (clip.height, clip.width) == size


@pytest.mark.skipif(not os.path.isdir(VIDEOS), reason="the real test files are not here")
def test_real_files_at_their_own_size():
    assert read_frames(f"{VIDEOS}/flipping_a_pancake.mkv", upscale=False)[1:3] == (240, 426)
    upright = read_frames(f"{VIDEOS}/video_90.mov", short_side=None)
    assert (upright.height, upright.width) == (568, 320)


@pytest.mark.skipif(not os.path.isdir(VIDEOS), reason="the real test files are not here")
def test_real_damaged_file():
    path = f"{VIDEOS}/corrupted.mp4"
    assert "damaged" in failure(path)
