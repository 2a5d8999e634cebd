"""Clips of real videos with Random Mean Scaling: SlowOnly and `model.fit`, on any backend of Keras.

    KERAS_BACKEND=torch python scripts/examples/video_classification.py --data=folds.csv --fold=1 \\
        --rms=mean --output=rms_fold_1.json

It needs Keras with TensorFlow, JAX or PyTorch, NumPy, absl-py and, for videos, PyAV. DATA is
    FILE.csv    columns path (of a video, from the file's folder), label (any word) and fold. The
                clips of --fold are the test; put all clips of one source into one fold.
    FILE.npz    arrays x_train, x_test (uint8, clips x frames x height x width x 3), y_train, y_test

Each video becomes one clip of --num_frames frames at equal distances, upright, held in memory as
uint8.
"""

import csv
import os
from pathlib import Path

# For TensorFlow, before it is imported: it is slow on many processors without oneDNN.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import numpy as np
from absl import flags

import arrays
import example_command
import training_options
from arrays import Labelled
from batches import random_crop_and_flip
from keras_rms.models import SlowOnly

# Data and network.
_DATA = flags.DEFINE_string(
    "data", None, "Train on the clips of this .csv or .npz file.", required=True
)
_FOLD = flags.DEFINE_string("fold", "1", "Test on this fold of the .csv file.")
_DEPTH = flags.DEFINE_enum(
    "depth", "18", ["18", "34", "50", "101"], "Build a SlowOnly network of this depth."
)
_WIDTH = flags.DEFINE_integer("width", 64, "Give the stem this many channels.", lower_bound=1)
_FRAMES = flags.DEFINE_integer("num_frames", 8, "Take this many frames a clip.", lower_bound=1)
_CROP = flags.DEFINE_integer(
    "crop_size", 112, "Cut crops of this height and width, in pixels.", lower_bound=1
)
_SHORT = flags.DEFINE_integer(
    "short_side", 128, "Scale frames to this short side, in pixels.", lower_bound=1
)
_DROPOUT = flags.DEFINE_float(
    "dropout", 0.5, "Drop this share of the features before the classifier.", lower_bound=0
)
flags.adopt_module_key_flags(training_options)


def load(data: str) -> tuple[Labelled, Labelled]:
    """The training and the test clips, each uint8 (clips, frames, height, width, 3) and labels.

    Raises:
        ValueError: If `data` is of no such kind, is incomplete, or its frames are too small.
    """
    if not data.endswith((".csv", ".npz")):
        raise ValueError(f"--data must end in .csv or .npz. Received: --data={data}")
    is_list = data.endswith(".csv")
    if not is_list:
        training_options.refuse_given((_FOLD,), "on clips of an .npz file")
    train, test = (_from_list if is_list else arrays.from_npz)(data)
    arrays.check(data, ("frames", "height", "width", "3"), train, test)
    if train[0].shape[1] != test[0].shape[1]:
        raise ValueError(
            f"All clips of {data} must have as many frames. Received: {train[0].shape[1]} to train "
            f"on and {test[0].shape[1]} to test"
        )
    for clips, _ in (train, test):
        _check_crop(min(clips.shape[2:4]))
        if not is_list:
            _take(clips, data)
    return tuple((clips, labels.reshape(-1)) for clips, labels in (train, test))


def _take(clips: np.ndarray, data: str) -> None:
    """Notes the clips' sizes in the flags, for the result; they are taken as they are."""
    for holder, size in ((_FRAMES, clips.shape[1]), (_SHORT, min(clips.shape[2:4]))):
        flag = flags.FLAGS[holder.name]
        if flag.present and flag.value != size:
            raise ValueError(
                f"--{flag.name} must be that of the clips in {data}, {size}, or left out. "
                f"Received: --{flag.name}={flag.value}"
            )
        flag.value = size


def _check_crop(short_side: int) -> None:
    if short_side < _CROP.value:
        raise ValueError(
            f"--crop_size must be at most the frames' short side, {short_side}. "
            f"Received: --crop_size={_CROP.value}"
        )


def _from_list(path: str) -> tuple[Labelled, Labelled]:
    # Spreadsheets write a mark before the first column's name.
    try:
        with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            rows = list(csv.DictReader(file, skipinitialspace=True))
    except csv.Error as error:
        raise ValueError(f"{path} is no list of commas and lines: {error}") from error
    missing = sorted({"path", "label", "fold"} - set(rows[0] if rows else ()))
    paths, words, folds = (
        np.array([(row.get(name) or "").strip() for row in rows])
        for name in ("path", "label", "fold")
    )
    unfilled = [i for i, cells in enumerate(zip(paths, words, folds), 2) if not all(cells)]
    if unfilled or not rows:
        raise ValueError(
            f"{path} must have the columns path, label and fold, filled in each line. "
            f"Received: {len(rows)} lines, {len(unfilled)} unfilled {unfilled[:1]}, "
            f"no column {missing}"
        )
    tested = folds == _FOLD.value
    if tested.all() or not tested.any():
        raise ValueError(
            f"{path} must have the fold {_FOLD.value} (--fold) and another. "
            f"Received: the folds {sorted(set(folds.tolist()))}"
        )
    videos = [(Path(path).parent / name).resolve() for name in paths]
    _check_list(videos, words, tested)
    clips = [_decode(video) for video in videos]
    # Frames may differ in their long side: the middle that all of them have is kept.
    height, width = (min(clip.shape[axis] for clip in clips) for axis in (1, 2))
    clips = np.stack([_middle(clip, height, width) for clip in clips])
    return (clips[~tested], words[~tested]), (clips[tested], words[tested])


def _check_list(videos: list[Path], words: np.ndarray, tested: np.ndarray) -> None:
    """What can be known before hours of decoding."""
    arrays.check_classes(words[~tested], words[tested])
    _check_crop(_SHORT.value)
    training_options.check_batch_size(int(np.sum(~tested)))
    absent = [video for video in videos if not video.is_file()]
    if absent:
        raise ValueError(f"{len(absent)} videos of the list are not there, {absent[0]} for one.")
    both = {videos[i] for i in np.flatnonzero(tested)} & {
        videos[i] for i in np.flatnonzero(~tested)
    }
    if both:
        raise ValueError(
            f"{min(both)} is in the fold {_FOLD.value} and in another: leave it in one."
        )


def _decode(path: Path) -> np.ndarray:
    """uint8 (frames, height, width, 3), frames at equal distances from first to last."""
    import av  # noqa: F401  (where it is missing no video is to blame)

    try:
        count = _count_packets(path)
        frames, decoded = _frames(path, count)
        if decoded != count:
            frames, decoded = _frames(path, decoded)
    except Exception as error:  # PyAV's errors are of many kinds
        raise ValueError(f"{path} cannot be read: {error}. Mend it or leave it out.") from error
    if not decoded:
        raise ValueError(f"{path} has no frames; leave it out of the list.")
    return np.stack(frames)


def _count_packets(path: Path) -> int:
    """Of the video, without decoding them: most hold a frame each."""
    import av

    with av.open(str(path)) as container:
        if not container.streams.video:
            raise ValueError("it has no video")
        return sum(packet.size > 0 for packet in container.demux(video=0))


def _frames(path: Path, count: int) -> tuple[list[np.ndarray], int]:
    """Those at equal distances if there are `count`, and how many there are.

    No more than these are in memory: a minute of large frames is gigabytes.
    """
    import av

    positions = np.linspace(0, count - 1, _FRAMES.value).round().astype(int)
    kept, decoded, size = {}, 0, {}
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            size = size or _scaled_size(frame.width, frame.height)
            if decoded in positions:
                pixels = frame.reformat(**size, format="rgb24", interpolation="AREA").to_ndarray()
                kept[decoded] = np.rot90(pixels, frame.rotation // 90)
            decoded += 1
    return [kept[position] for position in positions if position in kept], decoded


def _scaled_size(width: int, height: int) -> dict[str, int]:
    scale = _SHORT.value / min(width, height)
    return {
        "width": max(_SHORT.value, round(scale * width)),
        "height": max(_SHORT.value, round(scale * height)),
    }


def _middle(clips: np.ndarray, height: int, width: int) -> np.ndarray:
    top, left = (clips.shape[-3] - height) // 2, (clips.shape[-2] - width) // 2
    return clips[..., top : top + height, left : left + width, :]


def augment(clips: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A window out of each clip, flipped or not."""
    return random_crop_and_flip(clips, _CROP.value, _CROP.value, rng)


def network(num_classes: int, num_frames: int) -> keras.Model:
    """From uint8 clips to logits, as the flags say."""
    return SlowOnly(
        int(_DEPTH.value),
        num_classes,
        (num_frames, _CROP.value, _CROP.value, 3),
        width=_WIDTH.value,
        dropout=_DROPOUT.value,
        **training_options.network_options(),
    )


def main() -> None:
    training_options.begin()
    training_options.augmented_network(network(2, 1))  # refuses flags before hours of decoding
    (clips, labels), (test_clips, test_labels) = load(_DATA.value)
    classes, targets = np.unique(labels, return_inverse=True)
    batches = training_options.training_batches(clips, targets, len(classes), augment)
    training_options.fit(
        network(len(classes), clips.shape[1]),
        batches,
        {
            "test": (
                _middle(test_clips, _CROP.value, _CROP.value),
                np.searchsorted(classes, test_labels),
            )
        },
    )


if __name__ == "__main__":
    example_command.run(main)
