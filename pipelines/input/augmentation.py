"""What happens to the pixels of a clip: crops, scaling and flips as pure functions on tensors.

A crop is decided before anything is decoded, so that only its part of each JPEG has to be.
Everything is uint8. JPEGs are decoded without smoothing their colour planes
(`fancy_upscaling=False`): only so does decoding a part give exactly the part of the decoded whole.
"""

import math

import tensorflow as tf

_TRIES = 10


def random_crop(
    seed: tf.Tensor,
    height: tf.Tensor,
    width: tf.Tensor,
    *,
    min_area: float = 0.25,
    max_area: float = 1.0,
    min_aspect: float = 3 / 4,
    max_aspect: float = 4 / 3,
) -> tf.Tensor:
    """A box of random area, aspect and place within a frame.

    Area is uniform and the aspect log-uniform. A box that does not fit into the frame is drawn
    again, ten times; then the largest centred box of an allowed aspect is taken.

    Args:
        seed: Stateless seed of shape `(2,)`.
        height: Height of the frame.
        width: Width of the frame.
        min_area: Smallest area as a share of the frame's.
        max_area: Largest area as a share of the frame's.
        min_aspect: Smallest ratio of width to height.
        max_aspect: Largest ratio of width to height.

    Returns:
        int32 tensor `[top, left, height, width]`.

    Reference:
        Szegedy et al., Going Deeper with Convolutions, 2015, section 6.
    """
    height = tf.cast(height, tf.float32)
    width = tf.cast(width, tf.float32)
    shape_seed, place_seed = tf.unstack(tf.random.split(seed, 2))
    draws = tf.random.stateless_uniform([2, _TRIES], shape_seed)
    area = (min_area + draws[0] * (max_area - min_area)) * height * width
    # In logarithms 3:4 and 4:3 are equally far from a square.
    low, high = math.log(min_aspect), math.log(max_aspect)
    aspect = tf.exp(low + draws[1] * (high - low))
    widths = tf.round(tf.sqrt(area * aspect))
    heights = tf.round(tf.sqrt(area / aspect))
    fits = (widths >= 1) & (heights >= 1) & (widths <= width) & (heights <= height)
    first = tf.argmax(fits)
    found = tf.reduce_any(fits)
    fallback_width = tf.maximum(tf.minimum(width, tf.round(height * max_aspect)), 1)
    fallback_height = tf.maximum(tf.minimum(height, tf.round(width / min_aspect)), 1)
    box_height = tf.where(found, heights[first], fallback_height)
    box_width = tf.where(found, widths[first], fallback_width)
    room = tf.stack([height - box_height, width - box_width])
    # The centre, unless a box was found; uniform over all places where it fits.
    share = tf.where(found, tf.random.stateless_uniform([2], place_seed), 0.5)
    place = tf.minimum(tf.floor(share * (room + tf.cast(found, tf.float32))), room)
    return tf.cast(tf.concat([place, [box_height, box_width]], 0), tf.int32)


def decode_frames(encoded: tf.Tensor, box: tf.Tensor, ratio: int = 1) -> tf.Tensor:
    """Decode one box of every JPEG of a clip.

    Args:
        encoded: String tensor of shape `(T,)`, T known when the graph is built.
        box: int32 `[top, left, height, width]`, in pixels after the reduction by `ratio`.
        ratio: 1, 2, 4 or 8; the JPEGs are decoded at this fraction of their size, which takes
            less time than decoding and scaling them.

    Returns:
        uint8 tensor of shape `(T, height, width, 3)`.
    """
    return tf.stack([_decode(frame, box, ratio) for frame in tf.unstack(encoded)])


def _decode(encoded: tf.Tensor, box: tf.Tensor, ratio: int) -> tf.Tensor:
    return tf.io.decode_and_crop_jpeg(
        encoded,
        box,
        channels=3,
        ratio=ratio,
        fancy_upscaling=False,
        dct_method="INTEGER_ACCURATE",
    )


def decode_and_scale(
    encoded: tf.Tensor, box: tf.Tensor, height: tf.Tensor, width: tf.Tensor, max_ratio: int = 8
) -> tf.Tensor:
    """Decode one box of every JPEG of a clip and scale it to `height` x `width`.

    A box at least twice as large as the result is decoded at half of its size, and so on: it takes
    less time and leaves no aliasing. Its edges are then moved by less than one pixel of
    the result.

    Args:
        encoded: String tensor of shape `(T,)`.
        box: int32 `[top, left, height, width]`.
        height: Height of the result.
        width: Width of the result.
        max_ratio: Largest reduction that the frames of the data can call for (`largest_ratio`).

    Returns:
        uint8 tensor of shape `(T, height, width, 3)`.
    """
    ratios = [ratio for ratio in (1, 2, 4, 8) if ratio <= max_ratio]
    shrinkage = tf.minimum(box[2] // height, box[3] // width)

    def decoded_at(ratio: int) -> tf.Tensor:
        # Frame by frame: what lies between decoding and the result then fits into a core's cache.
        reduced = box // ratio
        frames = [_decode(frame, reduced, ratio)[tf.newaxis] for frame in tf.unstack(encoded)]
        return tf.concat([scale(frame, height, width) for frame in frames], 0)

    branches = [lambda ratio=ratio: decoded_at(ratio) for ratio in ratios]
    if len(branches) == 1:
        return branches[0]()
    chosen = tf.reduce_sum(tf.cast(shrinkage >= ratios[1:], tf.int32))
    return tf.switch_case(chosen, branches)


def largest_ratio(frame_height: int, frame_width: int, height: int, width: int) -> int:
    """Largest reduction while decoding that still leaves at least `height` x `width` pixels."""
    shrinkage = min(frame_height // height, frame_width // width)
    return max(ratio for ratio in (1, 2, 4, 8) if ratio <= max(shrinkage, 1))


def scale(frames: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Scale uint8 frames `(T, H, W, 3)` bilinearly to `(T, height, width, 3)`, rounding."""
    # ResizeBilinear takes less than half of the time from float32. The half that rounds survives
    # interpolation, and the crop has fewer pixels to add it to than the result.
    shifted = tf.cast(frames, tf.float32) + 0.5
    size = tf.stack([height, width])
    scaled = tf.raw_ops.ResizeBilinear(images=shifted, size=size, half_pixel_centers=True)
    return tf.cast(scaled, tf.uint8)


def scaled_size(
    height: tf.Tensor, width: tf.Tensor, short_side: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Height and width once the short side is `short_side`, the long one rounded."""
    shortest = tf.minimum(height, width)
    return tuple((2 * side * short_side + shortest) // (2 * shortest) for side in (height, width))


def padded_crop(seed: tf.Tensor, frames: tf.Tensor, size: int, padding: int) -> tf.Tensor:
    """A crop at a random place of frames with black pixels around them.

    All places are equally likely; what was outside of the frames is black.

    Args:
        seed: Stateless seed of shape `(2,)`.
        frames: uint8 `(T, H, W, 3)`, whose sides with the padding are at least `size`.
        size: Height and width of the crop.
        padding: Width of the black border.

    Returns:
        uint8 `(T, size, size, 3)`.

    Reference:
        He et al., Deep Residual Learning for Image Recognition, 2016, section 4.2.
    """
    around = [padding, padding]
    padded = tf.pad(frames, [[0, 0], around, around, [0, 0]])
    room = tf.shape(padded)[1:3] - size
    # Rounding may give the upper bound itself, which `minimum` takes back.
    share = tf.random.stateless_uniform([2], seed) * tf.cast(room + 1, tf.float32)
    top, left = tf.unstack(tf.minimum(tf.cast(share, tf.int32), room))
    return padded[:, top : top + size, left : left + size]


def flip(frames: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
    """Mirror all frames `(T, H, W, 3)` of a clip left to right where `wanted` is true."""
    shape = tf.shape(frames)

    def mirrored() -> tf.Tensor:
        # TensorFlow has a fast way to reverse the rows of a single picture only.
        rows = tf.reshape(frames, [-1, shape[2], 3])
        return tf.reshape(tf.reverse(rows, [1]), shape)

    return tf.ensure_shape(tf.cond(wanted, mirrored, lambda: frames), frames.shape)
