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

The JAX backend trains on the devices of one machine: KERAS_BACKEND=jax keras-rms train ...
"""

import dataclasses
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import recipes.by_name  # noqa: F401  (before what reads the flags)

# isort: split
from pipelines.system import quiet_tensorflow  # noqa: F401  (before what imports TensorFlow)

# isort: split
import keras
import numpy as np
import tensorflow as tf
from absl import flags

import train_flags
from keras_rms.training.devices import Devices
from keras_rms.training.recipe import BALANCED, Recipe
from keras_rms.training.run import Run
from keras_rms.training.running import Running
from keras_rms.training.training_data import TrainingData
from keras_rms.training.workers.cluster_watch import with_exit_status
from pipelines.input import damage, evaluation_dataset, open_split, training_stream
from pipelines.input.sequence_examples import SequenceIndex
from pipelines.input.splits import check_conversion
from pipelines.shards.split_index import Index
from pipelines.system import command_line, gpus, onednn

flags.adopt_module_key_flags(train_flags)
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
    _check_tuning(run)
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
    names = [field.name for field in dataclasses.fields(kind) if field.name in FLAGS]
    values = {name: FLAGS[name].value for name in names}
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }


def _recipe() -> Recipe:
    values = _values(Recipe)
    values["decay_epochs"] = _numbers("decay_epochs", "44,88")
    values["color_jitter"] = _numbers("color_jitter", "0.4 or 0.4,0.4,0.4,0.1")
    values["rand_augment"] = _numbers("rand_augment", "2,9")
    values["class_weights"] = _class_weights(FLAGS.class_weights)
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
    # Opened to be checked: one that cannot be read ends the run now, and not after an epoch.
    if FLAGS.validation_split:
        of = f"the videos to train on, {FLAGS.train_split}"
        validation_index = open_split(FLAGS.data, FLAGS.validation_split, FLAGS.format)
        check_conversion(validation_index, index.conversion, of, FLAGS.allow_other_conversion)
    # As PySlowFast evaluates at 256 what was trained at 224.
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
            order=FLAGS.order,
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
        videos_per_class=_videos_per_class(index),
        clip_shape=(FLAGS.num_frames, FLAGS.crop_size, FLAGS.crop_size, 3),
        settings=settings,
        defaults={name: FLAGS[name].default for name in settings if name in FLAGS},
        free_settings=free_settings,
    )


def _flags_of_the_data() -> dict[str, Any]:
    """All flags of this command that are neither `Recipe`'s nor `Running`'s."""
    own = {flag.name: flag.value for flag in FLAGS.get_key_flags_for_module(sys.argv[0])}
    others = {field.name for kind in (Recipe, Running) for field in dataclasses.fields(kind)}
    return {name: value for name, value in own.items() if name not in others}


def _numbers(flag: str, example: str) -> tuple[float, ...]:
    words = FLAGS[flag].value
    try:
        return tuple(float(word) for word in words)
    except ValueError:
        raise ValueError(
            f"`{flag}` must be numbers as in {example}. Received: {','.join(words)}"
        ) from None


def _class_weights(given: str | None) -> str | dict[str, float] | None:
    """What `Recipe` takes: numbers by the names of the classes, if a file is given."""
    if given is None or given == BALANCED:
        return given
    try:
        weights = json.loads(Path(given).read_text())
    except (OSError, ValueError) as error:
        raise ValueError(
            f"--class_weights={given} is neither {BALANCED} nor a file of JSON ({error})."
        ) from error
    if not isinstance(weights, dict):
        raise ValueError(
            f"{given} of --class_weights must hold a number for each class, as in "
            f'{{"first class": 1, "second class": 2.5}}. Received: {str(weights)[:80]}'
        )
    return weights


def _videos_per_class(index: Index | SequenceIndex) -> list[int] | None:
    if isinstance(index, SequenceIndex):
        return None
    return np.bincount(index.labels, minlength=len(index.class_names)).tolist()


def _check_tuning(run: Run) -> None:
    """What would train without an error and not as it was meant."""
    if run.recipe.class_weights == BALANCED and FLAGS.order == BALANCED:
        raise ValueError(
            "--class_weights=balanced and --order=balanced each make up for small classes, and "
            "both together do so twice: leave out one of them."
        )
    if run.recipe.freeze and not (run.running.init_from or run.folder.begun):
        raise ValueError(
            "--freeze keeps weights as they are, and without --init_from they are random: name "
            "the network to start from, or leave --freeze out."
        )


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
