"""The layers that may end a residual branch, by name."""

from typing import Any

from keras_rms.drop_block import DropBlock
from keras_rms.random_drop import RandomDrop
from keras_rms.random_layer import RandomLayer
from keras_rms.shake_drop import ShakeDrop

# Each with its argument for the share of a branch that is kept.
_LAYERS: dict[str, tuple[type[RandomLayer], str]] = {
    "random_drop": (RandomDrop, "survival"),
    "shake_drop": (ShakeDrop, "survival"),
    "drop_block": (DropBlock, "keep_prob"),
}
NAMES = tuple(_LAYERS)
# 0.5 is our choice: the paper's appendix that has its own is not public. DropBlock's own is 0.9.
_LAST_KEPT = {"random_drop": 0.5, "shake_drop": 0.5, "drop_block": 0.9}

ResidualDrop = str | RandomDrop | ShakeDrop | DropBlock | None


def residual_drop_of(name: str, kept: float | None = None) -> RandomLayer:
    """The layer of this name.

    Args:
        name: One of `NAMES`.
        kept: The share of the last block's branch that is kept, or the chance that it is; `None`
            for the layer's own.
    """
    layer, argument = _LAYERS[name]
    return layer.from_config({argument: _LAST_KEPT[name] if kept is None else kept})


def residual_drop_template(residual_drop: Any) -> RandomLayer | None:
    """The layer that `residual_drop` is or names.

    Raises:
        ValueError: If it is neither `None` nor such a layer nor the name of one.
    """
    layers = tuple(layer for layer, _ in _LAYERS.values())
    if residual_drop is None or isinstance(residual_drop, layers):
        return residual_drop
    if isinstance(residual_drop, str) and residual_drop in NAMES:
        return residual_drop_of(residual_drop)
    raise ValueError(
        f"`residual_drop` must be None, one of {NAMES}, or a RandomDrop, ShakeDrop or DropBlock "
        f"layer. Received: residual_drop={residual_drop!r}"
    )


def at_depth(template: RandomLayer, depth: float) -> dict[str, float]:
    """What of a template's settings changes with depth: the share kept falls from 1 to its own.

    Args:
        template: See `residual_drop_template`.
        depth: In (0, 1]; 1 is the last block.

    Reference:
        - Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016, eq. 4.
    """
    argument = next(name for layer, name in _LAYERS.values() if isinstance(template, layer))
    return {argument: 1.0 - (1.0 - getattr(template, argument)) * depth}
