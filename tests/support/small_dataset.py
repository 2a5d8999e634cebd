"""A converted dataset that tests make in a second: the class is the colour of the frames."""

import json

import numpy as np
import tensorflow as tf

from pipelines.shards.records import EncodedVideo, write_shard
from pipelines.shards.split_index import shard_path
from pipelines.shards.split_writing import write_split

CLASSES = ("blue", "green", "red")


def make_dataset(
    folder, videos=24, validation_videos=9, frames=12, height=36, width=44, seed=0, **other
):
    """Writes splits "train" and "validation" of three classes and returns the folder.

    `other` has settings of the conversion in which validation differs.
    """
    random = np.random.default_rng(seed)
    settings = {"fps": 25, "short_side": height, "quality": 4}
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", videos), ("validation", validation_videos)):
        path = shard_path(str(folder), split, 0, 1)
        made = [_video(random, f"{split}{i}", i % 3, frames, height, width) for i in range(count)]
        write_split(
            str(folder),
            split,
            [write_shard(path, made)],
            CLASSES,
            {"settings": settings | (other if split == "validation" else {})},
        )
    return folder


def _video(random, key, label, frames, height, width):
    noise = random.integers(0, 150, (frames, height, width, 3), np.uint8)
    noise[..., 2 - label] += 90
    encoded = [tf.io.encode_jpeg(frame).numpy() for frame in noise]
    return EncodedVideo(key, label, encoded, height, width, 25.0)


def read_lines(path):
    """The objects of a JSON lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]
