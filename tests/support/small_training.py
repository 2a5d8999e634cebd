"""A training of seconds with everything that a real one has: for tests that kill or compare runs.

It runs in `warm_processes` of its own.
"""

import dataclasses
import functools
import os
import signal
import sys
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
import warm_processes

import keras_rms
from keras_rms.training.batch_norm.synchronized import synchronize_batch_norm
from keras_rms.training.loop.position import Position
from keras_rms.training.loop.train_step import TrainStep
from keras_rms.training.loop.training_loop import TrainingLoop
from keras_rms.training.optimization.mixing import CutMix
from keras_rms.training.optimization.optimizer import MomentumSGD
from keras_rms.training.optimization.schedules import WarmupCosine
from keras_rms.training.optimization.weight_average import WeightAverage
from keras_rms.training.work_dir.checkpoints import Checkpoints, model_state
from keras_rms.training.work_dir.run_log import RunLog
from keras_rms.training.workers import strategies
from keras_rms.training.workers.cluster_watch import with_exit_status

STEPS_PER_EPOCH = 10


def small_model(random_layers=True, wide=0, seed=3):
    """uint8 clips (4, 5, 6, 3) -> 3 logits; `wide` adds so many parameters to a checkpoint."""
    inputs = keras.Input((4, 5, 6, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(inputs)
    initializer = keras.initializers.GlorotUniform(seed)
    x = keras.layers.Conv3D(4, 3, name="conv", kernel_initializer=initializer)(x)
    if random_layers:
        x = keras_rms.RandomMeanScaling(seed=seed, name="rms")(x)
    x = keras.layers.BatchNormalization(name="bn", momentum=0.9)(x)
    x = keras.layers.ReLU()(x)
    x = keras.layers.GlobalAveragePooling3D()(x)
    if random_layers:
        x = keras_rms.Dropout(0.2, seed=seed, name="dropout")(x)
    if wide:
        x = keras.layers.Dense(wide // 4, kernel_initializer=initializer, name="wide")(x)
    x = keras.layers.Dense(3, kernel_initializer=initializer, name="logits")(x)
    model = keras.Model(inputs, x)
    # The same weights on every backend.
    random = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        if variable.name == "kernel":
            variable.assign(random.normal(0, 0.2, variable.shape))
    return model


def small_batches(start, batch_size=8, workers=1, worker=0):
    """Endless batches; that of step i is a function of i."""
    share = batch_size // workers

    def batch(step):
        seed = tf.stack([step, 7])
        labels = tf.random.stateless_uniform((batch_size,), seed, 0, 3, tf.int32)
        noise = tf.random.stateless_uniform((batch_size, 4, 5, 6, 3), seed, 0, 200, tf.int32)
        clips = tf.cast(noise + 20 * labels[:, None, None, None, None], tf.uint8)
        mine = slice(worker * share, (worker + 1) * share)
        return clips[mine], labels[mine]

    return tf.data.Dataset.counter(start).map(batch)


@functools.cache
def mirrored_strategy():
    """Of two replicas, one for all tests: TensorFlow mixes up the collectives of several."""
    # Those that other tests make start counting from 0.
    tf.distribute.MirroredStrategy._collective_key_base = 10_000
    try:
        return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    finally:
        tf.distribute.MirroredStrategy._collective_key_base = 0


@dataclasses.dataclass
class Options:
    """What differs between the runs of the tests."""

    work_dir: str
    epochs: int = 3
    checkpoint_every: int = 4
    replicas: int = 0
    cluster: tuple = ()
    task: int | None = None
    worker_timeout: float = 120.0
    sync_bn: bool = False
    random_layers: bool = True
    wide: int = 0
    steps_per_call: int = 2
    step_seconds: float = 0.0
    average_decay: float | None = None
    accumulation: int = 1
    mixing: bool = False
    clip_norm: float | None = None
    validation_seconds: float = 0.0


def train(options):
    """Trains to the end, or continues; leaves final.npz."""
    tf.config.experimental.enable_op_determinism()
    strategy = strategies.make_strategy(
        options.replicas, options.cluster, options.task, options.worker_timeout
    )
    keras.utils.set_random_seed(0)
    worker, workers = strategies.worker_index(strategy), strategies.num_workers(strategy)
    schedule = WarmupCosine(0.05, options.epochs * STEPS_PER_EPOCH, 5)
    with strategy.scope():
        model = small_model(options.random_layers, options.wide)
        if options.sync_bn:
            synchronize_batch_norm(model)
        optimizer = MomentumSGD(
            model.trainable_variables, schedule, weight_decay=1e-4, clip_norm=options.clip_norm
        )
        average = None
        if options.average_decay:
            average = WeightAverage(model.trainable_variables, options.average_decay)
    step = TrainStep(
        model,
        optimizer,
        8,
        average=average,
        accumulation=options.accumulation,
        mixing=CutMix() if options.mixing else None,
    )
    state = {**model_state(model), **step.state()}
    checkpoints = Checkpoints(Path(options.work_dir) / "checkpoints", state)
    saved = checkpoints.restore_newest()
    position = Position(**saved) if saved else Position()
    strategies.check_same_on_all_workers(strategy, "step to continue from", position.step)
    callbacks = []
    if worker == 0:
        callbacks.append(RunLog(options.work_dir, position.step, position.finished_epochs))
        with open(Path(options.work_dir) / "starts.txt", "a") as file:
            file.write(f"{position.step}\n")
    if options.step_seconds:
        callbacks.append(
            keras.callbacks.LambdaCallback(
                on_train_batch_end=lambda batch, logs: time.sleep(options.step_seconds)
            )
        )

    def save(position, best):
        if worker == 0:
            checkpoints.save(position.step, dataclasses.asdict(position), best)

    def validate(step):
        (Path(options.work_dir) / f"validating_{worker}").touch()
        time.sleep(options.validation_seconds)
        return {"validation_top1": 0.5}

    TrainingLoop(
        strategy,
        step,
        lambda start: small_batches(start, workers=workers, worker=worker),
        model=model,
        callbacks=callbacks,
        epochs=options.epochs,
        steps_per_epoch=STEPS_PER_EPOCH,
        schedule=schedule,
        validate=validate if options.validation_seconds else None,
        save=save,
        checkpoint_every=options.checkpoint_every,
        steps_per_call=options.steps_per_call,
        measure_wait=False,
        worker_timeout=options.worker_timeout,
    ).run(position)
    final = {name: keras.ops.convert_to_numpy(v) for name, v in state.items()}
    np.savez(Path(options.work_dir) / f"final_{worker}.npz", **final)


def _process(options):
    output = os.open(f"{options.work_dir}/output_{options.task or 0}.txt", os.O_CREAT | os.O_WRONLY)
    os.dup2(output, 1)
    os.dup2(output, 2)
    # multiprocessing's children ignore Ctrl-C otherwise.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    status = with_exit_status(lambda: train(options))
    sys.stdout.flush()
    os._exit(status)


def start(options):
    """Starts a training in a process of its own; `process.exitcode` is its status."""
    Path(options.work_dir).mkdir(parents=True, exist_ok=True)
    process = warm_processes.context().Process(target=_process, args=(options,), daemon=True)
    process.start()
    return process


def run(options, seconds=300):
    """Runs a training to its end and returns its exit status."""
    process = start(options)
    process.join(seconds)
    if process.is_alive():
        process.kill()
        raise TimeoutError(output(options))
    return process.exitcode


def output(options):
    """What the process printed."""
    return Path(f"{options.work_dir}/output_{options.task or 0}.txt").read_text()


def final(options, worker=0):
    """The whole state after the last step, by name."""
    with np.load(Path(options.work_dir) / f"final_{worker}.npz") as file:
        return dict(file)


def free_ports(count):
    """Addresses on the loopback that nothing listens on."""
    import socket

    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    addresses = tuple(f"127.0.0.1:{each.getsockname()[1]}" for each in sockets)
    for each in sockets:
        each.close()
    return addresses
