"""Trains an action-recognition network on a converted dataset.

    keras-rms train --data=DIR --work_dir=DIR --model=slow_only_50 --rms=mean

DIR of --data is what keras-rms convert wrote. The work folder gets settings.json, checkpoints/,
log.csv, log.jsonl, tensorboard/ and, at the end, model.keras. Run the same command again to
continue after a kill. Without a GPU, a narrow network at a small size trains in minutes:

    keras-rms train --data=DIR --work_dir=DIR --model=slow_only_18 --width=16 \\
        --crop_size=64 --batch_size=16 --epochs=20

The paper's settings are in scripts/recipes/; flags after one of them change it:

    keras-rms train --flagfile=mini_kinetics_slow_only_34 \\
        --data=DIR --work_dir=DIR --rms=gaussian

Images are clips of one frame, for networks of images:

    keras-rms train --data=DIR --work_dir=DIR --model=resnet_20 --num_frames=1 --span=1 \\
        --crop_size=32 --padding=4 --batch_size=128 --epochs=60

Several machines, which share the folders, each with its own --task (or TF_CONFIG, or under srun):

    keras-rms train --cluster=host0:2222,host1:2222 --task=0 --data=DIR --work_dir=DIR

Exit status: 0 finished, 1 wrong flags or files, 75 stopped by SIGTERM or Ctrl-C with all saved, 76
another worker was lost, 77 the loss was not finite, 130 Ctrl-C before training begins. After 75 and
76 the same command continues.

On one device the JAX backend trains too: KERAS_BACKEND=jax keras-rms train ...
"""

import dataclasses
import logging
import sys
from collections.abc import Sequence
from typing import Any

import recipes.by_name  # noqa: F401  (before what reads the flags)

# isort: split
from pipelines.system import quiet_tensorflow  # noqa: F401  (before what imports TensorFlow)

# isort: split
import keras
import tensorflow as tf
from absl import flags

from keras_rms import models
from keras_rms.training import recipe as choices
from keras_rms.training.devices import Devices
from keras_rms.training.recipe import Recipe
from keras_rms.training.run import Run
from keras_rms.training.running import Running
from keras_rms.training.training_data import TrainingData
from keras_rms.training.work_dir.initial_weights import HEADS
from keras_rms.training.workers.cluster_watch import with_exit_status
from pipelines.input import damage, evaluation_dataset, open_split, training_stream
from pipelines.input.splits import FORMATS, check_conversion
from pipelines.system import command_help, command_line, gpus, onednn

command_help.section("Data")
flags.DEFINE_string(
    "data",
    None,
    "Train on the converted dataset in this folder, which keras-rms convert wrote.",
    required=True,
)
flags.DEFINE_string("train_split", "train", "Train on the videos of this split.")
flags.DEFINE_string(
    "validation_split",
    "validation",
    "Validate on this split, over 3 clips of a video, or 1 with --span=1. Leave it empty for no "
    "validation.",
)
flags.DEFINE_integer(
    "num_frames", Recipe.num_frames, "Give the network this many frames a clip.", lower_bound=1
)
flags.DEFINE_integer(
    "span",
    64,
    "Spread the frames of a clip over this many consecutive frames of the video, of which "
    "keras-rms convert writes 25 a second.",
)
flags.DEFINE_integer(
    "crop_size", 224, "Train on crops of this height and width, in pixels.", lower_bound=1
)
flags.DEFINE_integer(
    "evaluation_crop_size",
    None,
    "Validate and evaluate on crops of this height and width, in pixels. By default crop_size x "
    "256 / 224, and crop_size with --padding.",
)
flags.DEFINE_integer(
    "evaluation_short_side",
    None,
    "Scale frames to this short side, in pixels, before they are cropped in validation and "
    "evaluation. By default evaluation_crop_size. On ImageNet 256 is usual for crops of 224.",
)
flags.DEFINE_float(
    "min_area", 0.25, "Let a random crop cover no smaller share of the frame's area than this."
)
flags.DEFINE_integer(
    "padding",
    None,
    "Scale frames to a short side of crop_size, put this many black pixels around them and cut "
    "crops out of that, in the place of crops of random area. On CIFAR 4 is usual.",
)
flags.DEFINE_bool("flip", True, "Mirror half of the training clips, left to right.")
flags.DEFINE_list(
    "flip_classes",
    [],
    "Exchange the labels of these pairs of class ids where a clip is mirrored, as in "
    "86:87,93:94,166:167. This has no effect under --noflip.",
)
flags.DEFINE_integer(
    "data_workers", None, "Read and decode with this many threads. By default one for each core."
)
flags.DEFINE_enum(
    "format",
    "records",
    sorted(FORMATS),
    "Read shards of this format: that of keras-rms convert, or that of DMVR and Model Garden "
    "(sequence_example).",
)
flags.DEFINE_enum(
    "on_damage",
    "stop",
    damage.POLICIES,
    "Stop at a damaged record, or skip its video and take another one.",
)
flags.DEFINE_bool(
    "allow_other_conversion",
    False,
    "Validate also on a split of another frame rate, size or quality than the one to train on, "
    "with a warning.",
)
flags.DEFINE_string(
    "data_service",
    None,
    "Let the workers of this tf.data service decode, as in grpc://host:port. Batches may then "
    "arrive in another order.",
)

command_help.section("Network")
flags.DEFINE_string("model", Recipe.model, f"Train one of {', '.join(models.list())}.")
flags.DEFINE_integer(
    "width",
    Recipe.width,
    "Give the stem this many channels; all other layers scale with it. By default as published.",
)
flags.DEFINE_float(
    "dropout",
    Recipe.dropout,
    "Drop this share of the features before the classifier. By default the network's own share.",
)
flags.DEFINE_enum(
    "residual_drop",
    Recipe.residual_drop,
    choices.RESIDUAL_DROPS,
    "Regularise the residual branches by this layer. The probability to keep a branch falls "
    "linearly with depth, down to last_survival.",
)
flags.DEFINE_float(
    "last_survival",
    Recipe.last_survival,
    "Keep the branch of the last block with this probability, under --residual_drop.",
    0.0,
    1.0,
)
flags.DEFINE_string(
    "init_from",
    Running.init_from,
    "Start from the weights of this work folder, .keras file or checkpoint.",
)
flags.DEFINE_enum(
    "init_head",
    Running.init_head,
    HEADS,
    "Keep the last layer of --init_from, or make it anew. By default it is kept for the same "
    "classes in the same order and, where their names are not known, for as many.",
)
flags.DEFINE_bool(
    "sync_bn",
    Recipe.sync_bn,
    "Take the statistics of batch normalisation over the clips of all devices together.",
)

command_help.section("Random Mean Scaling (RMS)")
flags.DEFINE_enum(
    "rms",
    Recipe.rms,
    choices.FILTERS,
    "Smooth the feature by this filter before its mean is scaled; none leaves RMS out.",
)
flags.DEFINE_float(
    "rms_stddev",
    Recipe.rms_stddev,
    "Give the filter of --rms=gaussian this standard deviation, in positions of the feature map.",
)
flags.DEFINE_enum(
    "rms_distribution",
    Recipe.rms_distribution,
    choices.DISTRIBUTIONS,
    "Draw alpha from this distribution.",
)
flags.DEFINE_float(
    "rms_mean", Recipe.rms_mean, "Draw alpha with this mean; the factor 1 changes nothing."
)
flags.DEFINE_float(
    "rms_spread",
    Recipe.rms_spread,
    "Draw alpha with this standard deviation (half the width, if uniform), as a factor.",
)
flags.DEFINE_enum(
    "rms_component",
    Recipe.rms_component,
    choices.COMPONENTS,
    "Scale this part of the feature by alpha: its local mean (RMS), the residual r, or the whole "
    "input x, as in the paper's Table 1 (c).",
)
flags.DEFINE_string(
    "rms_position",
    Recipe.rms_position,
    "Put RMS at this place in the residual branch, as in before_bn1. By default at the paper's.",
)
flags.DEFINE_list(
    "rms_stages", Recipe.rms_stages, "Put RMS into these stages. By default res4,res5."
)

command_help.section("Optimisation")
flags.DEFINE_integer(
    "batch_size",
    Recipe.batch_size,
    "Take this many clips a step, over all devices and machines together.",
)
flags.DEFINE_integer(
    "epochs",
    Recipe.epochs,
    "Train for this many epochs, in each of which every video comes once.",
    lower_bound=1,
)
flags.DEFINE_integer(
    "steps_per_epoch",
    Recipe.steps_per_epoch,
    "Let an epoch end after this many steps. By default after as many as see every video.",
)
flags.DEFINE_float(
    "learning_rate",
    Recipe.learning_rate,
    "Let the learning rate reach this value for the whole batch. By default 0.1 x batch_size / 64 "
    "(linear scaling).",
)
flags.DEFINE_enum(
    "schedule",
    Recipe.schedule,
    choices.SCHEDULES,
    "Let the learning rate fall along half a cosine, or in steps.",
)
flags.DEFINE_list(
    "decay_epochs",
    list(Recipe.decay_epochs),
    "Multiply the rate by decay_factor at these epochs, with --schedule=steps.",
)
flags.DEFINE_float(
    "decay_factor",
    Recipe.decay_factor,
    "Multiply the rate by this factor at each of --decay_epochs.",
)
flags.DEFINE_float(
    "warmup_epochs",
    Recipe.warmup_epochs,
    "Raise the rate linearly for this many epochs. By default for 34/196 of the epochs.",
)
flags.DEFINE_float(
    "warmup_start", Recipe.warmup_start, "Begin the warm-up at this share of the highest rate."
)
flags.DEFINE_float(
    "momentum",
    Recipe.momentum,
    "Carry this share of the last update on to the next (Nesterov momentum).",
)
flags.DEFINE_float(
    "weight_decay",
    Recipe.weight_decay,
    "Add this factor times the weights to the gradients, of kernels only.",
)
flags.DEFINE_float(
    "label_smoothing",
    Recipe.label_smoothing,
    "Spread this share of the target evenly over all classes.",
)
flags.DEFINE_enum(
    "mixing", Recipe.mixing, choices.MIXINGS, "Make two clips and their labels into one."
)
flags.DEFINE_float(
    "mixing_alpha",
    Recipe.mixing_alpha,
    "Draw the share of each clip in a mixture from Beta(a, a), where a is this number.",
)
flags.DEFINE_float(
    "mixing_probability", Recipe.mixing_probability, "Mix this share of the batches."
)
flags.DEFINE_float(
    "clip_norm",
    Recipe.clip_norm,
    "Shorten a gradient whose norm, over all weights, is above this number.",
)
flags.DEFINE_integer(
    "accumulation",
    Recipe.accumulation,
    "Compute the batch of each device in this many parts, one after the other, to save memory.",
)
flags.DEFINE_float(
    "average_decay",
    Recipe.average_decay,
    "Validate and keep a running average of the weights that decays by this factor a step, such "
    "as 0.999.",
)
flags.DEFINE_integer(
    "precise_bn_steps",
    Recipe.precise_bn_steps,
    "Measure the statistics of batch normalisation anew over this many batches before the network "
    "is evaluated.",
    lower_bound=0,
)
flags.DEFINE_enum(
    "precision",
    Recipe.precision,
    choices.PRECISIONS,
    "Let layers compute in this precision. Weights stay in float32; float16 scales the loss.",
)
flags.DEFINE_integer(
    "seed",
    Recipe.seed,
    "Derive weights, order of data, augmentation and random layers from this number.",
)

command_help.section("Running")
flags.DEFINE_string("work_dir", None, "Write all results into this folder.", required=True)
flags.DEFINE_integer(
    "replicas",
    Running.replicas,
    "Train on this many devices of this machine. 0 takes all GPUs, or one CPU; 2 on a CPU makes "
    "two logical devices, to try it.",
)
flags.DEFINE_list(
    "cluster",
    list(Running.cluster),
    "Train on several machines: host:port of each worker, in the same order on all of them.",
)
flags.DEFINE_integer(
    "task", Running.task, "Take this place in --cluster, a number that begins at 0."
)
flags.DEFINE_float(
    "worker_timeout",
    Running.worker_timeout,
    "Wait at most this many seconds for other workers to answer.",
)
flags.DEFINE_integer(
    "validate_every", Recipe.validate_every, "Validate whenever this many epochs are over."
)
flags.DEFINE_integer(
    "checkpoint_every",
    Running.checkpoint_every,
    "Write a checkpoint after so many steps, beside those at the ends of epochs.",
)
flags.DEFINE_integer(
    "keep_checkpoints",
    Running.keep_checkpoints,
    "Keep this many of the newest checkpoints, beside the best.",
)
flags.DEFINE_integer(
    "steps_per_call",
    Running.steps_per_call,
    "Take this many steps from one log line to the next; 0 takes as many as last about a second.",
)
flags.DEFINE_bool(
    "jit_compile",
    Running.jit_compile,
    "Compile the training step with XLA; on CPUs for one device only.",
)
flags.DEFINE_bool(
    "deterministic", Running.deterministic, "Make runs bitwise repeatable, at some cost in speed."
)

FLAGS = flags.FLAGS

# Flags of the data that change how clips are read and not which ones.
_FREE = ("data", "data_workers", "data_service", "on_damage", "allow_other_conversion")


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise ValueError(f"train.py takes flags only. Received: {' '.join(argv[1:])}")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    tf.get_logger().setLevel(logging.WARNING)
    if keras.backend.backend() == "tensorflow":
        gpus.tell_if_missed()
    run = Run(_recipe(), Running(**_values(Running)))
    if run.devices.trains_on_tensorflow_cpus and (chosen := onednn.chosen_for(FLAGS.precision)):
        print(chosen)
    damaged = _damage_counter()
    callbacks = []
    if damaged is not None:
        callbacks.append(keras.callbacks.LambdaCallback(on_train_end=lambda logs: _tell(damaged)))
    with damage.explained(FLAGS.data):
        run.train(_data(run.recipe, run.devices, damaged), callbacks)


def _values(kind: type) -> dict[str, Any]:
    """The flags that are fields of a dataclass, whose names they have."""
    values = {field.name: FLAGS[field.name].value for field in dataclasses.fields(kind)}
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }


def _recipe() -> Recipe:
    values = _values(Recipe)
    values["decay_epochs"] = _decay_epochs(FLAGS.decay_epochs)
    return Recipe(**values)


def _damage_counter() -> tf.Variable | None:
    """Counts the videos that are skipped, where the pipeline runs in this process."""
    if FLAGS.on_damage != "skip" or FLAGS.data_service:
        return None
    with tf.device("CPU:0"):
        return tf.Variable(0, dtype=tf.int64)


def _tell(damaged: tf.Variable) -> None:
    print(f"{damaged.numpy()} times another video took the place of a damaged one.")


def _data(recipe: Recipe, devices: Devices, damaged: tf.Variable | None) -> TrainingData:
    index = open_split(FLAGS.data, FLAGS.train_split, FLAGS.format)
    if FLAGS.validation_split:
        of = f"the videos to train on, {FLAGS.train_split}"
        validation_index = open_split(FLAGS.data, FLAGS.validation_split, FLAGS.format)
        check_conversion(validation_index, index.conversion, of, FLAGS.allow_other_conversion)
    enlarged = FLAGS.crop_size if FLAGS.padding is not None else round(FLAGS.crop_size * 256 / 224)
    evaluation_crop_size = FLAGS.evaluation_crop_size or enlarged
    evaluation_short_side = FLAGS.evaluation_short_side or evaluation_crop_size
    common = {
        "batch_size": recipe.batch_size,
        "num_frames": recipe.num_frames,
        "span": FLAGS.span,
        "num_workers": devices.workers,
        "worker_index": devices.worker,
        "data_workers": FLAGS.data_workers,
        "format": FLAGS.format,
        "on_damage": FLAGS.on_damage,
        "data_service": FLAGS.data_service,
    }

    def training(start_step: int) -> tf.data.Dataset:
        return training_stream(
            FLAGS.data,
            FLAGS.train_split,
            crop_size=FLAGS.crop_size,
            min_area=FLAGS.min_area,
            padding=FLAGS.padding,
            flip=FLAGS.flip and (_flipped_classes(FLAGS.flip_classes) or True),
            seed=recipe.seed,
            start_step=start_step,
            damaged=damaged,
            **common,
        )

    def validation() -> tf.data.Dataset:
        return evaluation_dataset(
            FLAGS.data,
            FLAGS.validation_split,
            num_clips=3 if FLAGS.span > 1 else 1,
            num_crops=1,
            crop_size=evaluation_crop_size,
            short_side=evaluation_short_side,
            **common,
        )

    settings = {
        **_flags_of_the_data(),
        "evaluation_crop_size": evaluation_crop_size,
        "evaluation_short_side": evaluation_short_side,
        "conversion": index.conversion,
    }
    free_settings = {name: settings.pop(name) for name in _FREE}
    return TrainingData(
        index.class_names,
        len(index.keys),
        training,
        validation if FLAGS.validation_split else None,
        clip_shape=(FLAGS.num_frames, FLAGS.crop_size, FLAGS.crop_size, 3),
        settings=settings,
        free_settings=free_settings,
    )


def _flags_of_the_data() -> dict[str, Any]:
    """All flags of this command that are neither `Recipe`'s nor `Running`'s."""
    own = {flag.name: flag.value for flag in FLAGS.get_key_flags_for_module(sys.argv[0])}
    others = {field.name for kind in (Recipe, Running) for field in dataclasses.fields(kind)}
    return {name: value for name, value in own.items() if name not in others}


def _decay_epochs(epochs: Sequence[str]) -> tuple[float, ...]:
    try:
        return tuple(float(epoch) for epoch in epochs)
    except ValueError:
        raise ValueError(
            f"`decay_epochs` must be numbers as in 44,88. Received: {','.join(epochs)}"
        ) from None


def _flipped_classes(pairs: Sequence[str]) -> dict[int, int]:
    """["86:87"] -> {86: 87, 87: 86}."""
    swapped = {}
    for pair in pairs:
        first, colon, second = pair.partition(":")
        if not (colon and first.isdecimal() and second.isdecimal()):
            raise ValueError(f"--flip_classes are pairs of ids as in 86:87. Received: {pair}")
        swapped |= {int(first): int(second), int(second): int(first)}
    return swapped


if __name__ == "__main__":
    command_line.run(lambda argv: with_exit_status(lambda: main(argv), command_line.paragraph))
