"""A video file as an array, for networks that are used from Python."""

import numpy as np
import tensorflow as tf

from pipelines.frames.any_file import read_frames
from pipelines.input.augmentation import decode_frames


def read_video(path: str, fps: float = 30, short_side: int | None = 256) -> np.ndarray:
    """The frames of a video, upright, at a constant rate, as the commands see them.

    All are in memory at once: a minute of 341x256 takes 0.5 GB.

    Example:

    >>> read_video("arm_wrestling_28fps.mp4").shape
    (300, 256, 340, 3)

    Args:
        path: The file.
        fps: Frames a second; the published networks were trained on about 30.
        short_side: Pixels of the shorter side; None keeps the size of the file.

    Returns:
        uint8 RGB (frames, height, width, 3).

    Raises:
        VideoError: If the file cannot be read, is damaged or cut short.
        ValueError: If an argument is out of its range.
    """
    video = read_frames(path, fps=fps, short_side=short_side)
    with tf.device("CPU:0"):
        whole = tf.constant([0, 0, video.height, video.width])
        return np.concatenate(
            [decode_frames(tf.constant([image]), whole) for image in video.frames]
        )
