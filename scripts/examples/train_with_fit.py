"""Trains with Keras's own `model.fit`, on TensorFlow, JAX or PyTorch.

    python scripts/examples/train_with_fit.py --data=DIR
    KERAS_BACKEND=torch python scripts/examples/train_with_fit.py --data=DIR --network=own

DIR is what keras-rms convert or keras-rms demo wrote: it has the splits train and validation.
The network is one of the package, or a small one of one's own. It is validated on one clip of each
video, and scored at the end on 30 views of each.
"""

from collections.abc import Sequence

from pipelines.system import quiet_tensorflow  # noqa: F401  (before what imports TensorFlow)

# isort: split
import keras
from absl import flags

import keras_rms
from keras_rms.inference import Scores, ViewScorer
from pipelines.input import evaluation_dataset, open_split, training_dataset, validation_dataset
from pipelines.system import command_help, command_line

command_help.section("What to train")
_DATA = flags.DEFINE_string(
    "data", None, "Train on the converted dataset in this folder.", required=True
)
_NETWORK = flags.DEFINE_enum(
    "network",
    "slow_only_18",
    ["slow_only_18", "own"],
    "Train this network of the package, or the small one of this file.",
)
_EPOCHS = flags.DEFINE_integer(
    "epochs", 10, "Show every video this number of times.", lower_bound=1
)
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 8, "Take this many clips at a time.", lower_bound=1
)
_CROP_SIZE = flags.DEFINE_integer(
    "crop_size", 64, "Cut clips of this height and width, in pixels.", lower_bound=1
)


def main(arguments: Sequence[str]) -> None:
    if len(arguments) > 1:
        raise ValueError(f"Unknown arguments: {' '.join(arguments[1:])}. See --help.")
    num_classes = len(open_split(_DATA.value, "train").class_names)
    if _NETWORK.value == "own":
        network = own_network(num_classes)
    else:
        network = keras_rms.models.build(
            _NETWORK.value,
            num_classes=num_classes,
            input_shape=(8, None, None, 3),
            include_preprocessing=True,
            width=16,
        )
    sizes = {"batch_size": _BATCH_SIZE.value, "crop_size": _CROP_SIZE.value}
    accuracy, scores = train_and_score(network, _DATA.value, _EPOCHS.value, **sizes)
    print(
        f"{len(scores.labels)} videos: top-1 {accuracy:.2%} of one view, "
        f"{scores.top_k(1):.2%} of 30 views"
    )


def train_and_score(
    network: keras.Model, data: str, epochs: int, **sizes: int
) -> tuple[float, Scores]:
    """Trains a network that gives logits; its accuracy on one view, and its scores on 30."""
    train = training_dataset(data, **sizes)
    validation = validation_dataset(data, **sizes)
    views = evaluation_dataset(data, "validation", num_clips=10, num_crops=3, **sizes)

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile("adam", loss, metrics=["accuracy"])
    network.fit(train, validation_data=validation, epochs=epochs, verbose=2)
    _, accuracy = network.evaluate(validation, verbose=0)
    scores = ViewScorer(network).scores(views)
    return accuracy, scores


def own_network(num_classes: int) -> keras.Model:
    """uint8 clips (batch, 8, height, width, 3) -> logits (batch, num_classes)."""
    clips = keras.Input((8, None, None, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(clips)
    for channels in (16, 32):
        x = keras.layers.Conv3D(channels, 3, strides=2, padding="same", use_bias=False)(x)
        x = keras_rms.RandomMeanScaling()(x)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.ReLU()(x)
    x = keras.layers.GlobalAveragePooling3D()(x)
    return keras.Model(clips, keras.layers.Dense(num_classes)(x))


if __name__ == "__main__":
    command_line.run(main)
