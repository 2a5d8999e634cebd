"""The videos that networks are looked at with: some of a converted split, as in an evaluation."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import tensorflow as tf
from absl import flags

from keras_rms.inference.trained_network import TrainedNetwork
from pipelines.input import evaluation_dataset, open_split
from pipelines.input.splits import check_conversion
from pipelines.system import command_help
from pipelines.system.progress import Progress

command_help.section("Which videos")
_DATA = flags.DEFINE_string(
    "data", None, "Take the videos of this converted dataset. By default of the training's own."
)
_SPLIT = flags.DEFINE_string("split", "validation", "Take the videos of this split.")
_VIDEOS = flags.DEFINE_integer(
    "videos", None, "Take this many videos, evenly over the split. By default all.", lower_bound=1
)
_CLIPS = flags.DEFINE_integer(
    "clips", 1, "Take this many clips of each video, of the centre of its frames.", lower_bound=1
)
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 8, "Look at this many videos at a time.", lower_bound=1
)


def batches(run: TrainedNetwork) -> tf.data.Dataset:
    """The batches of `evaluation_dataset`; rows that are not wanted have a false mask.

    Raises:
        ValueError: If the data does not fit the network, or cannot be read.
    """
    settings = run.settings
    data = _DATA.value or settings["data"]
    data_format = settings.get("format", "records")
    index = open_split(data, _SPLIT.value, data_format)
    run.check_classes(index.class_names, data)
    # A warning only: what a network does on other videos may be what is asked.
    check_conversion(index, settings.get("conversion", {}), "the training's videos", allowed=True)
    found = evaluation_dataset(
        data,
        _SPLIT.value,
        batch_size=_BATCH_SIZE.value,
        num_clips=_CLIPS.value,
        num_crops=1,
        num_frames=settings["num_frames"],
        span=settings["span"],
        crop_size=settings["evaluation_crop_size"],
        short_side=settings.get("evaluation_short_side"),
        format=data_format,
        on_damage=settings.get("on_damage", "stop"),
    )
    return (
        found
        if _VIDEOS.value is None
        else _some(found, len(index), _VIDEOS.value, _BATCH_SIZE.value)
    )


def _some(found: tf.data.Dataset, there: int, wanted: int, batch_size: int) -> tf.data.Dataset:
    # Both ends too: a split may be sorted by class.
    chosen = tf.constant(np.linspace(0, there - 1, min(wanted, there)).round().astype(np.int32))
    rows = found.unbatch().filter(
        lambda row: row["mask"] & tf.reduce_any(tf.equal(row["index"], chosen))
    )
    return rows.batch(batch_size)


def clips(run: TrainedNetwork) -> tf.data.Dataset:
    """The first clip of each video alone: uint8 (videos, time, height, width, 3)."""
    found = batches(run).map(lambda batch: tf.boolean_mask(batch["views"][:, 0], batch["mask"]))
    # Of nothing but damaged videos it has to be empty: it may be repeated.
    return found.filter(lambda clips: tf.shape(clips)[0] > 0)


@contextmanager
def shown(run: TrainedNetwork, title: str) -> Iterator[Iterator[tf.Tensor]]:
    """`clips`, with a progress bar while they are taken."""
    with Progress(None, "video", title) as progress:

        def taken() -> Iterator[tf.Tensor]:
            for batch in clips(run):
                yield batch
                progress.update(len(batch))

        yield taken()
