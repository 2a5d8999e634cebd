"""A run of seconds on a tiny network and made-up clips, for tests that kill or compare runs.

It runs in `warm_processes` of its own.
"""

import dataclasses
import functools
import os
import re
import signal
import sys
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
import warm_processes

import keras_rms
from keras_rms.training.recipe import Recipe
from keras_rms.training.run import Run
from keras_rms.training.running import Running
from keras_rms.training.training_data import TrainingData
from keras_rms.training.work_dir import checkpoints
from keras_rms.training.work_dir.work_folder import WorkFolder
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

    @tf.autograph.experimental.do_not_convert
    def batch(step):
        seed = tf.stack([step, 7])
        labels = tf.random.stateless_uniform((batch_size,), seed, 0, 3, tf.int32)
        noise = tf.random.stateless_uniform((batch_size, 4, 5, 6, 3), seed, 0, 200, tf.int32)
        clips = tf.cast(noise + 20 * labels[:, None, None, None, None], tf.uint8)
        mine = slice(worker * share, (worker + 1) * share)
        return clips[mine], labels[mine]

    return tf.data.Dataset.counter(start).map(batch)


@dataclasses.dataclass
class Training:
    """A run on the small data, how it is slowed down, and after which steps it fails.

    After a failure it is continued in the same process.
    """

    recipe: Recipe
    running: Running
    step_seconds: float = 0.0
    validation_seconds: float = 0.0
    faults: tuple[int, ...] = ()


class FaultError(Exception):
    """The failure of a training that is to fail."""


def training(work_dir, **options):
    """A `Training` with some fields of its `Recipe` and its `Running`, or its own, by name.

    `width` adds so many parameters to a checkpoint; `rms="none"` leaves out all random layers.
    """
    options = {"epochs": 3, "learning_rate": 0.05, "warmup_epochs": 0.5, "batch_size": 8} | options
    options = {"checkpoint_every": 4, "steps_per_call": 2, "worker_timeout": 120.0} | options
    parts = []
    for kind in (Recipe, Running):
        names = {field.name for field in dataclasses.fields(kind)} & options.keys()
        parts.append({name: options.pop(name) for name in names})
    recipe, running = parts
    running = Running(str(work_dir), deterministic=True, **running)
    return Training(Recipe("small", **recipe), running, **options)


def small_network(recipe, num_classes):
    """What `Run` builds."""
    assert num_classes == 3
    return small_model(random_layers=recipe.rms != "none", wide=recipe.width or 0)


def train(each):
    """Trains to the end, or continues; leaves what each worker then has in memory."""
    for step in each.faults:
        try:
            _train(each, step)
        except FaultError:
            continue
        raise AssertionError(f"It ended before step {step}.")
    _train(each)


def _train(each, fault=None):
    def fail(batch, logs):
        if logs["step"] == fault:
            raise FaultError

    run = Run(each.recipe, each.running, small_network)
    worker, workers = run.devices.worker, run.devices.workers
    data = TrainingData(
        ("a", "b", "c"),
        num_videos=8 * STEPS_PER_EPOCH,
        training=lambda start: small_batches(start, workers=workers, worker=worker),
        validation=functools.partial(slow_views, each, worker) if each.validation_seconds else None,
    )
    slow = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: time.sleep(each.step_seconds)
    )
    run.train(data, [slow, keras.callbacks.LambdaCallback(on_train_batch_end=fail)])
    if run.learner is None:  # it was finished before
        return
    state = {name: keras.ops.convert_to_numpy(v) for name, v in run.learner.state.items()}
    np.savez(run.folder.path / f"memory_{worker}.npz", **state)


def slow_views(each, worker):
    """Three videos of one view, for which one waits; says when that begins."""

    def wait(index):
        (Path(each.running.work_dir) / f"validating_{worker}").touch()
        time.sleep(each.validation_seconds)
        return index

    batch = {
        "views": tf.zeros((3, 1, 4, 5, 6, 3), tf.uint8),
        "label": tf.range(3),
        "mask": tf.ones(3, tf.bool),
    }
    indices = tf.data.Dataset.from_tensors(tf.range(3)).map(
        lambda index: tf.ensure_shape(tf.numpy_function(wait, [index], tf.int32), (3,))
    )
    return indices.map(lambda index: {**batch, "index": index})


def _output(each):
    return Path(each.running.work_dir) / f"output_{each.running.task or 0}.txt"


def _process(each):
    output = os.open(_output(each), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    # multiprocessing's children ignore Ctrl-C otherwise.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    status = with_exit_status(lambda: train(each))
    sys.stdout.flush()
    os._exit(status)


def start(each):
    """Starts a training in a process of its own; `process.exitcode` is its status."""
    Path(each.running.work_dir).mkdir(parents=True, exist_ok=True)
    return warm_processes.start(_process, (each,))


def run(each, seconds=300):
    """Runs a training to its end and returns its exit status."""
    process = start(each)
    process.join(seconds)
    if process.is_alive():
        process.kill()
        raise TimeoutError(output(each))
    return process.exitcode


def output(each):
    """What its processes printed, one after the other."""
    return _output(each).read_text() if _output(each).exists() else ""


def starts(each):
    """The step from which each of its processes went on."""
    return [int(step) for step in re.findall(r"; step (\d+) of ", output(each))]


def final(each):
    """What a finished training leaves: the newest checkpoint, and the network as "model/..."."""
    folder = WorkFolder(each.running.work_dir)
    arrays = checkpoints.read(checkpoints.paths(folder.checkpoints)[-1])
    arrays.pop("host.json")  # it has times
    network = keras.saving.load_model(folder.model)
    return arrays | {f"model/{weight.path}": np.array(weight) for weight in network.weights}


def memory(each, worker):
    """All variables of a worker after the last step, by name."""
    with np.load(Path(each.running.work_dir) / f"memory_{worker}.npz") as file:
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
