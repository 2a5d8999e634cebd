"""Videos for tests whose pixels tell the frame and the place that they come from."""

import numpy as np
import tensorflow as tf

from pipelines.shards import records, split_index, split_writing

CLASS_NAMES = ["fall", "jump", "läuft"]
# Of `write_all_sizes`; one frame is the shortest there can be.
LENGTHS = [1, 2, 63, 64, 65, 70, 84]
SIZES = [(36, 52), (52, 36), (36, 36), (40, 45), (36, 100), (36, 52), (36, 52)]


def coded_frame(number, height, width):
    """Red grows with x, green with y, and blue is three times the frame's number."""
    image = np.empty((height, width, 3), np.uint8)
    image[..., 0] = np.round(np.linspace(0, 255, width))
    image[..., 1] = np.round(np.linspace(0, 255, height))[:, None]
    image[..., 2] = 3 * (number % 85)
    return image


def coded_video(key, label, num_frames, height=36, width=52):
    frames = [
        tf.io.encode_jpeg(
            coded_frame(number, height, width), quality=100, chroma_downsampling=False
        ).numpy()
        for number in range(num_frames)
    ]
    return records.EncodedVideo(key, label, frames, height, width, 25.0)


def frame_numbers(clip):
    """Numbers of the frames `(..., H, W, 3)` of a clip."""
    return np.round(np.asarray(clip)[..., 2].mean((-2, -1)) / 3).astype(int)


def write_folder(path, videos, split="train", num_shards=2, class_names=CLASS_NAMES):
    shards = []
    for number in range(num_shards):
        shard = split_index.shard_path(str(path), split, number, num_shards)
        shards.append(records.write_shard(shard, iter(videos[number::num_shards])))
    return split_writing.write_split(str(path), split, shards, class_names, {"failures": []})


def write_all_sizes(path):
    """Writes "train", a video of each length and size; one class each, so labels name videos."""
    videos = [
        coded_video(f"video {n}", n, length, *size)
        for n, (length, size) in enumerate(zip(LENGTHS, SIZES))
    ]
    write_folder(path, videos, class_names=[f"class {n}" for n in range(len(videos))])
    return str(path)
