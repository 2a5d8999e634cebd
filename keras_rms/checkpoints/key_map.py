"""What the key maps of all sources share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

# What PyTorch calls the variables of a layer, and what Keras does.
VARIABLES = {"weight": "kernel", "bias": "bias"}
BATCH_NORM_VARIABLES = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}
# Put before every name by training on several devices, or by a network that holds another.
WRAPPERS = ("module.", "model.")
# Put anywhere into a name: by torch.compile, by sharding, and by what recomputes activations.
_COMPILED = re.compile(r"(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
# The classifiers of boxes: PyTorchVideo's and mmaction2's.
_DETECTION_HEADS = ("detection_head.", "roi_head.")
COUNTERS = ("num_batches_tracked",)


def unwrapped(name: str) -> str:
    """The name without the prefixes that wrappers of a network put before it."""
    name = _COMPILED.sub("", name)
    while name.startswith(WRAPPERS):
        name = name.split(".", 1)[1]
    return name


def is_of_detection(name: str) -> bool:
    """Whether a parameter belongs to a classifier of boxes, which no network here has."""
    return unwrapped(name).startswith(_DETECTION_HEADS)


def keras_path(name: str, patterns: Sequence[tuple[str, str]]) -> str | None:
    """`layer/variable` of Keras for a parameter, by the first pattern that its module fits.

    Args:
        name: Such as `blocks.0.norm.running_var`.
        patterns: Pairs of a regular expression for the whole module's name and a template for the
            layer's, `{}` standing for the groups: numbers, or letters a, b, c for 1, 2, 3.

    Returns:
        The path, or `None` when nothing fits.
    """
    module, _, leaf = name.rpartition(".")
    for pattern, template in patterns:
        match = re.fullmatch(pattern, module)
        if match:
            layer = template.format(*(_number(group) for group in match.groups()))
            is_batch_norm = re.search(r"_bn\d?$", layer)
            variable = (BATCH_NORM_VARIABLES if is_batch_norm else VARIABLES).get(leaf)
            return None if variable is None else f"{layer}/{variable}"
    return None


def keras_paths(
    names: Iterable[str], patterns: Sequence[tuple[str, str]]
) -> Mapping[str, str | None]:
    """`keras_path` of every name but the counters, which Keras has no use for."""
    counted = (name for name in names if name.rsplit(".", 1)[-1] not in COUNTERS)
    return {name: keras_path(unwrapped(name), patterns) for name in counted}


def with_prefix(
    module: str, layer: str, patterns: Sequence[tuple[str, str]]
) -> list[tuple[str, str]]:
    """The patterns behind a prefix on both sides."""
    return [(module + pattern, layer + template) for pattern, template in patterns]


def _number(group: str) -> str:
    return str("abc".index(group) + 1) if group in "abc" else group
