"""How much trained networks rely on low and on high frequencies (the paper's figures 1 and 4).

    python scripts/examples/frequency_probe.py --model=plain.keras --model=rms.keras \\
        --data=cifar100.npz --num_classes=20 --images_per_class=50 --holdout_per_class=100 --seed=0

In each network one part of the features is scaled before all BNs of the last two stages, where RMS
acts in training: the local mean (low) or the residual (high); the other part stays. --data,
--num_classes, the numbers of images and --seed are those of the training; the networks come from
--save_model of image_classification.py. Prints a Markdown table of accuracies on the test images;
--picture draws it, and needs Matplotlib.

A scaled feature has another mean and variance than the BN behind it remembers, and the low part
holds the whole mean. --renew_statistics tells that apart. It measures the BNs' means and variances
anew, on the training images, without RMS: `before` the scaling (in training RMS adds to the
variances; a network that does better with renewed ones suffers from that), or `after` it, so that
each BN knows the features it gets.
"""

import math
import re
from pathlib import Path

import keras
import numpy as np
from absl import flags

import example_command
import image_classification
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
_RENEW = flags.DEFINE_enum(
    "renew_statistics",
    "never",
    ["never", "before", "after"],
    "Measure the statistics of batch normalisation anew, before or after the scaling.",
)
_PLACES = flags.DEFINE_string(
    "places",
    None,
    "Scale before the layers whose names match this regular expression. By default before the BNs "
    "of the branches in the last two stages.",
)
_PICTURE = flags.DEFINE_string(
    "picture", None, "Draw the accuracies into this .png, .svg, .pdf or .jpg file."
)
flags.adopt_module_key_flags(image_classification)

BATCH_SIZE = 250


def main() -> None:
    rng = training_options.begin()
    training_options.refuse_outputs()
    scales = sorted({1.0, *_scales()})
    train, test, num_classes = image_classification.keep_classes(
        *image_classification.load(flags.FLAGS.data), rng
    )
    training, _ = image_classification.split(train[1], rng)
    known, targets = train[0][training], one_hot(test[1], num_classes)
    models = {path: _loaded(path, known.shape[1:], num_classes) for path in _MODELS.value}
    head = ["Network", "Part", *(f"x {scale:g}" for scale in scales)]
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    lines = {}
    for path, model in models.items():
        if _RENEW.value == "before":
            renew_statistics(model, known)
        whole = measured(model, "low", 1.0, known, test[0], targets)
        for part in ("low", "high"):
            values = [
                whole if scale == 1 else measured(model, part, scale, known, test[0], targets)
                for scale in scales
            ]
            lines[path, part] = values
            cells = [path, part, *(f"{100 * value:.1f}" for value in values)]
            print(f"| {' | '.join(cells)} |", flush=True)
    if _PICTURE.value:
        draw(lines, scales, _PICTURE.value)


def _scales() -> list[float]:
    """Raises ValueError for these or --places, if they cannot be read."""
    try:
        re.compile(_PLACES.value or "")
        return [float(scale) for scale in _SCALES.value]
    except (ValueError, re.error) as error:
        raise ValueError(
            f"--scales must be numbers, and --places a regular expression: {error}"
        ) from None


def _loaded(path: str, image: tuple[int, ...], num_classes: int) -> keras.Model:
    """The network, if it was trained on as many classes of such images."""
    if not Path(path).is_file():
        raise ValueError(f"--model must name a .keras file. Received: {path}")
    model = keras.models.load_model(path)
    if (model.input_shape[1:], model.output_shape[1:]) != (image, (num_classes,)):
        raise ValueError(
            f"{path} takes {model.input_shape[1:]} and knows {model.output_shape[-1]} classes; the "
            f"images are {image}, of {num_classes} classes. Give --data, --num_classes and --seed "
            "of its training."
        )
    return model


def measured(
    model: keras.Model,
    part: str,
    scale: float,
    known: np.ndarray,
    images: np.ndarray,
    targets: np.ndarray,
) -> float:
    """The accuracy on images with one part scaled; `known` renews the statistics, if wanted."""
    changed = scaled(model, part, scale)
    if _RENEW.value == "after":
        renew_statistics(changed, known)
    return accuracy(changed, images, targets)


def scaled(model: keras.Model, part: str, scale: float) -> keras.Model:
    """A copy of the network with one part of its features scaled in the chosen places."""
    places = _PLACES.value or _last_stages(model)
    return keras_rms.insert_before(
        model,
        lambda layer: re.fullmatch(places, layer.name) is not None,
        keras_rms.FrequencyScaling(**{part: scale}),
    )


def _last_stages(model: keras.Model) -> str:
    """The BNs of the branches there: networks for CIFAR have three stages, others four."""
    stages = {layer.name[:4] for layer in model.layers if re.match(r"res\d_", layer.name)}
    return rf"({'|'.join(sorted(stages)[-2:])})_block\d+_bn\d"


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
    parts = np.array_split(images, math.ceil(len(images) / BATCH_SIZE))
    for number, part in enumerate(parts):
        for norm in norms:
            norm.momentum = number / (number + 1)
        measuring(part)
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum


def draw(lines: dict[tuple[str, str], list[float]], scales: list[float], path: str) -> None:
    """One colour a network; a circle is the low part, a triangle the high one, as in the paper."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.add_subplot(xlabel="scale of the part", ylabel="test accuracy, %")
    names = list(dict.fromkeys(name for name, _ in lines))
    for (name, part), values in lines.items():
        axes.plot(
            scales,
            [100 * value for value in values],
            {"low": "o-", "high": "^--"}[part],
            color=f"C{names.index(name)}",
            label=f"{example_command.label_of(name)}, {part}",
        )
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    example_command.save_picture(figure, path)


if __name__ == "__main__":
    example_command.run(main)
