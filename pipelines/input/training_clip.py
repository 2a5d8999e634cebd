"""Training clips: one augmented clip of a video, and the endless order that it stands in."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.input import augmentation, batching, damage, sampling
from pipelines.input.clip_reader import StoredVideo
from pipelines.input.sequence_examples import SequenceIndex
from pipelines.input.splits import largest_ratio, reader_of
from pipelines.shards.split_index import Index

# A position -> a clip and its label.
ClipAt = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]

# Videos tried in the place of a damaged one before the data is given up.
_TRIES = 8


def clip_maker(
    index: Index | SequenceIndex,
    *,
    num_frames: int,
    span: int,
    crop_size: int,
    min_area: float,
    padding: int | None,
    flip: bool | Mapping[int, int],
    seed: int,
    order: str,
    on_damage: str,
    damaged: tf.Variable | None = None,
) -> ClipAt:
    """Gives the clip and the label at a position of the endless order of a split's clips.

    Args:
        index: The split's index.
        num_frames, span, crop_size, min_area, padding, flip, seed, order: As for `training_stream`.
        on_damage, damaged: As for `training_stream`.

    Raises:
        ValueError: If an argument is out of range.
    """
    batching.check_positive(crop_size=crop_size)
    if not 0 < min_area <= 1:
        raise ValueError(f"`min_area` must be in (0, 1]. Received: min_area={min_area}")
    if padding is not None and padding < 0:
        raise ValueError(f"`padding` must be None or 0 or more. Received: padding={padding}")
    if not -(2**63) <= seed < 2**63:
        raise ValueError(f"`seed` must fit into 64 bits. Received: seed={seed}")
    damage.check_policy(on_damage)
    video_at = _order_of(order, index, seed)
    options: dict[str, Any] = {
        "num_frames": num_frames,
        "stride": sampling.frame_stride(span, num_frames),
        "crop_size": crop_size,
        "min_area": min_area,
        "padding": padding,
        "flipped_labels": _flipped_labels(flip, len(index.class_names)),
        "max_ratio": largest_ratio(index, crop_size),
    }
    reader = reader_of(index)

    def clip_of(number: tf.Tensor, position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return training_clip(reader.open(number), sampling.clip_seed(position, seed), **options)

    def clip_at(position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        number = video_at(position)
        if on_damage == "stop":
            return clip_of(number, position)

        def attempt_at(attempt: tf.Tensor) -> tuple[tuple[tf.Tensor, tf.Tensor], tf.Tensor]:
            other = sampling.replacement_at(position, attempt, len(index), seed)
            return clip_of(tf.where(attempt == 0, number, other), position), attempt

        clip, attempt = damage.first_without_error(attempt_at, _TRIES)
        damage.report(attempt, number, index.keys)
        if damaged is not None:
            damaged.assign_add(attempt)
        return clip

    return clip_at


def _order_of(
    order: str, index: Index | SequenceIndex, seed: int
) -> Callable[[tf.Tensor], tf.Tensor]:
    """A position -> the number of a video."""
    if order not in sampling.ORDERS:
        raise ValueError(f"`order` must be one of {sampling.ORDERS}. Received: order={order!r}")
    if order == "shuffled":
        return lambda position: sampling.video_at(position, len(index), seed)
    if isinstance(index, SequenceIndex):
        raise ValueError(
            "`order` can be 'balanced' only where the index tells the class of each video, which "
            "that of SequenceExamples does not: convert the videos, or weigh the classes in the "
            f"loss. Received: order={order!r}"
        )
    return sampling.BalancedOrder(index.labels, seed).video_at


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
    # For the place in time, the crop and the flip, so that none of them tells another.
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


def _flipped_labels(flip: bool | Mapping[int, int], num_classes: int) -> np.ndarray | None:
    """The class of a flipped clip, by the class of the clip; None for no flips."""
    if flip is False:
        return None
    labels = np.arange(num_classes, dtype=np.int32)
    swapped = {} if flip is True else flip
    for label, flipped in swapped.items():
        if not 0 <= label < num_classes or swapped.get(flipped) != label:
            raise ValueError(
                "`flip` must be True, False, or a map of class ids in both directions, e.g. "
                f"{{86: 87, 87: 86}}, below the {num_classes} classes of the data. Received: "
                f"flip={flip}"
            )
        labels[label] = flipped
    return labels
