"""Thousands of conversions and steps in one process: memory and open files stay what they were.

    KERAS_RMS_SOAK=2000 pytest tests/commands/test_soak.py -s

converts so many videos and takes so many steps. The figures are printed.
"""

import dataclasses
import gc
import os
import time

import keras
import pytest
import tensorflow as tf
import video_files
from small_training import small_batches, small_network, training

from keras_rms.training.run import Run
from keras_rms.training.training_data import TrainingData
from pipelines.conversion import conversion_job
from pipelines.conversion.conversion_plan import Settings
from pipelines.conversion.split_plans import Conversion
from pipelines.layouts.annotations import Source
from pipelines.shards import split_index, verification

COUNT = int(os.environ.get("KERAS_RMS_SOAK", 0))
VIDEOS = 20  # of a conversion
STEPS_PER_EPOCH = 20

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not COUNT, reason="KERAS_RMS_SOAK=2000 takes minutes"),
]


class Watch:
    """Memory and open files of this process from time to time.

    What happens first (caches, traces, threads) costs memory once: the first quarter is no measure.
    """

    def __init__(self, what):
        self._what, self._begin, self._seen = what, time.monotonic(), []

    def look(self, done):
        gc.collect()
        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[1])
        mebibytes = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
        self._seen.append((done, mebibytes, len(os.listdir("/proc/self/fd"))))

    def check(self, most_mebibytes):
        settled = [each for each in self._seen if each[0] >= COUNT / 4]
        (_, memory, files), *_, (done, memory_after, files_after) = settled
        print(
            f"\n{done} {self._what} in {time.monotonic() - self._begin:.0f} s: from a quarter on "
            f"{memory:.1f} to {memory_after:.1f} MiB, {files} to {files_after} open files"
        )
        assert done >= COUNT and len(settled) > 3
        assert files_after <= max(each[2] for each in settled[: len(settled) // 2]), settled
        assert memory_after - memory < most_mebibytes, settled


def test_conversions(tmp_path):
    for number in range(VIDEOS):
        path = tmp_path / "videos" / f"class {number % 2}" / f"{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        video_files.write_numbered(path, 2 + number % 3, height=16, width=16)
    watch = Watch("videos converted")
    for done in range(VIDEOS, COUNT + VIDEOS, VIDEOS):
        output = tmp_path / f"out {done}"
        conversion_job.convert_splits(
            Conversion(
                source=Source(str(tmp_path / "videos"), validation_share=0.0),
                dataset="folder",
                output=str(output),
                splits=("train",),
                settings=Settings(short_side=16),
                num_shards=1,
            )
        )
        index = split_index.load_index(str(output), "train")
        assert len(index) == VIDEOS and verification.check_split(index)[1] == []
        for entry in list(output.iterdir()):
            entry.unlink()
        watch.look(done)
    watch.check(most_mebibytes=40)


def views():
    batch = {
        "views": tf.zeros((3, 1, 4, 5, 6, 3), tf.uint8),
        "label": tf.range(3),
        "index": tf.range(3),
        "mask": tf.ones(3, tf.bool),
    }
    return tf.data.Dataset.from_tensors(batch)


def test_steps_with_validations(tmp_path):
    epochs = -(-COUNT // STEPS_PER_EPOCH)
    each = training(tmp_path / "run", epochs=epochs, checkpoint_every=STEPS_PER_EPOCH)
    # Of the threads that determinism asks for it is too late: the tests before have begun them.
    run = Run(each.recipe, dataclasses.replace(each.running, deterministic=False), small_network)
    watch = Watch("steps trained")
    data = TrainingData(
        ("a", "b", "c"),
        num_videos=8 * STEPS_PER_EPOCH,
        training=small_batches,
        validation=views,
    )
    look = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: watch.look((epoch + 1) * STEPS_PER_EPOCH)
    )
    run.train(data, [look])
    watch.check(most_mebibytes=40)
