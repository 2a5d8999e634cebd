"""Frames to an H.264 .mp4 file."""

import os
from collections.abc import Iterable
from fractions import Fraction
from typing import BinaryIO

import av
import numpy as np


def write_mp4(
    output: str | os.PathLike | BinaryIO,
    frames: Iterable[np.ndarray],
    fps: float = 25,
    quality: int = 23,
) -> None:
    """Encodes frames as they come, so that they need not be in memory together.

    Args:
        output: A path or an open file.
        frames: uint8 RGB (height, width, 3), all of the same even height and width.
        fps: Frames a second.
        quality: Constant rate factor of x264, from 0 (largest) to 51 (smallest files).

    Raises:
        OSError: If the file cannot be written.
    """
    with av.open(output, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.pix_fmt = "yuv420p"
        # Slower presets' look-ahead gives other bytes from run to run on frames this small, and so
        # does another number of threads.
        stream.options = {"crf": str(quality), "preset": "superfast", "threads": "1"}
        for number, frame in enumerate(frames):
            if number == 0:
                stream.height, stream.width = frame.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
