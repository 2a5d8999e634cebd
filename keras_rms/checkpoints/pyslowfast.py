"""The names of PySlowFast, and of the Caffe2 files in its model zoo."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from keras_rms.checkpoints.key_map import keras_path, keras_paths, unwrapped

NAME = "PySlowFast"
NORMALIZATION = "(x / 255 - 0.45) / 0.225"


def _pathway(number: int, layer: str) -> list[tuple[str, str]]:
    block = rf"s([2-5])\.pathway{number}_res(\d+)\."
    name = f"{layer}res{{}}_block{{}}_"
    return [
        (rf"s1\.pathway{number}_stem\.conv", f"{layer}stem_conv"),
        (rf"s1\.pathway{number}_stem\.bn", f"{layer}stem_bn"),
        (rf"{block}branch1", f"{name}shortcut_conv"),
        (rf"{block}branch1_bn", f"{name}shortcut_bn"),
        (rf"{block}branch2\.([abc])", f"{name}conv{{}}"),
        (rf"{block}branch2\.([abc])_bn", f"{name}bn{{}}"),
    ]


_HEAD = [(r"head\.projection", "head_dense")]
ONE_PATHWAY = [*_pathway(0, ""), *_HEAD]
TWO_PATHWAYS = [
    *_pathway(0, "slow_"),
    *_pathway(1, "fast_"),
    (r"s1_fuse\.conv_f2s", "lateral_stem_conv"),
    (r"s1_fuse\.bn", "lateral_stem_bn"),
    (r"s([2-4])_fuse\.conv_f2s", "lateral_res{}_conv"),
    (r"s([2-4])_fuse\.bn", "lateral_res{}_bn"),
    *_HEAD,
]

# Caffe2 -> PySlowFast, `P` standing for the pathway: "t_" marks the fast one.
_CAFFE2_LEAVES = {
    "_bn_s": "_bn.weight",
    "_bn_b": "_bn.bias",
    "_bn_rm": "_bn.running_mean",
    "_bn_riv": "_bn.running_var",
    "_w": ".weight",
    "_b": ".bias",
}
_CAFFE2_MODULES = [
    (r"conv1", r"s1.pathwayP_stem.conv"),
    (r"res_conv1_bn", r"s1.pathwayP_stem.bn"),
    (r"res([2-5])_(\d+)_branch1(_bn)?", r"s\1.pathwayP_res\2.branch1\3"),
    (r"res([2-5])_(\d+)_branch2([abc])(_bn)?", r"s\1.pathwayP_res\2.branch2.\3\4"),
]
_CAFFE2_LATERALS = [
    (r"t_pool1_subsample", r"s1_fuse.conv_f2s"),
    (r"t_pool1_subsample_bn", r"s1_fuse.bn"),
    (r"t_res([2-4])_\d+_branch2c_bn_subsample", r"s\1_fuse.conv_f2s"),
    (r"t_res([2-4])_\d+_branch2c_bn_subsample_bn", r"s\1_fuse.bn"),
    (r"pred", r"head.projection"),
]
# The state of Caffe2's solver, filed beside the parameters.
_CAFFE2_SOLVER = re.compile(r"(.*_momentum|lr|model_iter)")


def recognizes(names: Iterable[str]) -> bool:
    """Whether these are the names of a PySlowFast network, PyTorch's or Caffe2's."""
    return _is_caffe2(names) or any(
        unwrapped(name).startswith("s1.pathway0_stem.") for name in names
    )


def paths(names: Iterable[str]) -> Mapping[str, str | None]:
    """From each name to `layer/variable`, or to `None` when it is unknown."""
    if not _is_caffe2(names):
        return keras_paths(names, _patterns(names))
    kept = [name for name in names if not _CAFFE2_SOLVER.fullmatch(name)]
    renamed = {name: _from_caffe2(name) for name in kept}
    patterns = _patterns(filter(None, renamed.values()))
    return {name: new and keras_path(new, patterns) for name, new in renamed.items()}


def arguments(model: str) -> dict[str, Any]:
    """What the builder has to be told for the network to compute what the original does."""
    return {"slow_frames": "linspace"} if model.startswith("slow_fast") else {}


def _is_caffe2(names: Iterable[str]) -> bool:
    return {"conv1_w", "pred_w"} <= set(names)


def _patterns(names: Iterable[str]) -> list[tuple[str, str]]:
    # A single pathway has number 0 too; only beside a second one is it the slow pathway.
    return TWO_PATHWAYS if any(".pathway1_" in name for name in names) else ONE_PATHWAY


def _from_caffe2(name: str) -> str | None:
    suffix = next((suffix for suffix in _CAFFE2_LEAVES if name.endswith(suffix)), None)
    if suffix is None:
        return None
    leaf = _CAFFE2_LEAVES[suffix]
    module = name[: -len(suffix)] + ("_bn" if leaf.startswith("_bn") else "")
    leaf = leaf[leaf.index(".") :]
    for pattern, template in _CAFFE2_LATERALS:
        if re.fullmatch(pattern, module):
            return re.sub(pattern, template, module) + leaf
    pathway = "1" if module.startswith("t_") else "0"
    module = module.removeprefix("t_")
    for pattern, template in _CAFFE2_MODULES:
        match = re.fullmatch(pattern, module)
        if match:
            return match.expand(template).replace("pathwayP", f"pathway{pathway}") + leaf
    return None
