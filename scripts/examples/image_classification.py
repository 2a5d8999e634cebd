"""CIFAR-100 with Random Mean Scaling: a ResNet trained with `model.fit`, on any backend of Keras.

    KERAS_BACKEND=jax python scripts/examples/image_classification.py --data=keras --rms=mean \\
        --depth=110 --output=rms.json

It needs Keras with TensorFlow, JAX or PyTorch, NumPy, absl-py and, for folders, Pillow. DATA is
    keras       CIFAR-100 as Keras downloads it
    FILE.npz    arrays x_train, x_test (uint8, images x height x width x 3), y_train, y_test (int)
    FOLDER      train/CLASS/*.png and validation/CLASS/*.png, all images of one size

--images_per_class=20 trains on so many images of each class, drawn with --seed. Settings are chosen
on images that are never trained on: --holdout_per_class=50 keeps so many of the *training* images
of each class apart and evaluates on them too. The test images should be looked at once.
"""

import os
from collections.abc import Sequence
from pathlib import Path

# For TensorFlow, before it is imported: it is slow on many processors without oneDNN.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import numpy as np
from absl import flags

import training_options
from batches import check_test_classes, random_crop_and_flip
from keras_rms.models import ResNet2D
from keras_rms.models.resnet_2d import VARIANTS

# Data and network.
_DATA = flags.DEFINE_string(
    "data", None, "Train on CIFAR-100 (keras), this .npz file or this folder.", required=True
)
_DEPTH = flags.DEFINE_enum(
    "depth", "20", [str(depth) for depth in VARIANTS], "Build a ResNet of this depth."
)
_WIDTH = flags.DEFINE_integer(
    "width", None, "Give the stem this many channels. By default as published.", lower_bound=1
)
_CLASSES = flags.DEFINE_integer(
    "num_classes",
    None,
    "Keep this many classes, drawn with --seed. By default all.",
    lower_bound=2,
)
_IMAGES = flags.DEFINE_integer(
    "images_per_class",
    None,
    "Train on this number of images of each class, drawn with --seed. By default on all.",
    lower_bound=1,
)
_HOLDOUT = flags.DEFINE_integer(
    "holdout_per_class",
    0,
    "Keep this number of training images of each class apart, and evaluate on them.",
    lower_bound=0,
)
_PADDING = flags.DEFINE_integer(
    "padding", 4, "Put this many black pixels around an image before it is cropped.", lower_bound=0
)
flags.adopt_module_key_flags(training_options)

Images = tuple[np.ndarray, np.ndarray]


def load(data: str) -> tuple[Images, Images]:
    """The training and the test images, each uint8 (images, height, width, 3) and labels.

    Raises:
        ValueError: If `data` is none of the three kinds, or incomplete.
    """
    if data == "keras":
        train, test = keras.datasets.cifar100.load_data()
    elif data.endswith(".npz"):
        train, test = _from_npz(data)
    else:
        names = sorted(path.name for path in Path(data, "train").glob("*") if path.is_dir())
        if not names:
            raise ValueError(
                "--data must be keras, a file that ends in .npz, or a folder with "
                f"train/CLASS/*.png. Received: --data={data}"
            )
        train, test = (_from_folder(Path(data, split), names) for split in ("train", "validation"))
    return tuple((images, labels.reshape(-1).astype("int64")) for images, labels in (train, test))


def _from_npz(path: str) -> tuple[Images, Images]:
    with np.load(path) as arrays:
        missing = {"x_train", "y_train", "x_test", "y_test"} - set(arrays)
        if missing:
            raise ValueError(f"{path} must have the arrays {sorted(missing)}; it has not.")
        train = arrays["x_train"], arrays["y_train"]
        test = arrays["x_test"], arrays["y_test"]
    for name, (images, labels) in (("train", train), ("test", test)):
        if images.dtype != "uint8" or images.ndim != 4 or len(images) != labels.size:
            raise ValueError(
                f"x_{name} in {path} must be uint8 (images, height, width, 3) with a label for "
                f"each image. Received: {images.dtype} {images.shape} and {labels.size} labels"
            )
    return train, test


def _from_folder(folder: Path, names: Sequence[str]) -> Images:
    from PIL import Image

    images, labels = [], []
    for label, name in enumerate(names):
        for path in sorted((folder / name).glob("*.png")):
            images.append(np.asarray(Image.open(path).convert("RGB")))
            labels.append(label)
    sizes = {image.shape for image in images}
    if len(sizes) != 1:
        raise ValueError(
            f"{folder} must hold CLASS/*.png of one size, for the classes of train. "
            f"Received: {len(images)} images of the sizes {sorted(sizes)}"
        )
    return np.stack(images), np.array(labels)


def keep_classes(
    train: Images, test: Images, rng: np.random.Generator
) -> tuple[Images, Images, int]:
    """The images of --num_classes classes, labelled anew from 0, and how many classes there are.

    Raises:
        ValueError: If there are fewer classes.
    """
    classes = np.unique(train[1])
    wanted = _CLASSES.value or len(classes)
    if wanted > len(classes):
        raise ValueError(f"--num_classes must be at most {len(classes)}. Received: {wanted}")
    kept = np.sort(rng.choice(classes, wanted, replace=False))
    train, test = (
        (images[np.isin(labels, kept)], np.searchsorted(kept, labels[np.isin(labels, kept)]))
        for images, labels in (train, test)
    )
    return train, test, wanted


def split(labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Which images to train on and which to hold out, the same number of each class.

    Raises:
        ValueError: If a class has too few images.
    """
    training, holdout = [], []
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        wanted = _HOLDOUT.value + (_IMAGES.value or 1)
        if len(rows) < wanted:
            raise ValueError(
                f"--images_per_class and --holdout_per_class need {wanted} images of each class; "
                f"class {label} has {len(rows)}."
            )
        # The held-out images come first: they stay the same for every --images_per_class.
        holdout.append(rows[: _HOLDOUT.value])
        training.append(rows[_HOLDOUT.value :][: _IMAGES.value])
    return np.concatenate(training), np.concatenate(holdout)


def augment(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A window out of each image with a black border, flipped or not."""
    pad = (_PADDING.value, _PADDING.value)
    padded = np.pad(images, ((0, 0), pad, pad, (0, 0)))
    return random_crop_and_flip(padded, *images.shape[1:3], rng)


def main() -> None:
    rng = training_options.begin()
    train, test = load(_DATA.value)
    check_test_classes(train[1], test[1])
    (images, labels), test, num_classes = keep_classes(train, test, rng)
    training, holdout = split(labels, rng)
    model = ResNet2D(
        int(_DEPTH.value),
        num_classes,
        images.shape[1:],
        width=_WIDTH.value,
        **training_options.network_options(),
    )
    batches = training_options.training_batches(
        images[training], labels[training], num_classes, augment
    )
    evaluations = {"test": test}
    if len(holdout):
        evaluations = {"holdout": (images[holdout], labels[holdout]), **evaluations}
    training_options.fit(model, batches, evaluations)


if __name__ == "__main__":
    training_options.run(main)
