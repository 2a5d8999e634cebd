"""CutMix and MixUp for clips: pairs of clips made into one, with both labels."""

import tensorflow as tf


class Mixing:
    """Replaces each clip of a batch with one made of it and another clip of the batch.

    One share `lambda ~ Beta(alpha, alpha)` and one pairing are drawn for the whole batch, as in the
    paper's Table 2 ("level: Batch"). A subclass says how two clips become one.

    Args:
        alpha: Of the Beta distribution, above 0; 1 is uniform.
        probability: How often a batch is mixed at all, 0 to 1.

    Call arguments:
        clips: uint8 or float (batch, time, height, width, channels), or without time.
        targets: float (batch, classes), rows that sum to 1.
        seed: int32 (2,); the result is a function of it.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(self, alpha: float = 1.0, probability: float = 1.0) -> None:
        if not alpha > 0:
            raise ValueError(f"`alpha` must be above 0. Received: alpha={alpha}")
        if not 0 <= probability <= 1:
            raise ValueError(
                f"`probability` must be in [0, 1]. Received: probability={probability}"
            )
        self.alpha = alpha
        self.probability = probability

    def mix(
        self, clips: tf.Tensor, partners: tf.Tensor, share: tf.Tensor, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Mixed clips, and the share of each that is its own."""
        raise NotImplementedError

    def __call__(
        self, clips: tf.Tensor, targets: tf.Tensor, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        seeds = tf.unstack(tf.random.split(seed, 4))
        share = stateless_beta(self.alpha, seeds[0])
        order = tf.argsort(tf.random.stateless_uniform(tf.shape(clips)[:1], seeds[1]))
        mixed, own = self.mix(clips, tf.gather(clips, order), share, seeds[2])
        mixed_targets = own * targets + (1 - own) * tf.gather(targets, order)
        chosen = tf.random.stateless_uniform((), seeds[3]) < self.probability
        return tf.where(chosen, mixed, clips), tf.where(chosen, mixed_targets, targets)


class CutMix(Mixing):
    """Puts a box of another clip into each; the box is the same in all frames.

    The box covers the share `1 - lambda` of the frame before its part outside is cut off; the
    labels are weighted with what is left.

    Example:

    >>> clips, targets = CutMix()(clips, targets, seed=tf.constant([0, 1]))

    Reference: [Yun et al., 2019](https://arxiv.org/abs/1905.04899), algorithm 1.
    """

    def mix(
        self, clips: tf.Tensor, partners: tf.Tensor, share: tf.Tensor, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        height, width = tf.shape(clips)[-3], tf.shape(clips)[-2]
        place = tf.random.stateless_uniform((2,), seed)
        rows = _interval(height, share, place[0])
        columns = _interval(width, share, place[1])
        inside = rows[:, None] & columns[None, :]
        own = 1 - tf.reduce_mean(tf.cast(inside, tf.float32))
        return tf.where(inside[..., None], partners, clips), own


def _interval(size: tf.Tensor, share: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    """Which positions of an axis the box takes: bool (size,)."""
    length = tf.cast(tf.cast(size, tf.float32) * tf.sqrt(1 - share), tf.int32)
    centre = tf.cast(tf.cast(size, tf.float32) * place, tf.int32)
    position = tf.range(size)
    start = centre - length // 2
    return (position >= start) & (position < start + length)


class MixUp(Mixing):
    """Averages each clip with another one, weighted with lambda.

    uint8 clips are rounded to uint8 again, which moves a value by at most half a grey level.

    Example:

    >>> clips, targets = MixUp(alpha=0.2)(clips, targets, seed=tf.constant([0, 1]))

    Reference: [Zhang et al., 2018](https://arxiv.org/abs/1710.09412), eq. 1.
    """

    def mix(
        self, clips: tf.Tensor, partners: tf.Tensor, share: tf.Tensor, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        first, second = tf.cast(clips, tf.float32), tf.cast(partners, tf.float32)
        mixed = share * first + (1 - share) * second
        mixed = tf.round(mixed) if clips.dtype.is_integer else mixed
        return tf.cast(mixed, clips.dtype), share


def stateless_beta(alpha: float, seed: tf.Tensor) -> tf.Tensor:
    """A draw from Beta(alpha, alpha), as the ratio of two Gamma draws."""
    first, second = tf.unstack(tf.random.stateless_gamma((2,), seed, alpha))
    # Both draws underflow to 0 for tiny alpha, where Beta is a coin; half is as good as any.
    total = first + second
    return tf.where(total > 0, first / tf.maximum(total, 1e-38), 0.5)
