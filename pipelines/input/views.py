"""The views of a video that its prediction is averaged over."""

from collections.abc import Sequence

import tensorflow as tf

from pipelines.input import augmentation, sampling
from pipelines.input.batching import check_positive
from pipelines.input.clip_reader import StoredVideo, reader_in_memory
from pipelines.input.sampling import WHOLE_VIDEO


def views_of_frames(
    encoded_frames: Sequence[bytes],
    *,
    num_clips: int = 10,
    num_crops: int = 3,
    num_frames: int = 8,
    span: int = 64,
    crop_size: int = 256,
    short_side: int | None = None,
) -> tf.Tensor:
    """The views that `evaluation_dataset` gives of a video, for one that is in memory.

    Args:
        encoded_frames: The JPEGs of all frames of the video.
        num_clips, num_crops, num_frames, span, crop_size, short_side: As for `evaluation_dataset`.

    Returns:
        uint8 tensor `(num_clips * num_crops, num_frames, crop_size, crop_size, 3)`.

    Raises:
        ValueError: If there are no frames or an argument is out of range.
    """
    if not encoded_frames:
        raise ValueError("`encoded_frames` must hold at least one frame. Received: 0 frames")
    views = checked_views(num_clips, num_crops, num_frames, span, crop_size, short_side)
    # Where the pipelines work: an accelerator would round otherwise.
    with tf.device("CPU:0"):
        return video_views(_video_in_memory(encoded_frames), **views, max_ratio=8)


def checked_views(
    num_clips: int,
    num_crops: int,
    num_frames: int,
    span: int,
    crop_size: int,
    short_side: int | None,
) -> dict[str, int]:
    """What a user says of views as arguments of `video_views`; all but `max_ratio`.

    Raises:
        ValueError: If one is out of range.
    """
    check_positive(num_clips=num_clips, num_frames=num_frames, crop_size=crop_size)
    if num_crops not in (1, 3):
        raise ValueError(f"`num_crops` must be 1 or 3. Received: num_crops={num_crops}")
    if short_side is not None and short_side < crop_size:
        raise ValueError(
            f"`short_side` must be None or at least crop_size. Received: short_side={short_side}, "
            f"crop_size={crop_size}"
        )
    if span == WHOLE_VIDEO and num_clips != 1:
        raise ValueError(
            "With span=0 a clip covers the whole video, so that `num_clips` must be 1. "
            f"Received: num_clips={num_clips}"
        )
    stride = 0 if span == WHOLE_VIDEO else sampling.frame_stride(span, num_frames)
    return {
        "num_clips": num_clips,
        "num_crops": num_crops,
        "num_frames": num_frames,
        "stride": stride,
        "crop_size": crop_size,
        "short_side": crop_size if short_side is None else short_side,
    }


def video_views(
    video: StoredVideo,
    *,
    num_clips: int,
    num_crops: int,
    num_frames: int,
    stride: int,
    crop_size: int,
    short_side: int,
    max_ratio: int,
) -> tf.Tensor:
    """Clips uniformly over a video, each cut along its longer side.

    Args:
        video: The video.
        num_clips: Number of clips.
        num_crops: 1 for the centre, 3 for both ends and the centre of the longer side.
        num_frames: Frames of a clip (T).
        stride: Distance of a clip's frames in the video; 0 for the middles of equal parts of it.
        crop_size: Height and width of the crops.
        short_side: What the frames' short side is scaled to before, at least `crop_size`.
        max_ratio: Largest reduction while decoding (`augmentation.largest_ratio`).

    Returns:
        uint8 `(num_clips * num_crops, T, crop_size, crop_size, 3)`, the first clip's crops first.
    """
    span = stride * num_frames
    starts = sampling.evaluation_starts(video.num_frames, num_clips, span)
    height, width = augmentation.scaled_size(video.height, video.width, short_side)
    part = _needed_part(height, width, crop_size, num_crops)
    tops, lefts = _places(part[2], part[3], crop_size, num_crops)
    # Without scaling only the part that the crops need has to be decoded.
    unscaled = tf.reduce_all(tf.equal([height, width], [video.height, video.width]))

    def clip_views(start: tf.Tensor) -> tf.Tensor:
        encoded = _encoded(video, start, stride, num_frames)
        frames = tf.cond(
            unscaled,
            lambda: augmentation.decode_frames(encoded, part),
            lambda: _decode_scaled(encoded, video, height, width, part, max_ratio),
        )
        crops = [
            frames[:, tops[i] : tops[i] + crop_size, lefts[i] : lefts[i] + crop_size]
            for i in range(num_crops)
        ]
        return tf.ensure_shape(tf.stack(crops), (num_crops, num_frames, crop_size, crop_size, 3))

    # One clip after the other: several videos are worked on side by side already.
    views = tf.map_fn(clip_views, starts, fn_output_signature=tf.uint8, parallel_iterations=1)
    shape = (num_clips * num_crops, num_frames, crop_size, crop_size, 3)
    return tf.reshape(views, shape)


def _encoded(video: StoredVideo, start: tf.Tensor, stride: int, num_frames: int) -> tf.Tensor:
    if stride:
        return video.read(start, stride, num_frames)
    middles = sampling.middle_frames(video.num_frames, num_frames)
    return tf.map_fn(
        lambda frame: video.read(frame, 1, 1)[0], middles, fn_output_signature=tf.string
    )


def _needed_part(height: tf.Tensor, width: tf.Tensor, size: int, num_crops: int) -> tf.Tensor:
    """The box that holds all crops: the whole frame for three, the centre for one."""
    if num_crops == 3:
        return tf.stack([0, 0, height, width])
    return tf.stack([(height - size) // 2, (width - size) // 2, size, size])


def _places(
    height: tf.Tensor, width: tf.Tensor, size: int, num_crops: int
) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """Tops and lefts of the crops in the part: 0, the centre and the end of the longer side.

    Of a square that is the width, as in PySlowFast.
    """
    if num_crops == 1:
        return [0], [0]

    def spread(side: tf.Tensor, is_longer: tf.Tensor) -> list[tf.Tensor]:
        centre = (side - size) // 2
        return [tf.where(is_longer, place, centre) for place in (0, centre, side - size)]

    return spread(height, height > width), spread(width, width >= height)


def _decode_scaled(
    encoded: tf.Tensor,
    video: StoredVideo,
    height: tf.Tensor,
    width: tf.Tensor,
    part: tf.Tensor,
    max_ratio: int,
) -> tf.Tensor:
    whole = tf.stack([0, 0, video.height, video.width])
    frames = augmentation.decode_and_scale(encoded, whole, height, width, max_ratio)
    top, left, part_height, part_width = tf.unstack(part)
    return frames[:, top : top + part_height, left : left + part_width]


def _video_in_memory(encoded_frames: Sequence[bytes]) -> StoredVideo:
    frames = tf.constant(list(encoded_frames))
    height, width = tf.unstack(tf.io.extract_jpeg_shape(frames[0])[:2])
    return StoredVideo(
        label=tf.constant(0),
        num_frames=tf.constant(len(encoded_frames), tf.int64),
        height=height,
        width=width,
        read=reader_in_memory(frames, len(encoded_frames)),
    )
