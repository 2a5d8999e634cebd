"""Draws what Random Mean Scaling does to one frame, as a PNG.

    keras-rms show-rms --output=rms.png
    keras-rms show-rms --video=clip.mp4 --second=2 --output=rms.png

Above: the frame x, its local mean over time and space, and the residual. Below: the outputs for
three values of alpha, the local mean times alpha plus the residual. Without --video the frame is
one of a demonstration video. In a network the window is 3x3x3 on features of 14x14 or 7x7; a frame
has far more pixels, hence the wider window here.
"""

import io
from collections.abc import Sequence
from pathlib import Path

from pipelines.system import quiet_tensorflow  # noqa: F401  (before what imports TensorFlow)

# isort: split
import numpy as np
from absl import flags
from keras import ops
from PIL import Image

import keras_rms
from analysis import pictures
from pipelines.demo.demo_rendering import render_video
from pipelines.frames.video_file import read_frames
from pipelines.system import command_help, command_line, output_paths

command_help.section("Frame")
_VIDEO = flags.DEFINE_string(
    "video", None, "Take the frame from this video file. By default from a demonstration video."
)
_SECOND = flags.DEFINE_float(
    "second", 1.0, "Take the frame this many seconds after the beginning.", lower_bound=0
)
_SHORT_SIDE = flags.DEFINE_integer(
    "short_side", 112, "Scale the shorter side to this many pixels.", lower_bound=32
)

command_help.section("Picture")
_OUTPUT = flags.DEFINE_string("output", None, "Write this PNG file.", required=True)
output_paths.names_file(_OUTPUT)
_KERNEL_SIZE = flags.DEFINE_integer(
    "kernel_size", 9, "Smooth over a window of this height and width, in pixels, an odd number."
)
_ALPHAS = flags.DEFINE_list(
    "alphas", ["0", "0.5", "1.5"], "Show the outputs for these three values of alpha."
)

FPS = 25


def main(arguments: Sequence[str]) -> None:
    if len(arguments) > 1:
        raise ValueError(f"Unknown arguments: {' '.join(arguments[1:])}. See --help.")
    clip = _video_frames() if _VIDEO.value else _demonstration_frames()
    kernel_size = (3, _KERNEL_SIZE.value, _KERNEL_SIZE.value)
    # The middle one of three frames, so that its window is whole in time.
    mean = ops.convert_to_numpy(keras_rms.local_mean(clip[None], kernel_size))[0, 1]
    x = clip[1]
    panels = [("x", x), ("local mean", mean), ("residual x - mean (+ 0.5)", x - mean + 0.5)]
    for alpha in _parsed_alphas():
        panels.append((f"alpha = {alpha:g}", alpha * mean + x - mean))
    _draw(panels, _OUTPUT.value)
    print(f"Wrote {_OUTPUT.value}: a window of 3 frames x {kernel_size[1]} x {kernel_size[2]}.")


def _parsed_alphas() -> list[float]:
    try:
        return [float(alpha) for alpha in _ALPHAS.value]
    except ValueError:
        raise ValueError(f"--alphas must be numbers. Received: {_ALPHAS.value}") from None


def _video_frames() -> np.ndarray:
    """Three frames of the file in [0, 1], a stride of eight frames apart as in training clips."""
    step = 8 / FPS
    start = _SECOND.value
    video = read_frames(
        _VIDEO.value, fps=FPS, short_side=_SHORT_SIDE.value, start=start, end=start + 3 * step
    )
    if len(video.frames) < 17:
        raise ValueError(
            f"{_VIDEO.value} has no {3 * step:.2f} seconds after second {start:g}; give another "
            "--second."
        )
    frames = [np.asarray(Image.open(io.BytesIO(video.frames[8 * i]))) for i in range(3)]
    return np.stack(frames).astype("float32") / 255


def _demonstration_frames() -> np.ndarray:
    short = _SHORT_SIDE.value
    video = render_video("spin", split="train", index=0, width=short * 4 // 3, height=short)
    first = min(round(_SECOND.value * FPS), len(video) - 17)
    return video[first : first + 17 : 8].astype("float32") / 255


def _draw(panels: list[tuple[str, np.ndarray]], path: str) -> None:
    height, width = panels[0][1].shape[:2]
    rows = -(-len(panels) // 3)
    figure, axes = pictures.new_figure(9, 6 * height / width + 0.9, rows, 3)
    for cell, (title, image) in zip(axes, panels):
        cell.imshow(np.clip(image, 0, 1))
        cell.set_title(title)
        cell.axis("off")
    Path(path).absolute().parent.mkdir(parents=True, exist_ok=True)
    pictures.save(figure, path)


if __name__ == "__main__":
    command_line.run(main)
