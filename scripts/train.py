"""Trains an action-recognition network on a converted dataset.

    python scripts/train.py --data=DIR --work_dir=DIR --model=slow_only_50 --rms=mean

DIR of --data is what pipelines/convert.py wrote. The work folder gets settings.json, checkpoints/,
log.csv, log.jsonl, tensorboard/ and, at the end, model.keras. Run the same command again to
continue after a kill. Without a GPU, a narrow network at a small size trains in minutes:

    python scripts/train.py --data=DIR --work_dir=DIR --model=slow_only_18 --width=16 \\
        --crop_size=64 --batch_size=16 --epochs=20
"""

import dataclasses
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from pipelines import quiet_tensorflow  # noqa: F401  (before what imports TensorFlow)

# isort: split
import keras
import tensorflow as tf
from absl import flags

from keras_rms import models
from keras_rms.training import settings as work_settings
from keras_rms.training.checkpointing import Checkpoints, model_state, save_model
from keras_rms.training.errors import TrainingStopped
from keras_rms.training.evaluation import ViewScorer
from keras_rms.training.loop import TrainingLoop
from keras_rms.training.optimizer import MomentumSGD
from keras_rms.training.position import Position
from keras_rms.training.run_log import ProgressLine, RunLog
from keras_rms.training.schedules import WarmupCosine
from keras_rms.training.strategies import (
    make_strategy,
    num_workers,
    replica_batch_size,
    worker_index,
)
from keras_rms.training.train_step import TrainStep
from keras_rms.training.validation import validate
from pipelines import command_line, input_pipeline
from pipelines.split_index import load_index

# Data
flags.DEFINE_string("data", None, "Folder of a converted dataset.", required=True)
flags.DEFINE_string("train_split", "train", "Split to train on.")
flags.DEFINE_string(
    "validation_split", "validation", "Split to validate on (3 clips a video); empty for none."
)
flags.DEFINE_integer("num_frames", 8, "Frames of a clip.")
flags.DEFINE_integer("span", 64, "Consecutive frames (at 25 fps) that they are taken from.")
flags.DEFINE_integer("crop_size", 224, "Height and width of a clip.")
flags.DEFINE_integer(
    "evaluation_crop_size", 0, "Height and width in evaluation; 0 for crop_size x 256 / 224."
)
flags.DEFINE_float("min_area", 0.25, "Smallest share of a frame that a random crop takes.")
flags.DEFINE_bool("flip", True, "Mirror half of the clips.")
flags.DEFINE_integer("data_workers", 0, "Threads that decode; 0 chooses.")

# Network
flags.DEFINE_string("model", "slow_only_50", "One of keras_rms.models.list().")
flags.DEFINE_enum("rms", "mean", ["mean", "gaussian", "none"], "Random Mean Scaling's filter.")
flags.DEFINE_integer("width", 64, "Channels of the stem; all others scale with it.")
flags.DEFINE_float("dropout", 0.5, "Share of the features dropped before the classifier.")

# Optimisation
flags.DEFINE_integer("batch_size", 64, "Clips a step, over all devices and machines.")
flags.DEFINE_integer("epochs", 196, "Times that every video is seen.")
flags.DEFINE_integer("steps_per_epoch", 0, "0 for as many as it takes to see every video.")
flags.DEFINE_float(
    "learning_rate", None, "Highest rate; by default 0.1 x batch_size / 64 (linear scaling)."
)
flags.DEFINE_float("warmup_epochs", None, "Linear warm-up; by default 34/196 of the epochs.")
flags.DEFINE_float("momentum", 0.9, "Nesterov momentum.")
flags.DEFINE_float("weight_decay", 1e-4, "Of kernels only.")
flags.DEFINE_float("label_smoothing", 0.0, "Share of the target spread over all classes.")
flags.DEFINE_integer("seed", 0, "Of initial weights, data order, augmentation and random layers.")

# Running
flags.DEFINE_string("work_dir", None, "Folder for all results.", required=True)
flags.DEFINE_integer(
    "replicas", 0, "Devices of this machine; 0 for all GPUs or one CPU; 2 on a CPU to try it."
)
flags.DEFINE_integer("validate_every", 1, "Epochs between validations.")
flags.DEFINE_integer("checkpoint_every", 500, "Steps between checkpoints, beside each epoch's end.")
flags.DEFINE_integer("keep_checkpoints", 3, "How many of the newest to keep.")
flags.DEFINE_integer("steps_per_call", 0, "Steps from one log line to the next; 0: about a second.")
flags.DEFINE_bool("deterministic", False, "Bitwise repeatable, at some cost in speed.")

FLAGS = flags.FLAGS

# Flags that change how a run is carried out and not what comes out of it.
_FREE = (
    "data",
    "data_workers",
    "work_dir",
    "replicas",
    "checkpoint_every",
    "keep_checkpoints",
    "steps_per_call",
    "deterministic",
)


def main(argv: Sequence[str]) -> int | None:
    if len(argv) > 1:
        raise ValueError(f"train.py takes flags only. Received: {' '.join(argv[1:])}")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")

    # Devices
    strategy = make_strategy(FLAGS.replicas)
    replica_batch_size(strategy, FLAGS.batch_size)
    worker, workers = worker_index(strategy), num_workers(strategy)
    if FLAGS.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(FLAGS.seed)

    # Data
    index = load_index(FLAGS.data, FLAGS.train_split)
    if FLAGS.validation_split:
        load_index(FLAGS.data, FLAGS.validation_split)
    steps_per_epoch = FLAGS.steps_per_epoch or -(-len(index.keys) // FLAGS.batch_size)
    total_steps = FLAGS.epochs * steps_per_epoch
    sampling = {"num_frames": FLAGS.num_frames, "span": FLAGS.span}
    sharding = {
        "num_workers": workers,
        "worker_index": worker,
        "data_workers": FLAGS.data_workers or None,
    }

    def training_data(start_step: int) -> tf.data.Dataset:
        return input_pipeline.training_dataset(
            FLAGS.data,
            FLAGS.train_split,
            batch_size=FLAGS.batch_size,
            crop_size=FLAGS.crop_size,
            min_area=FLAGS.min_area,
            flip=FLAGS.flip,
            seed=FLAGS.seed,
            start_step=start_step,
            **sampling,
            **sharding,
        )

    evaluation_crop_size = FLAGS.evaluation_crop_size or round(FLAGS.crop_size * 256 / 224)

    def validation_data() -> tf.data.Dataset:
        return input_pipeline.evaluation_dataset(
            FLAGS.data,
            FLAGS.validation_split,
            batch_size=FLAGS.batch_size,
            num_clips=3,
            num_crops=1,
            crop_size=evaluation_crop_size,
            **sampling,
            **sharding,
        )

    # Settings: all flags, with every default resolved
    learning_rate = FLAGS.learning_rate or 0.1 * FLAGS.batch_size / 64
    warmup_epochs = FLAGS.warmup_epochs
    if warmup_epochs is None:
        warmup_epochs = FLAGS.epochs * 34 / 196
    own_flags = {flag.name: flag.value for flag in FLAGS.get_key_flags_for_module(sys.argv[0])}
    settings = {
        **own_flags,
        "evaluation_crop_size": evaluation_crop_size,
        "steps_per_epoch": steps_per_epoch,
        "learning_rate": learning_rate,
        "warmup_epochs": warmup_epochs,
        "class_names": index.class_names,
        "num_videos": len(index.keys),
        "conversion": index.manifest["settings"],
        "num_replicas": strategy.num_replicas_in_sync,
        **work_settings.provenance(Path(__file__).parent),
    }
    work_dir = Path(FLAGS.work_dir)
    binding = [*own_flags.keys() - set(_FREE), "class_names", "num_videos", "conversion"]
    work_settings.check_same(work_dir, settings, sorted(binding))
    if worker == 0:
        work_dir.mkdir(parents=True, exist_ok=True)
        claim = work_settings.lock(work_dir)
        work_settings.write(work_dir, settings)

    # Network and optimizer
    def build() -> keras.Model:
        return models.build(
            FLAGS.model,
            num_classes=len(index.class_names),
            input_shape=(FLAGS.num_frames, None, None, 3),
            rms=None if FLAGS.rms == "none" else FLAGS.rms,
            width=FLAGS.width,
            dropout=FLAGS.dropout,
            include_preprocessing=True,
            seed=FLAGS.seed,
        )

    schedule = WarmupCosine(
        learning_rate, total_steps, warmup_steps=round(warmup_epochs * steps_per_epoch)
    )
    with strategy.scope():
        model = build()
        optimizer = MomentumSGD(
            model.trainable_variables,
            schedule,
            momentum=FLAGS.momentum,
            weight_decay=FLAGS.weight_decay,
        )
    step_function = TrainStep(
        model, optimizer, FLAGS.batch_size, label_smoothing=FLAGS.label_smoothing
    )

    # Resume
    checkpoints = Checkpoints(
        work_dir / "checkpoints",
        {**model_state(model), **optimizer.state()},
        keep=FLAGS.keep_checkpoints,
    )
    saved = checkpoints.restore_newest()
    position = Position(**saved) if saved else Position()
    if worker == 0:
        print(
            f"{FLAGS.model} with {model.count_params():,} parameters, {len(index.keys)} videos of "
            f"{len(index.class_names)} classes, {strategy.num_replicas_in_sync} replica(s); step "
            f"{position.step} of {total_steps}; results in {work_dir}",
            flush=True,
        )

    # Training
    callbacks = []
    if worker == 0:
        callbacks = [
            RunLog(work_dir, position.step),
            ProgressLine(FLAGS.epochs, steps_per_epoch),
        ]
    scorer = ViewScorer(model, strategy)

    def save(position: Position, best: bool) -> None:
        if worker == 0:
            checkpoints.save(position.step, dataclasses.asdict(position), best)

    loop = TrainingLoop(
        strategy,
        step_function,
        training_data,
        callbacks=callbacks,
        model=model,
        epochs=FLAGS.epochs,
        steps_per_epoch=steps_per_epoch,
        schedule=schedule,
        validate=(
            (lambda: validate(scorer, validation_data(), strategy))
            if FLAGS.validation_split
            else None
        ),
        validate_every=FLAGS.validate_every,
        save=save,
        checkpoint_every=FLAGS.checkpoint_every,
        steps_per_call=FLAGS.steps_per_call,
    )
    try:
        loop.run(position)
    except TrainingStopped as stop:
        print(command_line.paragraph(str(stop)), file=sys.stderr)
        return stop.exit_code

    # The finished network
    if worker == 0:
        finished = build()
        finished.set_weights(model.get_weights())
        save_model(finished, work_dir / "model.keras")
        claim.close()
    return None


if __name__ == "__main__":
    command_line.run(main)
