"""Trains an action-recognition network on a converted dataset.

    python scripts/train.py --data=DIR --work_dir=DIR --model=slow_only_50 --rms=mean

DIR of --data is what pipelines/convert.py wrote. The work folder gets settings.json, checkpoints/,
log.csv, log.jsonl, tensorboard/ and, at the end, model.keras. Run the same command again to
continue after a kill. Without a GPU, a narrow network at a small size trains in minutes:

    python scripts/train.py --data=DIR --work_dir=DIR --model=slow_only_18 --width=16 \\
        --crop_size=64 --batch_size=16 --epochs=20

The paper's settings are in scripts/recipes/; flags after one of them change it:

    python scripts/train.py --flagfile=scripts/recipes/mini_kinetics_slow_only_34.flags \\
        --data=DIR --work_dir=DIR --rms=gaussian

Images are clips of one frame, for networks of images:

    python scripts/train.py --data=DIR --work_dir=DIR --model=resnet_20 --num_frames=1 --span=1 \\
        --crop_size=32 --padding=4 --batch_size=128 --epochs=60

Several machines, which share the folders, each with its own --task (or TF_CONFIG, or under srun):

    python scripts/train.py --cluster=host0:2222,host1:2222 --task=0 --data=DIR --work_dir=DIR

Exit status: 0 finished, 1 wrong flags or files, 75 stopped by SIGTERM or Ctrl-C with all saved, 76
another worker was lost, 77 the loss was not finite, 130 Ctrl-C before training begins. After 75 and
76 the same command continues.

On one device the JAX backend trains too: KERAS_BACKEND=jax python scripts/train.py ...
"""

import dataclasses
import json
import logging
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from pipelines.system import quiet_tensorflow  # noqa: F401  (before what imports TensorFlow)

# isort: split
import keras
import numpy as np
import tensorflow as tf
from absl import flags

from keras_rms import RandomDrop, RandomMeanScaling, ShakeDrop, models
from keras_rms.inference.view_scores import ViewScorer
from keras_rms.models.training_memory import training_memory
from keras_rms.training import host_memory
from keras_rms.training.batch_norm.precise import PreciseBatchNorm
from keras_rms.training.batch_norm.synchronized import synchronize_batch_norm
from keras_rms.training.errors import NotFinite
from keras_rms.training.loop.position import Position
from keras_rms.training.loop.train_step import TrainStep
from keras_rms.training.loop.training_loop import TrainingLoop
from keras_rms.training.loop.validation import validate
from keras_rms.training.networks import build_network
from keras_rms.training.optimization.loss_scaling import LossScale
from keras_rms.training.optimization.mixing import CutMix, MixUp
from keras_rms.training.optimization.optimizer import MomentumSGD
from keras_rms.training.optimization.schedules import WarmupCosine, WarmupSteps
from keras_rms.training.optimization.weight_average import WeightAverage
from keras_rms.training.work_dir import settings as work_settings
from keras_rms.training.work_dir.checkpoints import Checkpoints, model_state
from keras_rms.training.work_dir.initial_weights import initialise_from
from keras_rms.training.work_dir.progress_line import ProgressLine
from keras_rms.training.work_dir.run_log import RunLog
from keras_rms.training.work_dir.whole_files import save_model, saving, write_whole
from keras_rms.training.workers import strategies
from keras_rms.training.workers.cluster_watch import answered_within, with_exit_status
from pipelines.input import damage, evaluation_dataset, open_split, training_stream
from pipelines.input.splits import FORMATS
from pipelines.system import command_help, command_line, gpus, onednn

command_help.section("Data")
flags.DEFINE_string(
    "data",
    None,
    "Train on the converted dataset in this folder, which pipelines/convert.py wrote.",
    required=True,
)
flags.DEFINE_string("train_split", "train", "Train on the videos of this split.")
flags.DEFINE_string(
    "validation_split",
    "validation",
    "Validate on this split, over 3 clips of a video, or 1 with --span=1. Leave it empty for no "
    "validation.",
)
flags.DEFINE_integer("num_frames", 8, "Give the network this many frames a clip.", lower_bound=1)
flags.DEFINE_integer(
    "span",
    64,
    "Spread the frames of a clip over this many consecutive frames of the video, of which "
    "pipelines/convert.py writes 25 a second.",
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
    "Read shards of this format: that of pipelines/convert.py, or that of DMVR and Model Garden "
    "(sequence_example).",
)
flags.DEFINE_enum(
    "on_damage",
    "stop",
    damage.POLICIES,
    "Stop at a damaged record, or skip its video and take another one.",
)
flags.DEFINE_string(
    "data_service",
    None,
    "Let the workers of this tf.data service decode, as in grpc://host:port. Batches may then "
    "arrive in another order.",
)

command_help.section("Network")
flags.DEFINE_string("model", "slow_only_50", f"Train one of {', '.join(models.list())}.")
flags.DEFINE_integer(
    "width",
    None,
    "Give the stem this many channels; all other layers scale with it. By default as published.",
)
flags.DEFINE_float(
    "dropout",
    None,
    "Drop this share of the features before the classifier. By default the network's own share.",
)
flags.DEFINE_enum(
    "residual_drop",
    "none",
    ["none", "random_drop", "shake_drop"],
    "Regularise the residual branches by this layer. The probability to keep a branch falls "
    "linearly with depth, down to last_survival.",
)
flags.DEFINE_float(
    "last_survival",
    0.5,
    "Keep the branch of the last block with this probability, under --residual_drop.",
    0.0,
    1.0,
)
flags.DEFINE_string(
    "init_from", None, "Start from the weights of this work folder, .keras file or checkpoint."
)
flags.DEFINE_bool(
    "sync_bn",
    False,
    "Take the statistics of batch normalisation over the clips of all devices together.",
)

command_help.section("Random Mean Scaling (RMS)")
flags.DEFINE_enum(
    "rms",
    "mean",
    ["mean", "gaussian", "none"],
    "Smooth the feature by this filter before its mean is scaled; none leaves RMS out.",
)
flags.DEFINE_float(
    "rms_stddev",
    0.4,
    "Give the filter of --rms=gaussian this standard deviation, in positions of the feature map.",
)
flags.DEFINE_enum(
    "rms_distribution", "normal", ["normal", "uniform"], "Draw alpha from this distribution."
)
flags.DEFINE_float("rms_mean", 1.0, "Draw alpha with this mean; the factor 1 changes nothing.")
flags.DEFINE_float(
    "rms_spread",
    0.5,
    "Draw alpha with this standard deviation (half the width, if uniform), as a factor.",
)
flags.DEFINE_enum(
    "rms_component",
    "mean",
    ["mean", "residual", "input"],
    "Scale this part of the feature by alpha: its local mean (RMS), the residual r, or the whole "
    "input x, as in the paper's Table 1 (c).",
)
flags.DEFINE_string(
    "rms_position",
    None,
    "Put RMS at this place in the residual branch, as in before_bn1. By default at the paper's.",
)
flags.DEFINE_list("rms_stages", None, "Put RMS into these stages. By default res4,res5.")

command_help.section("Optimisation")
flags.DEFINE_integer(
    "batch_size", 64, "Take this many clips a step, over all devices and machines together."
)
flags.DEFINE_integer(
    "epochs",
    196,
    "Train for this many epochs, in each of which every video comes once.",
    lower_bound=1,
)
flags.DEFINE_integer(
    "steps_per_epoch",
    None,
    "Let an epoch end after this many steps. By default after as many as see every video.",
)
flags.DEFINE_float(
    "learning_rate",
    None,
    "Let the learning rate reach this value for the whole batch. By default 0.1 x batch_size / 64 "
    "(linear scaling).",
)
flags.DEFINE_enum(
    "schedule",
    "cosine",
    ["cosine", "steps"],
    "Let the learning rate fall along half a cosine, or in steps.",
)
flags.DEFINE_list(
    "decay_epochs", [], "Multiply the rate by decay_factor at these epochs, with --schedule=steps."
)
flags.DEFINE_float(
    "decay_factor", 0.1, "Multiply the rate by this factor at each of --decay_epochs."
)
flags.DEFINE_float(
    "warmup_epochs",
    None,
    "Raise the rate linearly for this many epochs. By default for 34/196 of the epochs.",
)
flags.DEFINE_float("warmup_start", 0.1, "Begin the warm-up at this share of the highest rate.")
flags.DEFINE_float(
    "momentum", 0.9, "Carry this share of the last update on to the next (Nesterov momentum)."
)
flags.DEFINE_float(
    "weight_decay", 1e-4, "Add this factor times the weights to the gradients, of kernels only."
)
flags.DEFINE_float(
    "label_smoothing", 0.0, "Spread this share of the target evenly over all classes."
)
flags.DEFINE_enum(
    "mixing", "none", ["none", "cutmix", "mixup"], "Make two clips and their labels into one."
)
flags.DEFINE_float(
    "mixing_alpha",
    1.0,
    "Draw the share of each clip in a mixture from Beta(a, a), where a is this number.",
)
flags.DEFINE_float("mixing_probability", 1.0, "Mix this share of the batches.")
flags.DEFINE_float(
    "clip_norm", None, "Shorten a gradient whose norm, over all weights, is above this number."
)
flags.DEFINE_integer(
    "accumulation",
    1,
    "Compute the batch of each device in this many parts, one after the other, to save memory.",
)
flags.DEFINE_float(
    "average_decay",
    None,
    "Validate and keep a running average of the weights that decays by this factor a step, such "
    "as 0.999.",
)
flags.DEFINE_integer(
    "precise_bn_steps",
    0,
    "Measure the statistics of batch normalisation anew over this many batches before the network "
    "is evaluated.",
    lower_bound=0,
)
flags.DEFINE_enum(
    "precision",
    "float32",
    ["float32", "mixed_bfloat16", "mixed_float16"],
    "Let layers compute in this precision. Weights stay in float32; float16 scales the loss.",
)
flags.DEFINE_integer(
    "seed",
    0,
    "Derive weights, order of data, augmentation and random layers from this number.",
)

command_help.section("Running")
flags.DEFINE_string("work_dir", None, "Write all results into this folder.", required=True)
flags.DEFINE_integer(
    "replicas",
    0,
    "Train on this many devices of this machine. 0 takes all GPUs, or one CPU; 2 on a CPU makes "
    "two logical devices, to try it.",
)
flags.DEFINE_list(
    "cluster",
    [],
    "Train on several machines: host:port of each worker, in the same order on all of them.",
)
flags.DEFINE_integer("task", None, "Take this place in --cluster, a number that begins at 0.")
flags.DEFINE_float(
    "worker_timeout", 600.0, "Wait at most this many seconds for other workers to answer."
)
flags.DEFINE_integer("validate_every", 1, "Validate whenever this many epochs are over.")
flags.DEFINE_integer(
    "checkpoint_every",
    500,
    "Write a checkpoint after so many steps, beside those at the ends of epochs.",
)
flags.DEFINE_integer(
    "keep_checkpoints", 3, "Keep this many of the newest checkpoints, beside the best."
)
flags.DEFINE_integer(
    "steps_per_call",
    0,
    "Take this many steps from one log line to the next; 0 takes as many as last about a second.",
)
flags.DEFINE_bool(
    "jit_compile", False, "Compile the training step with XLA; on CPUs for one device only."
)
flags.DEFINE_bool("deterministic", False, "Make runs bitwise repeatable, at some cost in speed.")

FLAGS = flags.FLAGS

# Flags that change how a run is carried out and not what comes out of it.
_FREE = {
    "data",
    "data_workers",
    "data_service",
    "on_damage",
    "init_from",  # used before the first step only; the folder may be gone later
    "work_dir",
    "replicas",
    "cluster",
    "task",
    "worker_timeout",
    "checkpoint_every",
    "keep_checkpoints",
    "steps_per_call",
    "jit_compile",
    "deterministic",
}


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise ValueError(f"train.py takes flags only. Received: {' '.join(argv[1:])}")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    tf.get_logger().setLevel(logging.WARNING)

    # Devices
    backend = keras.backend.backend()
    if backend not in ("tensorflow", "jax"):
        raise ValueError(f"Training runs on tensorflow or jax. Received: KERAS_BACKEND={backend}")
    if backend == "tensorflow":
        gpus.tell_if_missed()
    if FLAGS.deterministic:
        tf.config.experimental.enable_op_determinism()
        # Even so, the last digit of sums depends on the threads, and on how TensorFlow rewrites its
        # graphs, which differs from process to process.
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    strategy = strategies.make_strategy(
        FLAGS.replicas, FLAGS.cluster, FLAGS.task, FLAGS.worker_timeout
    )
    per_replica = strategies.replica_batch_size(strategy, FLAGS.batch_size)
    if FLAGS.accumulation < 1 or per_replica % FLAGS.accumulation:
        raise ValueError(
            f"--accumulation must divide the {per_replica} clips of each replica. "
            f"Received: --accumulation={FLAGS.accumulation}"
        )
    worker, workers = strategies.worker_index(strategy), strategies.num_workers(strategy)
    device = strategies.device_kind()
    if (backend, device) == ("tensorflow", "CPU"):
        if FLAGS.precision == "mixed_float16":
            raise ValueError("TensorFlow cannot pool in float16 on CPUs. Use --precision=float32.")
        if chosen := onednn.check_precision(FLAGS.precision):
            print(chosen)
    if FLAGS.jit_compile and device == "CPU" and strategy.num_replicas_in_sync > 1:
        raise ValueError("XLA does not run under several CPU replicas. Leave out --jit_compile.")
    if backend == "jax" and (FLAGS.sync_bn or FLAGS.precise_bn_steps):
        raise ValueError("--sync_bn and --precise_bn_steps need KERAS_BACKEND=tensorflow.")
    keras.utils.set_random_seed(FLAGS.seed)

    # Data
    index = open_split(FLAGS.data, FLAGS.train_split, FLAGS.format)
    if FLAGS.validation_split:
        open_split(FLAGS.data, FLAGS.validation_split, FLAGS.format)
    steps_per_epoch = FLAGS.steps_per_epoch or -(-len(index.keys) // FLAGS.batch_size)
    total_steps = FLAGS.epochs * steps_per_epoch
    enlarged = FLAGS.crop_size if FLAGS.padding is not None else round(FLAGS.crop_size * 256 / 224)
    evaluation_crop_size = FLAGS.evaluation_crop_size or enlarged
    evaluation_short_side = FLAGS.evaluation_short_side or evaluation_crop_size
    common = {
        "batch_size": FLAGS.batch_size,
        "num_frames": FLAGS.num_frames,
        "span": FLAGS.span,
        "num_workers": workers,
        "worker_index": worker,
        "data_workers": FLAGS.data_workers,
        "format": FLAGS.format,
        "on_damage": FLAGS.on_damage,
        "data_service": FLAGS.data_service,
    }

    # Counted where the pipeline runs, which is on other machines with a data service.
    damaged = None
    if FLAGS.on_damage == "skip" and not FLAGS.data_service:
        with tf.device("CPU:0"):
            damaged = tf.Variable(0, dtype=tf.int64)

    def training_data(start_step: int) -> tf.data.Dataset:
        return training_stream(
            FLAGS.data,
            FLAGS.train_split,
            crop_size=FLAGS.crop_size,
            min_area=FLAGS.min_area,
            padding=FLAGS.padding,
            flip=FLAGS.flip and (_flipped_classes(FLAGS.flip_classes) or True),
            seed=FLAGS.seed,
            start_step=start_step,
            damaged=damaged,
            **common,
        )

    def validation_data() -> tf.data.Dataset:
        return evaluation_dataset(
            FLAGS.data,
            FLAGS.validation_split,
            num_clips=3 if FLAGS.span > 1 else 1,
            num_crops=1,
            crop_size=evaluation_crop_size,
            short_side=evaluation_short_side,
            **common,
        )

    # Settings: all flags, and what became of those that depend on others
    learning_rate = FLAGS.learning_rate
    if learning_rate is None:
        learning_rate = 0.1 * FLAGS.batch_size / 64
    warmup_epochs = FLAGS.warmup_epochs
    if warmup_epochs is None:
        warmup_epochs = FLAGS.epochs * 34 / 196
    own_flags = {flag.name: flag.value for flag in FLAGS.get_key_flags_for_module(sys.argv[0])}
    made_with = {
        **work_settings.provenance(Path(__file__).parent),
        "onednn": onednn.is_on(),
    }
    work_dir = Path(FLAGS.work_dir)
    settings = {
        **own_flags,
        "evaluation_crop_size": evaluation_crop_size,
        "evaluation_short_side": evaluation_short_side,
        "steps_per_epoch": steps_per_epoch,
        "learning_rate": learning_rate,
        "warmup_epochs": warmup_epochs,
        "class_names": index.class_names,
        "num_videos": len(index.keys),
        "conversion": index.conversion,
        "num_replicas": strategy.num_replicas_in_sync,
        "num_workers": workers,
        "backend": backend,
        **made_with,
        "earlier": work_settings.earlier(work_dir, made_with),
    }
    binding = {*own_flags, "class_names", "num_videos", "conversion", "backend"} - _FREE
    work_settings.check_same(work_dir, settings, sorted(binding))
    checksum = zlib.crc32(json.dumps([settings[name] for name in sorted(binding)]).encode())
    strategies.check_same_on_all_workers(strategy, "checksum of the settings", checksum)
    if (work_dir / "model.keras").exists():
        if worker == 0:
            print(f"The training in {work_dir} is finished: there is nothing left to do.")
        return

    # Network and optimizer
    def build() -> keras.Model:
        # All layers are made here, so that they have the dtype policy of the moment.
        rms = None
        if FLAGS.rms != "none":
            rms = RandomMeanScaling(
                smoothing=FLAGS.rms,
                smoothing_stddev=FLAGS.rms_stddev,
                distribution=FLAGS.rms_distribution,
                mean=FLAGS.rms_mean,
                spread=FLAGS.rms_spread,
                component=FLAGS.rms_component,
            )
        drop_class = {"random_drop": RandomDrop, "shake_drop": ShakeDrop}.get(FLAGS.residual_drop)
        return build_network(
            FLAGS.model,
            len(index.class_names),
            FLAGS.num_frames,
            rms=rms,
            rms_position=FLAGS.rms_position,
            rms_stages=tuple(FLAGS.rms_stages) if FLAGS.rms_stages else None,
            width=FLAGS.width,
            dropout=FLAGS.dropout,
            residual_drop=drop_class and drop_class(FLAGS.last_survival),
            seed=FLAGS.seed,
        )

    keras.config.set_dtype_policy(FLAGS.precision)
    warmup = {"warmup_steps": round(warmup_epochs * steps_per_epoch)}
    warmup["warmup_start"] = FLAGS.warmup_start
    if FLAGS.schedule == "cosine":
        if FLAGS.decay_epochs:
            raise ValueError(
                "--decay_epochs are of --schedule=steps: add that, or empty them by "
                f"--decay_epochs=. Received: --decay_epochs={','.join(FLAGS.decay_epochs)}"
            )
        schedule = WarmupCosine(learning_rate, total_steps, **warmup)
    else:
        boundaries = [round(epoch * steps_per_epoch) for epoch in _decay_epochs(FLAGS.decay_epochs)]
        schedule = WarmupSteps(learning_rate, boundaries, FLAGS.decay_factor, **warmup)
    mixing_class = {"none": None, "cutmix": CutMix, "mixup": MixUp}[FLAGS.mixing]
    with strategy.scope():
        model = build()
        if device == "CPU":
            host_memory.check_fits(
                training_memory(model, (*model.input_shape[1:-3], *[FLAGS.crop_size] * 2, 3)),
                FLAGS.batch_size // workers,
                replicas=strategy.num_replicas_in_sync // workers,
                accumulation=FLAGS.accumulation,
            )
        if FLAGS.sync_bn:
            synchronize_batch_norm(model)
        if FLAGS.init_from and not work_settings.begun(work_dir):
            new = initialise_from(model, FLAGS.init_from)
            if worker == 0:
                print(f"Weights from {FLAGS.init_from}; new: {', '.join(new) or 'none'}.")
        trained = model.trainable_variables
        optimizer = MomentumSGD(
            trained, schedule, FLAGS.momentum, FLAGS.weight_decay, FLAGS.clip_norm
        )
        average = WeightAverage(trained, FLAGS.average_decay) if FLAGS.average_decay else None
        loss_scale = LossScale() if FLAGS.precision == "mixed_float16" else None
    train_step = TrainStep(
        model,
        optimizer,
        FLAGS.batch_size,
        label_smoothing=FLAGS.label_smoothing,
        accumulation=FLAGS.accumulation,
        mixing=mixing_class and mixing_class(FLAGS.mixing_alpha, FLAGS.mixing_probability),
        seed=FLAGS.seed,
        loss_scale=loss_scale,
        average=average,
        jit_compile=FLAGS.jit_compile,
    )

    # Work folder, and resuming from it
    if worker == 0:
        with saving(f"The work folder {work_dir}"):
            work_dir.mkdir(parents=True, exist_ok=True)
            claim = work_settings.lock(work_dir)
    state = {**model_state(model), **train_step.state()}
    checkpoints = Checkpoints(work_dir / "checkpoints", state, keep=FLAGS.keep_checkpoints)
    saved = checkpoints.restore_newest()
    position = Position(**saved) if saved else Position()
    strategies.check_same_on_all_workers(strategy, "step to continue from", position.step)
    if worker == 0:
        with saving(f"The work folder {work_dir}"):
            work_settings.write(work_dir, settings)
        print(
            f"{FLAGS.model} with {model.count_params():,} parameters, {len(index.keys)} videos of "
            f"{len(index.class_names)} classes, {strategy.num_replicas_in_sync} replica(s) on "
            f"{device}; step {position.step} of {total_steps}; results in {work_dir}",
            flush=True,
        )

    # Training
    if FLAGS.validation_split:
        validation_data()  # What is wrong with its flags is said now and not after an epoch.
    scorer = ViewScorer(model, strategy)
    precise = PreciseBatchNorm(model, strategy)

    exchange_after = partial(answered_within, FLAGS.worker_timeout, workers)

    @contextmanager
    def evaluation_weights(step: int) -> Iterator[None]:
        """While active, the model is as it is to be evaluated; then training goes on as before."""
        with ExitStack() as stack:
            if average:
                stack.enter_context(average.in_use())
            if FLAGS.precise_bn_steps:
                batches = iter(strategies.distribute(strategy, training_data(step)))
                exchange = partial(exchange_after, step)
                stack.enter_context(precise.in_use(batches, FLAGS.precise_bn_steps, exchange))
            yield

    def validate_after(step: int) -> dict[str, float]:
        with evaluation_weights(step):
            return validate(scorer, validation_data(), strategy, partial(exchange_after, step))

    def save(position: Position, best: bool) -> None:
        if worker == 0:
            checkpoints.save(position.step, dataclasses.asdict(position), best)

    callbacks = []
    if worker == 0:
        callbacks.append(RunLog(work_dir, position.step, position.finished_epochs))
        callbacks.append(ProgressLine(FLAGS.epochs, steps_per_epoch))
    loop = TrainingLoop(
        strategy,
        train_step,
        training_data,
        model=model,
        callbacks=callbacks,
        epochs=FLAGS.epochs,
        steps_per_epoch=steps_per_epoch,
        schedule=schedule,
        validate=validate_after if FLAGS.validation_split else None,
        validate_every=FLAGS.validate_every,
        save=save,
        checkpoint_every=FLAGS.checkpoint_every,
        steps_per_call=FLAGS.steps_per_call,
        measure_wait=not FLAGS.deterministic,
        worker_timeout=FLAGS.worker_timeout,
    )
    try:
        with damage.explained(FLAGS.data):
            loop.run(position)
        if damaged is not None:
            print(f"{damaged.numpy()} times another video took the place of a damaged one.")
    except NotFinite as stop:
        step = stop.step
        clips, labels = next(iter(training_data(step)))
        path = work_dir / f"not_finite_step_{step}_worker_{worker}.npz"
        write_whole(path, lambda file: np.savez(file, clips=clips, labels=labels, step=step))
        raise NotFinite(
            f"{stop} Its batch is saved in {path}, the state before it in the newest checkpoint. "
            "Look for broken videos in the batch; else try a lower --learning_rate, a longer "
            "--warmup_epochs or --clip_norm in a new --work_dir.",
            step,
        ) from stop

    # The finished network, in float32 and for any device
    with evaluation_weights(position.step):
        if worker == 0:
            keras.config.set_dtype_policy("float32")
            finished = build()
            finished.set_weights(model.get_weights())
            save_model(finished, work_dir / "model.keras")
            claim.close()


def _decay_epochs(epochs: Sequence[str]) -> list[float]:
    try:
        return [float(epoch) for epoch in epochs]
    except ValueError:
        raise ValueError(
            f"--decay_epochs are numbers as in 44,88. Received: {','.join(epochs)}"
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
