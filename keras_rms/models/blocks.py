"""The residual blocks that every network is made of.

Words:
    stem        the first convolution and max pool
    stage       res2 to res5: blocks of one size; the first block of a stage may halve the size
    block       a residual branch and a shortcut around it, added up
    basic       a block of two convolutions
    bottleneck  a block of three: to fewer channels, over space (and time), to four times as many
    unit        a convolution, batch normalisation (BN) and ReLU
    position    where in a block `RandomMeanScaling` goes, as before_bn3 (paper, Table 1 (a))
    template    a layer whose settings each place copies, with a name and a seed of its own

This file alone decides where `RandomMeanScaling` and the layers that drop branches go. How each
layer is set and named is in `layer_builder`.
"""

import math
from collections.abc import Sequence
from typing import Any

import keras

from keras_rms.models.layer_builder import (
    BATCH_NORM_EPSILON,
    LayerBuilder,
    Strides,
    derived_seed,
    per_axis,
)
from keras_rms.random_layer import RandomLayer
from keras_rms.random_mean_scaling import RandomMeanScaling
from keras_rms.residual_drop import ResidualDrop, at_depth, residual_drop_template

# Published weights have this one only, so that it is no argument.
BOTTLENECK_EXPANSION = 4
# Stands for a number in the names of the layers that a channel-separated block may have more.
POINTWISE = "_pointwise"

STAGES = ("res2", "res3", "res4", "res5")
SMOOTHINGS = ("mean", "gaussian")


def rms_positions(num_convolutions: int) -> tuple[str, ...]:
    """Positions that `rms_position` may name in a block of so many convolutions (Table 1 (a))."""
    places = [
        f"before_{layer}{index}"
        for index in range(1, num_convolutions + 1)
        for layer in ("conv", "bn", "relu")
    ]
    return ("default", *places, "before_all_bns")


class BlockBuilder(LayerBuilder):
    """Adds the blocks of a residual network to a functional graph, with the regularisers in them.

    Example:

    >>> inputs = keras.Input((8, 56, 56, 64))
    >>> builder = BlockBuilder(convolutions_per_block=2, num_blocks=1, rms="mean", seed=0)
    >>> outputs = builder.basic_block(inputs, 64, [(3, 3, 3), (3, 3, 3)], 1, "res4", 0)
    >>> keras.Model(inputs, outputs).output_shape
    (None, 8, 56, 56, 64)

    Args:
        convolutions_per_block: 2 for basic blocks, 3 for bottlenecks.
        num_blocks: Residual blocks in the network, over which `residual_drop`'s survival falls.
        rms: `None` or `"none"`, `"mean"`, `"gaussian"`, or a `RandomMeanScaling` whose settings
            each place copies.
        rms_position: `"default"` (before every BN of a basic block, before the last BN of a
            bottleneck), `"before_all_bns"`, or `"before_"` and one of `conv`, `bn`, `relu` with the
            number of the convolution in the block. The last ReLU's place is before the sum with
            the shortcut.
        rms_stages: The stages that get it, among `"res2"` to `"res5"`.
        residual_drop: `None`, `"random_drop"`, `"shake_drop"` or `"drop_block"`, ending each
            residual branch, or such a layer whose settings each place copies: its `survival` (for a
            name 0.5) or `keep_prob` (0.9) is that of the last block.
        epsilon, seed, prefix: As for `LayerBuilder`.

    Raises:
        ValueError: If an argument has another value than listed.

    Reference:
        - Kim et al., "Regularization on Spatio-Temporally Smoothed Feature for Action Recognition",
          CVPR 2020, section 4.2.
    """

    def __init__(
        self,
        *,
        convolutions_per_block: int,
        num_blocks: int,
        rms: "str | RandomMeanScaling | None" = None,
        rms_position: str = "default",
        rms_stages: tuple[str, ...] = ("res4", "res5"),
        residual_drop: ResidualDrop = None,
        epsilon: float = BATCH_NORM_EPSILON,
        seed: int | None = None,
        prefix: str = "",
    ) -> None:
        super().__init__(epsilon=epsilon, seed=seed, prefix=prefix)
        self.drop_template = residual_drop_template(residual_drop)
        self.rms_template = _rms_template(rms)
        self.rms_places = _rms_places(rms_position, convolutions_per_block)
        self.rms_stages = _checked_stages(rms_stages)
        self.num_blocks = num_blocks
        # Builders add blocks from the input on, so that their number is the depth.
        self._blocks_built = 0

    def basic_block(
        self,
        x: Any,
        filters: int,
        kernel_sizes: Sequence[Sequence[int]],
        strides: Strides,
        stage: str,
        index: int,
    ) -> Any:
        """Two convolutions and a shortcut; the stride is on the first."""
        block = f"{stage}_block{index}"
        first, second = kernel_sizes
        branch = self.unit(x, filters, first, strides, stage, block, 1)
        branch = self.unit(branch, filters, second, 1, stage, block, 2, last=True)
        return self._join(x, branch, filters, strides, block)

    def bottleneck_block(
        self,
        x: Any,
        filters: int,
        kernel_sizes: Sequence[Sequence[int]],
        strides: Strides,
        stage: str,
        index: int,
    ) -> Any:
        """Three convolutions, the last to `4 * filters`; the stride is on the second."""
        block = f"{stage}_block{index}"
        # The stride is on the second convolution, as in torchvision; Keras's own ResNets have it on
        # the first.
        first, second, third = kernel_sizes
        out = BOTTLENECK_EXPANSION * filters
        branch = self.unit(x, filters, first, 1, stage, block, 1)
        branch = self.unit(branch, filters, second, strides, stage, block, 2)
        branch = self.unit(branch, out, third, 1, stage, block, 3, last=True)
        return self._join(x, branch, out, strides, block)

    def unit(
        self,
        x: Any,
        filters: int,
        kernel_size: Sequence[int],
        strides: Strides,
        stage: str,
        block: str,
        index: int,
        last: bool = False,
    ) -> Any:
        """A convolution, BN and ReLU (none when `last`) with the RMS layers of its position."""
        x = self._rms(x, stage, block, index, "conv")
        x = self.conv(x, filters, kernel_size, strides, f"{block}_conv{index}")
        return self._norm_relu(x, stage, block, index, last)

    def channel_separated_block(
        self,
        x: Any,
        filters: int,
        strides: Strides,
        stage: str,
        index: int,
        preserve_interaction: bool,
    ) -> Any:
        """A bottleneck whose second convolution is depthwise and carries the stride.

        To preserve the interaction of channels, a pointwise convolution with BN comes before it.
        """
        block = f"{stage}_block{index}"
        out = BOTTLENECK_EXPANSION * filters
        branch = self.unit(x, filters, (1, 1, 1), 1, stage, block, 1)
        branch = self._rms(branch, stage, block, 2, "conv")
        # The pair takes the place of one convolution: "before_conv2" is before both.
        if preserve_interaction:
            branch = self._pointwise(branch, filters, stage, block)
        branch = self.depthwise_conv(branch, (3, 3, 3), strides, f"{block}_conv2")
        branch = self._norm_relu(branch, stage, block, 2, last=False)
        branch = self.unit(branch, out, (1, 1, 1), 1, stage, block, 3, last=True)
        return self._join(x, branch, out, strides, block)

    def _norm_relu(self, x: Any, stage: str, block: str, index: int, last: bool) -> Any:
        x = self._rms(x, stage, block, index, "bn")
        x = self.norm(x, f"{block}_bn{index}", zero_gamma=last)
        x = self._rms(x, stage, block, index, "relu")
        return x if last else self.relu(x, f"{block}_relu{index}")

    def _pointwise(self, x: Any, filters: int, stage: str, block: str) -> Any:
        x = self.conv(x, filters, (1, 1, 1), 1, f"{block}_pointwise_conv")
        x = self._rms(x, stage, block, POINTWISE, "bn")
        return self.norm(x, f"{block}_pointwise_bn")

    def _join(self, x: Any, branch: Any, filters: int, strides: Strides, block: str) -> Any:
        branch = self._drop(branch, block)
        x = self._shortcut(x, filters, per_axis(strides, len(x.shape) - 2), block)
        # Keras files weights in the order of the graph, and among layers at the same distance from
        # the output the first operand's come first: so here the order stays the same when RMS
        # layers lengthen the branch.
        x = keras.layers.Add(name=f"{self.prefix}{block}_add")([branch, x])
        return self.relu(x, f"{block}_relu")

    def _shortcut(self, x: Any, filters: int, strides: tuple[int, ...], block: str) -> Any:
        """The block's input, projected when its shape is not the branch's."""
        if math.prod(strides) == 1 and x.shape[-1] == filters:
            return x
        kernel_size = (1,) * len(strides)
        return self.conv_norm(x, filters, kernel_size, strides, f"{block}_shortcut", relu=False)

    def _rms(self, x: Any, stage: str, block: str, index: int | str, layer: str) -> Any:
        here = stage in self.rms_stages and (layer, index) in self.rms_places
        if self.rms_template is None or not here:
            return x
        return self._copy(self.rms_template, f"{block}_rms{index}")(x)

    def _drop(self, x: Any, block: str) -> Any:
        self._blocks_built += 1
        if self.drop_template is None:
            return x
        depth = self._blocks_built / self.num_blocks
        changes = at_depth(self.drop_template, depth)
        return self._copy(self.drop_template, f"{block}_drop", **changes)(x)

    def _copy(self, template: RandomLayer, name: str, **changes: Any) -> RandomLayer:
        """A layer with the template's settings, but its own name and seed."""
        config = template.get_config() | changes
        name = self.prefix + name
        # Where the network has no seed, that of the template still differs from place to place.
        seed = config["seed"] if self.seed is None else self.seed
        config |= {"name": name, "seed": derived_seed(seed, name)}
        # The template took Keras's setting, which may be another one than this graph's.
        if "data_format" in config:
            config["data_format"] = "channels_last"
        return type(template).from_config(config)


def _rms_template(rms: Any) -> RandomMeanScaling | None:
    if rms is None or rms == "none":
        return None
    if isinstance(rms, RandomMeanScaling):
        return rms
    if rms in SMOOTHINGS:
        return RandomMeanScaling(smoothing=rms)
    raise ValueError(
        "`rms` must be None, 'none', 'mean', 'gaussian' or a RandomMeanScaling layer. "
        f"Received: rms={rms!r}"
    )


def _rms_places(position: str, convolutions_per_block: int) -> set[tuple[str, int | str]]:
    allowed = rms_positions(convolutions_per_block)
    if position not in allowed:
        raise ValueError(
            f"`rms_position` must be one of {', '.join(allowed)} in a block of "
            f"{convolutions_per_block} convolutions. Received: rms_position={position!r}"
        )
    if position == "default":
        # What Table 1 (a) found best of basic blocks and of bottlenecks.
        position = "before_all_bns" if convolutions_per_block == 2 else "before_bn3"
    if position == "before_all_bns":
        numbers = range(1, convolutions_per_block + 1)
        # The pointwise place is one of ip-CSN's alone; elsewhere no layer asks for it.
        return {("bn", index) for index in (*numbers, POINTWISE)}
    # "before_conv2" -> ("conv", 2); blocks have at most three convolutions, so one digit.
    return {(position[len("before_") : -1], int(position[-1]))}


def _checked_stages(stages: Sequence[str]) -> tuple[str, ...]:
    if not isinstance(stages, (list, tuple)) or not all(stage in STAGES for stage in stages):
        raise ValueError(
            f"`rms_stages` must be a tuple of names among {STAGES}. Received: rms_stages={stages!r}"
        )
    return tuple(stages)
