"""The names and habits of mmaction2."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from keras_rms.checkpoints.key_map import keras_paths, unwrapped

NAME = "mmaction2"
NORMALIZATION = "the `mean` and `std` of its config, which differ from network to network"

# Some files hold the mean and standard deviation of its config too; its publishing takes them out.
_PREPROCESSOR = "data_preprocessor."
# layer1 of mmaction2 is res2.
_STAGES = {1: "res2", 2: "res3", 3: "res4", 4: "res5"}


def _pathway(module: str, layer: str) -> list[tuple[str, str]]:
    patterns = [
        (rf"backbone\.{module}conv1\.conv", f"{layer}stem_conv"),
        (rf"backbone\.{module}conv1\.bn", f"{layer}stem_bn"),
    ]
    for number, stage in _STAGES.items():
        for part in ("conv", "bn"):
            block = rf"backbone\.{module}layer{number}\.(\d+)\."
            patterns += [
                (rf"{block}conv([123])\.{part}", f"{layer}{stage}_block{{}}_{part}{{}}"),
                (rf"{block}downsample\.{part}", f"{layer}{stage}_block{{}}_shortcut_{part}"),
            ]
    return patterns


# CSN's second convolution is a sequence: alone the depthwise one (ir), or 1x1x1 before it (ip).
_DEPTHWISE = {"ir": {0: "{}"}, "ip": {0: "pointwise_{}", 1: "{}"}}


def _csn(interaction: str) -> list[tuple[str, str]]:
    patterns = []
    for number, stage in _STAGES.items():
        for index, role in _DEPTHWISE[interaction].items():
            for part in ("conv", "bn"):
                module = rf"backbone\.layer{number}\.(\d+)\.conv2\.{index}\.{part}"
                layer = f"{part}2" if role == "{}" else role.format(part)
                patterns.append((module, f"{stage}_block{{}}_{layer}"))
    return patterns


_LATERALS = [
    (rf"backbone\.slow_path\.{module}_lateral\.conv", f"lateral_{stage}_conv")
    for module, stage in (
        ("conv1", "stem"),
        ("layer1", "res2"),
        ("layer2", "res3"),
        ("layer3", "res4"),
    )
]
PATTERNS = [
    *_pathway("", ""),
    *_pathway(r"slow_path\.", "slow_"),
    *_pathway(r"fast_path\.", "fast_"),
    *_LATERALS,
    (r"cls_head\.fc_cls", "head_dense"),
]


def recognizes(names: Iterable[str]) -> bool:
    """Whether these are the names of an mmaction2 network."""
    return any(unwrapped(name).startswith("backbone.") for name in names)


def paths(names: Iterable[str]) -> Mapping[str, str | None]:
    """From each name to `layer/variable`, or to `None` when it is unknown."""
    is_ip = any(".conv2.1." in name for name in names)
    of_network = [name for name in names if not unwrapped(name).startswith(_PREPROCESSOR)]
    return keras_paths(of_network, [*_csn("ip" if is_ip else "ir"), *PATTERNS])


def arguments(model: str) -> dict[str, Any]:
    """What the builder has to be told for the network to compute what the original does."""
    if "csn" in model:
        return {"epsilon": 1e-3}
    if not model.startswith("slow_fast"):
        return {}
    habits = {"slow_frames": "stride", "lateral_norm": False, "head_order": "fast_slow"}
    # PySlowFast takes 5 at depth 101.
    return habits | ({"lateral_kernel": 7} if model == "slow_fast_101_8x8" else {})
