"""Clips of real videos with Random Mean Scaling: SlowOnly and `model.fit`, on any backend of Keras.

    KERAS_BACKEND=torch python scripts/examples/video_classification.py --data=folds.csv --fold=1 \\
        --rms=mean --output=rms_fold_1.json

It needs Keras with TensorFlow, JAX or PyTorch, NumPy, absl-py and, for videos, PyAV. DATA is
    FILE.csv    columns path (of a video, from the file's folder), label (any word) and fold. The
                clips of --fold are the test; put all clips of one source into one fold.
    FILE.npz    arrays x_train, x_test (uint8, clips x frames x height x width x 3), y_train, y_test

Each video becomes one clip of --num_frames frames at equal distances, held in memory as uint8.
"""

import csv
import os
from pathlib import Path

# For TensorFlow, before it is imported: it is slow on many processors without oneDNN.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import numpy as np
from absl import flags

import training_options
from batches import check_test_classes, random_crop_and_flip
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

Clips = tuple[np.ndarray, np.ndarray]


def load(data: str) -> tuple[Clips, Clips]:
    """The training and the test clips, each uint8 (clips, frames, height, width, 3) and labels.

    Raises:
        ValueError: If `data` is of no such kind, is incomplete, or its frames are too small.
    """
    if not data.endswith((".csv", ".npz")):
        raise ValueError(f"--data must end in .csv or .npz. Received: --data={data}")
    train, test = (_from_list if data.endswith(".csv") else _from_npz)(data)
    for clips, labels in (train, test):
        if clips.dtype != "uint8" or clips.ndim != 5 or len(clips) != len(labels):
            raise ValueError(
                f"The clips of {data} must be uint8 (clips, frames, height, width, 3) with a "
                f"label each. Received: {clips.dtype} {clips.shape} and {len(labels)} labels"
            )
        if min(clips.shape[2:4]) < _CROP.value:
            raise ValueError(
                f"--crop_size must be at most the frames' short side, {min(clips.shape[2:4])}. "
                f"Received: --crop_size={_CROP.value}"
            )
    return train, test


def _from_npz(path: str) -> tuple[Clips, Clips]:
    with np.load(path) as arrays:
        missing = {"x_train", "y_train", "x_test", "y_test"} - set(arrays)
        if missing:
            raise ValueError(f"{path} must have the arrays {sorted(missing)}; it has not.")
        check_test_classes(arrays["y_train"], arrays["y_test"])
        return tuple((arrays[f"x_{name}"], arrays[f"y_{name}"]) for name in ("train", "test"))


def _from_list(path: str) -> tuple[Clips, Clips]:
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    missing = {"path", "label", "fold"} - set(rows[0] if rows else ())
    folds = sorted({row["fold"] for row in rows}) if not missing else []
    if _FOLD.value not in folds or len(folds) < 2:
        raise ValueError(
            f"{path} must have the columns path, label and fold, with the fold {_FOLD.value} and "
            f"another. Received: no column {sorted(missing)}, folds {folds}"
        )
    words = np.array([row["label"] for row in rows])
    tested = np.array([row["fold"] == _FOLD.value for row in rows])
    check_test_classes(words[~tested], words[tested])  # before hours of decoding
    labels = np.unique(words, return_inverse=True)[1]
    clips = [_decode(Path(path).parent / row["path"]) for row in rows]
    # Frames may differ in their long side: the middle that all of them have is kept.
    height, width = (min(clip.shape[axis] for clip in clips) for axis in (1, 2))
    clips = np.stack([_middle(clip, height, width) for clip in clips])
    return (clips[~tested], labels[~tested]), (clips[tested], labels[tested])


def _decode(path: Path) -> np.ndarray:
    """uint8 (frames, height, width, 3), frames at equal distances from first to last."""
    import av

    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    if not frames:
        raise ValueError(f"{path} has no frames; leave it out of the list.")
    scale = _SHORT.value / min(frames[0].height, frames[0].width)
    width, height = (
        max(_SHORT.value, round(scale * n)) for n in (frames[0].width, frames[0].height)
    )
    positions = np.linspace(0, len(frames) - 1, _FRAMES.value).round().astype(int)
    options = {"width": width, "height": height, "format": "rgb24", "interpolation": "AREA"}
    return np.stack([frames[i].reformat(**options).to_ndarray() for i in positions])


def _middle(clips: np.ndarray, height: int, width: int) -> np.ndarray:
    top, left = (clips.shape[-3] - height) // 2, (clips.shape[-2] - width) // 2
    return clips[..., top : top + height, left : left + width, :]


def augment(clips: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A window out of each clip, flipped or not."""
    return random_crop_and_flip(clips, _CROP.value, _CROP.value, rng)


def main() -> None:
    training_options.begin()
    (clips, labels), (test_clips, test_labels) = load(_DATA.value)
    num_classes = int(labels.max()) + 1
    crop = (_CROP.value, _CROP.value)
    model = SlowOnly(
        int(_DEPTH.value),
        num_classes,
        (clips.shape[1], *crop, 3),
        width=_WIDTH.value,
        dropout=_DROPOUT.value,
        **training_options.network_options(),
    )
    batches = training_options.training_batches(clips, labels, num_classes, augment)
    training_options.fit(model, batches, {"test": (_middle(test_clips, *crop), test_labels)})


if __name__ == "__main__":
    training_options.run(main)
