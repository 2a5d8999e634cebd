"""One augmented training clip of a video: a pure function of the video and a seed."""

import numpy as np
import tensorflow as tf

from pipelines.input import augmentation, sampling
from pipelines.input.clip_reader import StoredVideo


def training_clip(
    video: StoredVideo,
    seed: tf.Tensor,
    *,
    num_frames: int,
    stride: int,
    crop_size: int,
    min_area: float,
    padding: int | None,
    flipped_labels: np.ndarray | None,
    max_ratio: int,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Frames at equal intervals from a random place, cropped and flipped alike.

    Args:
        video: The video.
        seed: Stateless seed of shape `(2,)`.
        num_frames: Frames of the clip (T).
        stride: Distance of its frames in the video.
        crop_size: Height and width of the clip.
        min_area: Smallest area of the crop as a share of the frame's.
        padding: Black pixels around the frames, whose short side is then scaled to `crop_size`
            and out of which the crop is cut unscaled; None for crops of random area.
        flipped_labels: The class that a flip makes of each class; None for no flips.
        max_ratio: Largest reduction while decoding (`augmentation.largest_ratio`).

    Returns:
        uint8 `(T, crop_size, crop_size, 3)` and the label, an int32 scalar.
    """
    seeds = tf.random.split(seed, 3)
    start = sampling.training_start(seeds[0], video.num_frames, stride * num_frames)
    encoded = video.read(start, stride, num_frames)
    if padding is None:
        box = augmentation.random_crop(seeds[1], video.height, video.width, min_area=min_area)
        clip = augmentation.decode_and_scale(encoded, box, crop_size, crop_size, max_ratio)
    else:
        whole = tf.stack([0, 0, video.height, video.width])
        size = augmentation.scaled_size(video.height, video.width, crop_size)
        clip = augmentation.decode_and_scale(encoded, whole, *size, max_ratio)
        clip = augmentation.padded_crop(seeds[1], clip, crop_size, padding)
    clip = tf.ensure_shape(clip, (num_frames, crop_size, crop_size, 3))
    if flipped_labels is None:
        return clip, video.label
    flipped = tf.random.stateless_uniform([], seeds[2]) < 0.5
    label = tf.where(flipped, tf.gather(flipped_labels, video.label), video.label)
    return augmentation.flip(clip, flipped), label
