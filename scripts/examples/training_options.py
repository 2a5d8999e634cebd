"""What the examples share: the flags of a training, the regularisers and the result file.

Everything runs on TensorFlow, JAX and PyTorch; the data are NumPy arrays.
"""

import json
import math
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
from absl import flags

import keras_rms
from batches import Augment, Batches, one_hot, validate_batch_size
from keras_rms import residual_drop
from keras_rms.augmentation import augmented
from keras_rms.models.blocks import STAGES, rms_positions
from keras_rms.whole_files import whole_file

# Random Mean Scaling (RMS) and other regularisers.
_RMS = flags.DEFINE_enum(
    "rms",
    "mean",
    ["none", "mean", "gaussian"],
    "Smooth the feature by this filter before its mean is scaled; gaussian is RMS-GF.",
)
_COMPONENT = flags.DEFINE_enum(
    "component",
    "mean",
    ["mean", "residual", "input"],
    "Scale the local mean (RMS), the residual r (RS on r) or the input x (RS on x).",
)
_SPREAD = flags.DEFINE_float(
    "spread", 0.5, "Draw alpha with this standard deviation, as a factor.", lower_bound=0
)
_POSITION = flags.DEFINE_enum(
    "rms_position", "default", rms_positions(3), "Put RMS at this place in a block."
)
_STAGES = flags.DEFINE_multi_enum(
    "rms_stage",
    None,
    [*STAGES, "all"],
    "Put RMS into this stage, or into all. By default into the last two.",
)
_DROP = flags.DEFINE_enum(
    "residual_drop",
    "none",
    ["none", *residual_drop.NAMES],
    "End each residual branch with this layer.",
)
_SURVIVAL = flags.DEFINE_float(
    "survival",
    0.5,
    "Keep the branch of the last block with this probability, or this share of it, under "
    "--residual_drop.",
    lower_bound=0,
    upper_bound=1,
)
_CUTMIX = flags.DEFINE_float(
    "cutmix", 0.0, "Mix this share of the batches by CutMix.", lower_bound=0, upper_bound=1
)

# Augmentation, the same for all frames of a clip.
_JITTER = flags.DEFINE_list(
    "color_jitter",
    [],
    "Change brightness, contrast and saturation by factors of 1 plus or minus up to this number, "
    "or three of them; a fourth is the largest turn of the hue, as a share of the circle.",
)
_RAND_AUGMENT = flags.DEFINE_list(
    "rand_augment",
    [],
    "Make this number of RandAugment's changes, of this magnitude from 0 to 10, as in 2,9.",
)
_ERASING = flags.DEFINE_float(
    "random_erasing",
    0.0,
    "Erase a random box in this share of the examples.",
    lower_bound=0,
    upper_bound=1,
)

# Optimisation.
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 128, "Take this number of examples a step.", lower_bound=1
)
_EPOCHS = flags.DEFINE_integer(
    "epochs", 200, "Go over the training data this number of times.", lower_bound=1
)
_RATE = flags.DEFINE_float(
    "learning_rate", 0.1, "Let the learning rate rise to this value and fall again.", lower_bound=0
)
_DECAY = flags.DEFINE_float(
    "weight_decay",
    5e-4,
    "Add this factor times the weights to the gradients, as published recipes count it.",
    lower_bound=0,
)
_MOMENTUM = flags.DEFINE_float(
    "momentum",
    0.9,
    "Carry this share of the last update on to the next (Nesterov momentum).",
    lower_bound=0,
    upper_bound=0.999,
)
_DTYPE = flags.DEFINE_enum(
    "dtype",
    "float32",
    ["float32", "mixed_bfloat16", "mixed_float16"],
    "Let layers compute in this precision.",
)
_SEED = flags.DEFINE_integer(
    "seed", 0, "Derive data, weights and training from this number.", lower_bound=0
)

# Results.
_EVERY = flags.DEFINE_integer(
    "validate_every", 1, "Validate whenever this many epochs are over.", lower_bound=1
)
_OUTPUT = flags.DEFINE_string("output", None, "Write the result into this JSON file.")
_SAVE = flags.DEFINE_string("save_model", None, "Save the trained network in this .keras file.")


def begin() -> np.random.Generator:
    """Sets precision and seeds; returns the generator that chooses the data.

    Raises:
        ValueError: If a flag is given that changes nothing beside the others.
    """
    if _DROP.value == "none":
        refuse_given((_SURVIVAL,), "without --residual_drop")
    keras.config.set_dtype_policy(_DTYPE.value)
    keras.utils.set_random_seed(_SEED.value)
    return np.random.default_rng(_SEED.value)


def refuse_given(holders: Iterable[flags.FlagHolder], where: str) -> None:
    """Raises ValueError if one of the flags is given: there it would change nothing."""
    for holder in holders:
        if flags.FLAGS[holder.name].present:
            raise ValueError(f"--{holder.name} has no effect {where}: leave it out.")


def refuse_outputs() -> None:
    """Raises ValueError for the flags of a training's results, where nothing is trained."""
    refuse_given((_OUTPUT, _SAVE), "where nothing is trained")


def check_batch_size(num_examples: int) -> None:
    """Raises ValueError if there is not one whole batch."""
    validate_batch_size(_BATCH_SIZE.value, num_examples)


def training_batches(
    examples: np.ndarray, labels: np.ndarray, num_classes: int, augment: Augment
) -> Batches:
    """See `Batches`; the rest of its arguments are flags."""
    return Batches(
        examples,
        one_hot(labels, num_classes),
        augment,
        batch_size=_BATCH_SIZE.value,
        cutmix_share=_CUTMIX.value,
        seed=_SEED.value,
    )


def network_options() -> dict:
    """The arguments of the network's builder that the flags stand for."""
    rms = None
    if _RMS.value != "none":
        rms = keras_rms.RandomMeanScaling(
            smoothing=_RMS.value, component=_COMPONENT.value, spread=_SPREAD.value
        )
    drop = None
    if _DROP.value != "none":
        drop = residual_drop.residual_drop_of(_DROP.value, _SURVIVAL.value)
    options = {"rms": rms, "rms_position": _POSITION.value, "residual_drop": drop}
    if _STAGES.value:
        options["rms_stages"] = STAGES if "all" in _STAGES.value else tuple(_STAGES.value)
    return {**options, "include_preprocessing": True, "seed": _SEED.value}


def augmented_network(model: keras.Model) -> keras.Model:
    """The model with the augmentation that the flags ask for.

    Raises:
        ValueError: If a flag fits neither augmentation nor network.
    """
    names = [x.name for x in model.layers if isinstance(x, keras_rms.RandomMeanScaling)]
    stages = () if _RMS.value == "none" else _STAGES.value or ()
    for stage in {*stages} - {"all"}:
        if not any(name.startswith(stage) for name in names):
            raise ValueError(f"This network has no stage {stage}: leave out --rms_stage={stage}.")
    try:
        numbers = [tuple(map(float, flag.value)) for flag in (_JITTER, _RAND_AUGMENT)]
    except ValueError as error:
        raise ValueError(f"--color_jitter and --rand_augment must be numbers: {error}") from None
    jitter, rand_augment = numbers
    return augmented(
        model,
        color_jitter=jitter,
        rand_augment=rand_augment,
        random_erasing=_ERASING.value,
        seed=_SEED.value,
    )


def fit(
    model: keras.Model, batches: Batches, evaluations: dict[str, tuple[np.ndarray, np.ndarray]]
) -> None:
    """Trains, evaluates at the end and writes the result.

    Args:
        model: From uint8 examples to logits.
        batches: Of the training.
        evaluations: Name, as "holdout" or "test" -> examples and labels; a holdout is also
            evaluated during training.

    Raises:
        ValueError: If the loss is no longer a number, or a flag does not fit the network.
    """
    started, num_classes = time.perf_counter(), batches.targets.shape[1]
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    trained = augmented_network(model)
    trained.compile(_optimizer(len(batches)), loss, metrics=["accuracy"])
    targets = {name: (x, one_hot(y, num_classes)) for name, (x, y) in evaluations.items()}
    history = trained.fit(
        batches,
        epochs=_EPOCHS.value,
        shuffle=False,  # `Batches` has its own order.
        validation_data=targets.get("holdout"),
        validation_freq=_EVERY.value,
        validation_batch_size=250,
        callbacks=[keras.callbacks.TerminateOnNaN()],
        verbose=2,
    )
    seconds = time.perf_counter() - started
    result = {
        "settings": {flag.name: flag.value for flag in _own_flags()},
        "backend": keras.backend.backend(),
        "keras": keras.__version__,
        "parameters": model.count_params(),
        "training_examples": len(batches.examples),
        "training_seconds": seconds,
        "history": history.history,
    }
    if not math.isfinite(history.history["loss"][-1]):
        _write({**result, "history": {}, "diverged": True})
        raise ValueError("The loss is no longer a number. Give a lower --learning_rate.")
    for name, (x, y) in targets.items():
        loss, accuracy = trained.evaluate(x, y, batch_size=250, verbose=0)
        result[name] = {"loss": loss, "accuracy": accuracy, "examples": len(x)}
        print(f"{name}: {accuracy:.2%} of {len(x)}", flush=True)
    try:
        if _SAVE.value:
            with _new_file(_SAVE.value) as unfinished:
                model.save(unfinished)
    finally:  # without the network the result is worth its hours too
        _write(result)


def _optimizer(steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """Nesterov's SGD; the rate rises in the first twentieth and falls as a cosine."""
    steps = _EPOCHS.value * steps_per_epoch
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps - steps // 20, warmup_target=_RATE.value, warmup_steps=steps // 20
    )
    # Keras decays the weight itself, once a step; what is added to the gradient also goes through
    # the momentum, which multiplies it by 1 / (1 - momentum) in the long run.
    decay = _DECAY.value / (1 - _MOMENTUM.value)
    optimizer = keras.optimizers.SGD(rate, _MOMENTUM.value, nesterov=True, weight_decay=decay)
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    return optimizer


def _own_flags() -> list[flags.Flag]:
    """Those of this module and of the script that runs."""
    own = flags.FLAGS.get_key_flags_for_module(sys.argv[0])
    return [flag for flag in own if flag.name not in ("output", "save_model")]


def _write(result: dict) -> None:
    if _OUTPUT.value:
        with _new_file(_OUTPUT.value) as unfinished:
            unfinished.write_text(json.dumps(result, indent=1) + "\n")


@contextmanager
def _new_file(path: str) -> Iterator[Path]:
    """A name to write a file under; its error names the file, as the disk's own does not."""
    Path(path).absolute().parent.mkdir(parents=True, exist_ok=True)
    try:
        with whole_file(path) as unfinished:
            yield unfinished
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), path) from error
