"""How much trained networks rely on low and on high frequencies (the paper's figures 1 and 4).

    python scripts/examples/frequency_probe.py --model=plain.keras --model=rms.keras \\
        --data=cifar100.npz --num_classes=20 --images_per_class=50 --holdout_per_class=100 --seed=0

In each network one part of the features is scaled before all BNs of the last two stages, where RMS
acts in training: the local mean (low) or the residual (high); the other part stays. --data,
--num_classes, the numbers of images and --seed are those of the training; the networks come from
--save_model of image_classification.py. Prints a Markdown table of accuracies on the test images.

--renew_statistics measures the means and variances of the BNs anew, on the training images without
RMS. In training RMS adds to the variances that the BNs remember; if a network does better with the
renewed ones, it suffers from that.
"""

import re

import image_classification
import keras
import numpy as np
from absl import flags

import keras_rms
import training_options
from batches import one_hot

# What to probe.
_MODELS = flags.DEFINE_multi_string(
    "model", None, "Probe the trained network in this .keras file.", required=True
)
_SCALES = flags.DEFINE_list(
    "scales", ["0", "0.5", "1.5", "2"], "Scale the one part by each of these factors."
)
_RENEW = flags.DEFINE_bool(
    "renew_statistics", False, "Measure the statistics of batch normalisation anew."
)
_PLACES = flags.DEFINE_string(
    "places",
    r"res[34]_block\d+_bn\d",
    "Scale before the layers whose names match this regular expression.",
)
flags.adopt_module_key_flags(image_classification)

BATCH_SIZE = 250


def main() -> None:
    rng = training_options.begin()
    scales = [float(scale) for scale in _SCALES.value]
    train, test, num_classes = image_classification.keep_classes(
        *image_classification.load(flags.FLAGS.data), rng
    )
    training, _ = image_classification.split(train[1], rng)
    targets = one_hot(test[1], num_classes)
    head = ["Network", "Part", *(f"x {scale:g}" for scale in (1, *scales))]
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for path in _MODELS.value:
        model = keras.models.load_model(path)
        if _RENEW.value:
            renew_statistics(model, train[0][training])
        whole = accuracy(model, test[0], targets)
        for part in ("low", "high"):
            values = [whole] + [
                accuracy(scaled(model, part, scale), test[0], targets) for scale in scales
            ]
            cells = [path, part, *(f"{100 * value:.1f}" for value in values)]
            print(f"| {' | '.join(cells)} |", flush=True)


def scaled(model: keras.Model, part: str, scale: float) -> keras.Model:
    """The network with one part of its features scaled in the chosen places."""
    return keras_rms.insert_before(
        model,
        lambda layer: re.fullmatch(_PLACES.value, layer.name) is not None,
        keras_rms.FrequencyScaling(**{part: scale}),
    )


def accuracy(model: keras.Model, images: np.ndarray, targets: np.ndarray) -> float:
    """On the images, as a share of 1."""
    model.compile(loss=keras.losses.CategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return model.evaluate(images, targets, batch_size=BATCH_SIZE, verbose=0)[1]


def renew_statistics(model: keras.Model, images: np.ndarray) -> None:
    """Replaces the running averages of all BNs by the averages over the images' batches.

    RMS, RandomDrop and the like are as at inference meanwhile.
    """

    def call(layer: keras.layers.Layer, *args: object, **options: object) -> object:
        if isinstance(layer, keras.layers.BatchNormalization):
            options["training"] = True
        return layer(*args, **options)

    # The same layers in another graph, in which the BNs alone are in training.
    measuring = keras.models.clone_model(
        model, clone_function=lambda layer: layer, call_function=call
    )
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    momenta = [norm.momentum for norm in norms]
    for number in range(len(images) // BATCH_SIZE):
        for norm in norms:
            norm.momentum = number / (number + 1)
        measuring(images[number * BATCH_SIZE :][:BATCH_SIZE])
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum


if __name__ == "__main__":
    training_options.run(main)
