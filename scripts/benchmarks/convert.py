"""Time to convert a video to JPEG frames, on one core, beside decoding alone and other ways.

What counts is processor time, of this process and of the programs that it starts: on one core that
is the time that passes, and other work on the machine changes it least.
"""

import importlib.util
import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
import numpy as np
from absl import flags

from benchmarks import common
from pipelines.frames import jpeg_encoders, video_file
from pipelines.system import command_help

command_help.section("What to measure")
_VIDEOS = flags.DEFINE_list(
    "videos", None, "Convert these video files. By default one that is made for it."
)
_REPETITIONS = flags.DEFINE_integer(
    "convert_repetitions", 10, "Measure each way this number of times, in turns.", 3
)

_FPS, _SHORT_SIDE, _QUALITY = 25, 256, 4


def run(json_path: str | None) -> None:
    """Measures each way on each video in turns and prints the table."""
    if hasattr(os, "sched_setaffinity"):
        # Children inherit it: the ffmpeg program gets one core as well.
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder:
        videos = _VIDEOS.value or [_make_video(os.path.join(folder, "made_340x256_28fps.mp4"))]
        rows = [row for path in videos for row in _measure(path)]
    common.report("Converting a video to JPEG frames, one core", rows, json_path)


def _measure(path: str) -> list[dict[str, Any]]:
    seconds = _interleave(_ways(path), _REPETITIONS.value)
    floor = "decoding alone (floor)"
    summary = common.summarize(seconds, floor)
    length = _seconds_of(path)
    return [
        {
            "video": os.path.basename(path),
            "way": name,
            "median CPU ms": row["median_ms"],
            "min CPU ms": row["min_ms"],
            "median / floor": row["ratio"],
            "min / floor": row["min_ms"] / summary[floor]["min_ms"],
            "times real time": 1e3 * length / row["median_ms"],
        }
        for name, row in summary.items()
    ]


def _interleave(ways: dict[str, Callable[[], Any]], repetitions: int) -> dict[str, list[float]]:
    """Processor seconds of each repetition of each way, measured in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for repetition in range(repetitions + 1):
        for name, way in ways.items():
            before = _processor_seconds()
            way()
            if repetition:  # the first round warms up
                seconds[name].append(_processor_seconds() - before)
    return seconds


def _processor_seconds() -> float:
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _ways(path: str) -> dict[str, Callable[[], Any]]:
    ways = {
        "decoding alone (floor)": lambda: _decode(path),
        "this converter": lambda: video_file.read_frames(
            path, fps=_FPS, short_side=_SHORT_SIDE, quality=_QUALITY
        ),
    }
    if importlib.util.find_spec("simplejpeg"):
        ways["this converter, turbo"] = lambda: video_file.read_frames(
            path, fps=_FPS, short_side=_SHORT_SIDE, quality=_QUALITY, encoder=jpeg_encoders.TURBO
        )
    if shutil.which("ffmpeg"):
        ways["ffmpeg program"] = lambda: _ffmpeg(path)
    try:
        import cv2
    except ImportError:
        return ways
    cv2.setNumThreads(1)
    return ways | {"OpenCV frame by frame": lambda: _opencv(cv2, path)}


def _decode(path: str) -> int:
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        return sum(1 for _ in container.decode(stream))


def _ffmpeg(path: str) -> int:
    scale = f"scale='if(gt(iw,ih),-1,{_SHORT_SIDE})':'if(gt(iw,ih),{_SHORT_SIDE},-1)':out_range=pc"
    command = ["ffmpeg", "-v", "error", "-threads", "1", "-filter_threads", "1", "-i", path]
    command += ["-an", "-vf", f"fps={_FPS},{scale},format=yuvj420p", "-c:v", "mjpeg"]
    command += ["-threads", "1", "-q:v", str(_QUALITY), "-huffman", "default"]
    command += ["-f", "image2pipe", "-"]
    return len(subprocess.run(command, capture_output=True, check=True).stdout)


def _opencv(cv2: Any, path: str) -> int:
    """As scripts of datasets do it: BGR frames, chosen by the clock, scaled and encoded each."""
    capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    rate = capture.get(cv2.CAP_PROP_FPS)
    size, number = 0, 0
    while True:
        read, frame = capture.read()
        if not read:
            return size
        copies = round((number + 1) * _FPS / rate) - round(number * _FPS / rate)
        number += 1
        if not copies:
            continue
        height, width = frame.shape[:2]
        scale = _SHORT_SIDE / min(height, width)
        if scale != 1:
            target = round(width * scale), round(height * scale)
            frame = cv2.resize(frame, target, interpolation=cv2.INTER_CUBIC)
        # About as good as libav's quantiser 4: pipelines/README.md has both in decibels.
        _, image = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 90])
        size += copies * len(image)


def _seconds_of(path: str) -> float:
    with av.open(path) as container:
        return container.duration / av.time_base


def _make_video(path: str) -> str:
    """Ten seconds of moving, grainy textures, at the size and rate of many Kinetics files."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (40, 60, 3), np.uint8)
    texture = np.asarray(
        av.VideoFrame.from_ndarray(coarse, "rgb24").reformat(960, 640).to_ndarray(), np.int16
    )
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(28), options={"crf": "23"})
        stream.height, stream.width, stream.pix_fmt = 256, 340, "yuv420p"
        for number in range(280):
            top, left = number % 280, (2 * number) % 560
            grain = generator.integers(-6, 7, (256, 340, 1))
            image = np.clip(texture[top : top + 256, left : left + 340] + grain, 0, 255)
            frame = av.VideoFrame.from_ndarray(image.astype(np.uint8), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
