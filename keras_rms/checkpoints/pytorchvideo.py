"""The names of PyTorchVideo, and of the networks of PySlowFast built from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from keras_rms.checkpoints.key_map import keras_paths, unwrapped, with_prefix

NAME = "PyTorchVideo"
NORMALIZATION = "(x / 255 - 0.45) / 0.225"

_STEM = [(r"conv", "stem_conv"), (r"norm", "stem_bn")]
_STAGES = [
    (
        rf"{number}\.{{}}res_blocks\.(\d+)\.{module}",
        f"res{number + 1}_block{{}}_{layer}",
    )
    for number in (1, 2, 3, 4)
    for module, layer in (
        (r"branch1_conv", "shortcut_conv"),
        (r"branch1_norm", "shortcut_bn"),
        (r"branch2\.conv_([abc])", "conv{}"),
        (r"branch2\.norm_([abc])", "bn{}"),
    )
]


def _pathway(module: str, layer: str) -> list[tuple[str, str]]:
    stem = with_prefix(rf"blocks\.0\.{module}", layer, _STEM)
    stages = [
        (r"blocks\." + pattern.replace("{}", module), layer + name) for pattern, name in _STAGES
    ]
    return stem + stages


_LATERALS = [
    (rf"blocks\.{number}\.multipathway_fusion\.{module}", f"lateral_{stage}_{layer}")
    for number, stage in enumerate(("stem", "res2", "res3", "res4"))
    for module, layer in (("conv_fast_to_slow", "conv"), ("norm", "bn"))
]
PATTERNS = [
    *_pathway("", ""),
    *_pathway(r"multipathway_blocks\.0\.", "slow_"),
    *_pathway(r"multipathway_blocks\.1\.", "fast_"),
    *_LATERALS,
    (r"blocks\.[56]\.proj", "head_dense"),
]


def recognizes(names: Iterable[str]) -> bool:
    """Whether these are the names of a PyTorchVideo network."""
    return any(unwrapped(name).startswith("blocks.0.") for name in names)


def paths(names: Iterable[str]) -> Mapping[str, str | None]:
    """From each name to `layer/variable`, or to `None` when it is unknown."""
    return keras_paths(names, PATTERNS)


def arguments(model: str) -> dict[str, Any]:
    """What the builder has to be told for the network to compute what the original does."""
    return {"slow_frames": "linspace"} if model.startswith("slow_fast") else {}
