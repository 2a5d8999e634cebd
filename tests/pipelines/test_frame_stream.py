"""Frames as they are decoded: of long files, through another process, and of what is live."""

import time
import tracemalloc
from fractions import Fraction

import av
import http_streams
import numpy as np
import pytest
import rtsp_streams
import video_files
from paths import ROOT

from pipelines.frames import any_file, live_source, video_file
from pipelines.frames.isolated_reader import IsolatedReader
from pipelines.frames.video_file import VideoError, read_frames
from prediction.windows import windows

KINDS = {
    "a.mp4": {},
    "a.mkv": {"codec": "ffv1", "times": [0, 0.1, 0.15, 0.4, 1, 1.04]},
    "a.avi": {"codec": "mpeg4", "rate": 12, "options": {"bf": "2"}},
    "a.ts": {"codec": "mpeg2video", "rate": 30},
    "a.gif": {"codec": "gif", "pixel_format": "rgb8", "rate": 10},
}


def flat(frames):
    return [image for image, copies in frames for _ in range(copies)]


@pytest.fixture(scope="module")
def reader():
    with IsolatedReader() as made:
        yield made


@pytest.mark.parametrize("name", KINDS)
def test_a_stream_has_the_frames_of_the_file(tmp_path, reader, name):
    count = len(KINDS[name].get("times", range(20)))
    path = video_files.write_numbered(tmp_path / name, count, **KINDS[name])
    for settings in ({}, {"fps": 7.5, "short_side": 40, "start": 0.1, "end": 0.45}):
        frames = read_frames(path, **settings).frames
        assert len(frames) > 2
        assert flat(video_file.stream_frames(path, **settings)) == frames
        assert flat(reader.stream_frames(path, **settings)) == frames


def test_an_image_is_a_stream_of_one_frame(tmp_path, reader):
    from PIL import Image

    path = str(tmp_path / "a.png")
    Image.fromarray(video_files.numbered_frame(5)).save(path)
    assert flat(reader.stream_frames(path)) == any_file.read_frames(path).frames


def test_what_comes_before_the_damage_is_given(tmp_path, reader):
    path = video_files.write_numbered(tmp_path / "a.mkv", 200, codec="mpeg4")
    whole = read_frames(path).frames
    video_files.cut(path, 0.5)
    received = []
    with pytest.raises(VideoError, match=r"a\.mkv: (cut short|damaged)"):
        received.extend(image for image, _ in reader.stream_frames(path))
    assert 50 < len(received) < 150 and received == whole[: len(received)]
    with pytest.raises(VideoError, match="No such file"):
        next(reader.stream_frames(str(tmp_path / "none.mp4")))


def test_a_stream_may_be_left(tmp_path, reader):
    path = video_files.write_numbered(tmp_path / "a.mkv", 50, codec="ffv1")
    frames = reader.stream_frames(path)
    first, _ = next(frames)
    with pytest.raises(RuntimeError, match="has not been taken to its end"):
        reader.read_frames(path)
    frames.close()
    assert reader.read_frames(path).frames[0] == first


def test_one_frame_may_not_be_shown_for_centuries(tmp_path):
    path = video_files.write_numbered(tmp_path / "a.mkv", 2, codec="ffv1", times=[0, 700_000])
    with pytest.raises(VideoError, match="lasts longer than a week"):
        list(video_file.stream_frames(path, fps=1))
    assert len(flat(video_file.stream_frames(path, fps=1, end=100))) == 100


SLOW_READER = """
import sys, time
sys.path.append({root!r})
from pipelines.frames import any_file
def stream_frames(path, **settings):
    for number in range(settings["count"]):
        time.sleep(settings["pause"])
        yield bytes([number]) * settings["bytes"], 1
    time.sleep(600 if path == "hangs" else 0)
any_file.stream_frames = stream_frames
"""


@pytest.fixture
def slow_reader(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(SLOW_READER.format(root=str(ROOT)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with IsolatedReader() as made:
        list(made.stream_frames("first", count=1, pause=0, bytes=1))
        yield made


def test_only_silence_is_given_up(slow_reader):
    slow_reader._timeout = 1.0
    frames = slow_reader.stream_frames("hangs", count=8, pause=0.2, bytes=1)
    received = []
    with pytest.raises(VideoError, match=r"hangs: given up: no frame came for 1 s"):
        received.extend(image[0] for image, _ in frames)
    assert received == list(range(8))  # which took 1.6 s


def test_the_process_waits_for_who_is_slow(slow_reader):
    """The pipe holds 64 KiB; what is behind that is not made yet, and nobody is blamed."""
    process = slow_reader.process_id
    frames = slow_reader.stream_frames("v", count=40, pause=0, bytes=100_000)
    next(frames)
    started = time.monotonic()
    while time.monotonic() < started + 0.5:
        time.sleep(0.05)
        with open(f"/proc/{process}/wchan") as file:
            if "pipe" in file.read():
                break
    assert len(list(frames)) == 39 and slow_reader.process_id == process


def write_noise(path, count):
    """A video of frames of 10 kB, of which 20 are encoded once."""
    random = np.random.default_rng(0)
    images = (random.integers(0, 256, (64, 96, 3), np.uint8) for _ in range(20))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuvj420p"
        once = [
            bytes(packet)
            for image in images
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, "rgb24"))
        ]
        for number in range(count):
            packet = av.Packet(once[number % len(once)])
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = number
            packet.is_keyframe = True
            container.mux(packet)
    return str(path)


def peak_of(process):
    with open(f"/proc/{process}/status") as file:
        (line,) = (line for line in file if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def peaks(path, take):
    """MiB of memory: of the process that decodes, and what this one takes at most."""
    with IsolatedReader() as reader:
        tracemalloc.start()
        try:
            count = take(reader, path)
            return count, peak_of(reader.process_id), tracemalloc.get_traced_memory()[1] / 2**20
        finally:
            tracemalloc.stop()


@pytest.mark.slow
def test_the_memory_does_not_grow_with_the_video(tmp_path):
    def in_windows(reader, path):
        cut = windows(reader.stream_frames(path, short_side=None), 16, Fraction(16), 25)
        return sum(len(window.frames) for window in cut)

    def whole(reader, path):
        return len(reader.read_frames(path, short_side=None).frames)

    short, long = write_noise(tmp_path / "a.avi", 500), write_noise(tmp_path / "b.avi", 4000)
    _, decoding, here = peaks(short, in_windows)
    count, decoding_long, here_long = peaks(long, in_windows)
    assert count == 4000
    assert decoding_long < decoding + 4 and here_long < here + 1
    _, decoding_whole, here_whole = peaks(long, whole)
    assert decoding_whole > decoding + 10 and here_whole > here + 10


def transport_stream(folder, count, **options):
    path = folder / "a.ts"
    options = {"bf": "0", "g": "10", **options}
    video_files.write_numbered(path, count, codec="mpeg2video", options=options)
    return path.read_bytes(), read_frames(str(path)).frames


def test_a_stream_over_http(tmp_path, reader):
    content, frames = transport_stream(tmp_path, 60)
    with http_streams.serving(content) as address:
        assert live_source.is_live(address)
        assert flat(reader.stream_frames(address, live=True)) == frames
    received = []
    with (
        http_streams.serving(content, length=len(content) + 1) as address,
        pytest.raises(VideoError, match=r"broke off: Input/output error after 2\.\d+ s"),
    ):
        received.extend(image for image, _ in reader.stream_frames(address, live=True))
    assert received == frames[: len(received)] and len(received) > 55
    with pytest.raises(VideoError, match="cannot be read: Connection refused"):
        next(reader.stream_frames(address, live=True))


def test_a_stream_is_joined_in_its_middle_and_lacks_parts(tmp_path, reader):
    content, _ = transport_stream(tmp_path, 60)
    begin, hole = (188 * (len(content) * share // 188 // 100) for share in (30, 60))
    with http_streams.serving(content[begin:hole] + content[hole + 188 * 6 :]) as address:
        received = video_files.numbers(flat(reader.stream_frames(address, live=True)))
    assert 20 < len(received) < 50 and received == sorted(received)
    assert received[0] % 10 == 0 and received[-1] == 59  # from a key frame on


def test_a_stream_over_rtsp(tmp_path, reader):
    content, frames = transport_stream(tmp_path, 60)
    with rtsp_streams.serving(content) as address:
        received = flat(reader.stream_frames(address, live=True))
    # RTP carries no end: the last frames are not known to be whole.
    assert len(received) >= 55 and received == frames[: len(received)]


def test_a_play_list_of_a_network_opens_no_file(tmp_path, reader):
    content, frames = transport_stream(tmp_path, 30)

    def received(target):
        text = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n"
        kind = "application/vnd.apple.mpegurl"
        with http_streams.serving(text.encode(), kind) as address:
            return flat(reader.stream_frames(f"{address}.m3u8", live=True))

    with http_streams.serving(content) as address:
        assert received(f"{address}.ts") == frames
    for target in (tmp_path / "a.ts", f"file://{tmp_path}/a.ts"):
        with pytest.raises(VideoError):
            received(target)


def test_what_is_live(tmp_path, reader):
    for name in ("/dev/video0", "/dev/null"):
        assert live_source.is_live(name) == (name == "/dev/null" or (ROOT / name).exists())
    assert live_source.is_live("RTSP://camera:554/1") and live_source.is_live("udp://:1234")
    for name in (str(tmp_path), "a\0b", "file:///a.mp4", "concat:a|b", "s3://b/a.mp4", "http.mp4"):
        assert not live_source.is_live(name)
        with pytest.raises(VideoError, match="is neither a camera nor the address of a stream"):
            next(reader.stream_frames(name, live=True))
    with pytest.raises(VideoError, match="cannot be read"):
        next(reader.stream_frames("/dev/null", live=True))
    assert live_source.keeps_pace("rtsp://a") and not live_source.keeps_pace("HTTP://a")
    shown = live_source.without_password("rtsp://me:secret@host:554/a:b@c")
    assert shown == "rtsp://me@host:554/a:b@c"
    assert live_source.without_password("http://host:80/a@b") == "http://host:80/a@b"
