"""CIFAR-100 with Random Mean Scaling: a ResNet trained with `model.fit`, on any backend of Keras.

    KERAS_BACKEND=jax python scripts/examples/image_classification.py --data=keras --rms=mean \\
        --depth=110 --output=rms.json

It needs Keras with TensorFlow, JAX or PyTorch, NumPy, absl-py and, for folders, Pillow. DATA is
    keras       CIFAR-100 as Keras downloads it
    FILE.npz    arrays x_train, x_test (uint8, images x height x width x 3), y_train, y_test (the
                classes, numbers or words)
    FOLDER      train/CLASS/*.png and validation/CLASS/*.png (or .jpg), all images of one size

--images_per_class=20 trains on so many images of each class, drawn with --seed. Settings are chosen
on images that are never trained on: --holdout_per_class=50 keeps so many of the *training* images
of each class apart and evaluates on them too. The test images should be looked at once.
"""

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

_ENDINGS = (".png", ".jpg", ".jpeg")


def load(data: str) -> tuple[Labelled, Labelled]:
    """The training and the test images, each uint8 (images, height, width, 3) and labels.

    Raises:
        ValueError: If `data` is none of the three kinds, or if they do not fit together.
    """
    if data == "keras":
        train, test = _from_keras()
    elif data.endswith(".npz"):
        train, test = arrays.from_npz(data)
    elif Path(data, "train").is_dir():
        train, test = (_from_folder(Path(data, split)) for split in ("train", "validation"))
    else:
        raise ValueError(
            "--data must be keras, a file that ends in .npz, or a folder with "
            f"train/CLASS/*.png. Received: --data={data}"
        )
    arrays.check(data, ("height", "width", "3"), train, test)
    if train[0].shape[1:] != test[0].shape[1:]:
        raise ValueError(
            f"All images of {data} must have one size. Received: {train[0].shape[1:]} to train "
            f"on and {test[0].shape[1:]} to test"
        )
    return tuple((images, labels.reshape(-1)) for images, labels in (train, test))


def _from_keras() -> tuple[Labelled, Labelled]:
    try:
        return keras.datasets.cifar100.load_data()
    except Exception as error:  # Keras raises no other for what it cannot download
        raise ValueError(
            f"Keras cannot get CIFAR-100: {error}. Without a network give an .npz file or a folder."
        ) from error


def _from_folder(folder: Path) -> Labelled:
    images, labels = {}, []
    for path in sorted(folder.glob("[!.]*/[!.]*"), key=lambda path: path.parts):
        if path.suffix.lower() in _ENDINGS:
            images[path] = _read(path)
            labels.append(path.parent.name)
    sizes = {image.shape: path for path, image in images.items()}
    if len(sizes) != 1:
        examples = [f"{path} of {size}" for size, path in list(sizes.items())[:2]]
        raise ValueError(
            f"{folder} must hold CLASS/*.png, all of one size. "
            f"Received: {', '.join(examples) or 'no images'}"
        )
    return np.stack(list(images.values())), np.array(labels)


def _read(path: Path) -> np.ndarray:
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            if image.mode[0] in "IF":  # Pillow would cut them off at 255
                raise ValueError("it has more than 8 bits a channel; make them 8")
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except Exception as error:  # what damage raises depends on where in the file it is
        raise ValueError(f"{path} cannot be used: {error}. Mend it or leave it out.") from error


def keep_classes(
    train: Labelled, test: Labelled, rng: np.random.Generator
) -> tuple[Labelled, Labelled, int]:
    """The images of --num_classes classes, labelled anew from 0, and how many classes there are.

    Raises:
        ValueError: If there are fewer classes, or if none of these has test images.
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
    if not len(test[1]):
        raise ValueError(f"None of the classes that --seed draws is tested: {kept.tolist()}.")
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
    example_command.run(main)
