"""Clips out of videos whose clocks start late, start anew or jump, and of those without a clock."""

import math

import av
import pytest
import video_files
from video_files import numbers, write_numbered, write_video

from pipelines.frames.video_file import read_frames

MPEG_2 = {"codec": "mpeg2video", "options": {"bf": "2"}}
HEVC = {"codec": "libx265", "options": {"x265-params": "log-level=none:keyint=30"}}


def shown(path, **settings):
    clip = read_frames(str(path), short_side=None, **settings)
    return numbers(clip.frames), clip.notes


def numbered(path, first, last, shift=0.0, **options):
    """Writes the frames of these numbers, beginning at a time."""
    images = (video_files.numbered_frame(number) for number in range(first, last))
    times = [shift + number / 25 for number in range(last - first)] if shift else None
    return write_video(path, images, times=times, **options)


def joined(path, *parts):
    content = b"".join(open(part, "rb").read() for part in parts)
    path.write_bytes(content)
    return path


# --- trimming ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, options",
    [
        ("v.ts", {"options": {"g": "75", "bf": "3"}}),
        ("v.ts", {"options": {"g": "250"}}),
        ("v.m2ts", {"options": {"g": "30"}}),
        ("v.ts", HEVC),
        ("v.ts", MPEG_2),
        ("v.mpg", MPEG_2),
        ("v.ogv", {"codec": "libvpx"}),
        ("v.flv", {}),
    ],
)
@pytest.mark.parametrize("start, end", [(0.4, 0.8), (1.2, 2.2), (3.6, None)])
def test_trimming_where_seeks_lead_elsewhere(tmp_path, name, options, start, end):
    path = write_numbered(tmp_path / name, 100, **options)
    expected = list(range(round(start * 25), 100 if end is None else round(end * 25)))
    assert shown(path, start=start, end=end) == (expected, ())


@pytest.mark.parametrize(
    "name, codec",
    [("v.h264", "libx264"), ("v.hevc", "libx265"), ("v.mjpeg", "mjpeg"), ("v.m2v", "mpeg2video")],
)
def test_trimming_streams_without_a_container(tmp_path, name, codec):
    options = HEVC["options"] if codec == "libx265" else {"g": "20", "bf": "2"}
    pixel_format = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    options = {} if codec == "mjpeg" else options
    path = write_numbered(
        tmp_path / name, 60, codec=codec, options=options, pixel_format=pixel_format
    )
    assert shown(path) == (list(range(60)), ())
    assert shown(path, start=1.2, end=2) == (list(range(30, 50)), ())


# --- joined files --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ending, options",
    [("ts", {}), ("m2ts", {}), ("ts", MPEG_2), ("mpg", MPEG_2), ("vob", MPEG_2), ("ts", HEVC)],
)
@pytest.mark.parametrize("first", [13, 30])
def test_a_clock_that_starts_anew_goes_on(tmp_path, ending, options, first):
    parts = [
        numbered(tmp_path / f"a.{ending}", 0, first, **options),
        numbered(tmp_path / f"b.{ending}", first, 42, **options),
    ]
    path = joined(tmp_path / f"v.{ending}", *parts)
    found, notes = shown(path)
    assert found == list(range(42))
    assert notes[0] == "its clock starts anew or jumps once; what follows was shown next"
    assert shown(path, start=1.2, end=1.6)[0] == list(range(30, 40))


@pytest.mark.parametrize("shift", [-4, 60, 4000])
def test_a_clock_that_jumps_goes_on(tmp_path, shift):
    parts = [
        numbered(tmp_path / "a.ts", 0, 20, shift=10),
        numbered(tmp_path / "b.ts", 20, 40, shift=10 + shift),
    ]
    assert shown(joined(tmp_path / "v.ts", *parts))[0] == list(range(40))


def test_a_gap_is_filled_and_said(tmp_path):
    parts = [
        numbered(tmp_path / "a.ts", 0, 20, options={"bf": "0"}),
        numbered(tmp_path / "b.ts", 20, 40, shift=5, options={"bf": "0"}),
    ]
    found, notes = shown(joined(tmp_path / "v.ts", *parts))
    # By libav's rule, 4.2 s are a gap and no other clock.
    assert found == [*range(20), *[19] * 105, *range(20, 40)]
    assert notes[0] == "one frame is shown for 4.24 s from 0.76 s on"


def test_gaps_between_frames_are_said_once(tmp_path):
    path = write_numbered(tmp_path / "v.mkv", 4, codec="ffv1", times=[0, 3, 5.5, 6])
    assert read_frames(path).notes == (
        "one frame is shown for 3.00 s from 0.00 s on, the longest of 2 such gaps",
    )
    assert read_frames(path, start=5.5).notes == ()


# --- what says too little of its frames' times ---------------------------------------------------


@pytest.mark.parametrize("bf", ["0", "2", "3"])
def test_h264_copied_into_avi_keeps_its_last_frames(tmp_path, bf):
    source = write_numbered(tmp_path / "v.ts", 25, options={"bf": bf})
    with av.open(source) as given, av.open(str(tmp_path / "v.avi"), "w") as copy:
        stream = copy.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.size:
                packet.stream = stream
                copy.mux(packet)
    assert shown(tmp_path / "v.avi") == (list(range(25)), ())


@pytest.mark.parametrize("delay, each", [(1, 0.1), (2, 0.02), (5, 0.05), (0, 0.1)])
def test_gifs_play_as_browsers_play_them(tmp_path, delay, each):
    from PIL import Image

    first, *rest = [Image.fromarray(video_files.numbered_frame(n)) for n in range(5)]
    first.save(tmp_path / "v.gif", save_all=True, append_images=rest, duration=10 * delay)
    found, _ = shown(tmp_path / "v.gif", fps=50)
    begins = [math.floor(n * each * 50 + 0.5) for n in range(6)]
    assert found == [n for n in range(5) for _ in range(begins[n], begins[n + 1])]


def test_empty_packets_show_the_last_frame_again(tmp_path):
    source = write_numbered(tmp_path / "a.mkv", 8, codec="ffv1", options={"g": "1"})
    with av.open(source) as given, av.open(str(tmp_path / "v.nut"), "w") as copy:
        stream = copy.add_stream_from_template(given.streams.video[0])
        for number, packet in enumerate(given.demux(video=0)):
            if not packet.size:
                continue
            kept = packet
            if number in (3, 4, 7):
                kept = av.Packet(0)
                kept.pts, kept.dts, kept.duration = packet.pts, packet.dts, packet.duration
                kept.time_base = packet.time_base
            kept.stream = stream
            copy.mux(kept)
    assert shown(tmp_path / "v.nut")[0] == [0, 1, 2, 2, 2, 5, 6, 6]


# --- fragments and lengths -----------------------------------------------------------------------


def test_fragments_whose_clock_begins_late(tmp_path):
    options = {
        "movflags": "empty_moov+default_base_moof+frag_discont",
        "avoid_negative_ts": "disabled",
    }
    path = numbered(tmp_path / "v.mp4", 50, 75, shift=2, container_options=options)
    with av.open(path) as container:
        stream = container.streams.video[0]
        assert stream.start_time * stream.time_base > 1.9
    assert shown(path) == (list(range(50, 75)), ())


@pytest.mark.parametrize(
    "ending, codec, sound", [("wmv", "wmv2", "wmav2"), ("mkv", "libx264", "aac")]
)
def test_sound_that_lasts_longer_cuts_nothing_short(tmp_path, ending, codec, sound):
    path = tmp_path / f"v.{ending}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        audio = container.add_stream(sound, rate=44100, layout="mono", bit_rate=64_000)
        for number in range(20):
            image = av.VideoFrame.from_ndarray(video_files.numbered_frame(number), "rgb24")
            container.mux(stream.encode(image))
        container.mux(stream.encode(None))
        video_files.write_silence(container, audio, seconds=4)
    with av.open(str(path)) as container:
        assert container.duration > 3.5e6
    assert shown(path) == (list(range(20)), ())
