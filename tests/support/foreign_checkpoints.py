"""Checkpoints in the names and layouts of other projects, written from a Keras network.

The direction is the opposite of the importers' and shares no code with them: what they get wrong
does not cancel. `test_import_checkpoint.py` compares the names with those of real checkpoints.
"""

import pickle
import re

import numpy as np

TORCH_LEAVES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
CAFFE2_LEAVES = {
    "kernel": "_w",
    "bias": "_b",
    "gamma": "_s",
    "beta": "_b",
    "moving_mean": "_rm",
    "moving_variance": "_riv",
}


def randomize(model, seed):
    """Values that keep the activations' size, with BN statistics that show a mistake."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        shape = variable.shape
        if variable.name == "kernel":
            scale = np.sqrt(0.7 / np.prod(shape[:-1])) if len(shape) > 2 else 0.05
            value = rng.normal(0, scale, shape)
        elif variable.name in ("gamma", "moving_variance"):
            value = rng.uniform(0.5, 1.5, shape)
        else:
            value = rng.normal(0, 0.1, shape)
        variable.assign(value.astype("float32"))


def torch_layout(value):
    value = np.asarray(value)
    return value if value.ndim < 2 else np.moveaxis(value, (-1, -2), (0, 1)).copy()


def split(layer):
    """`fast_res4_block2_conv1` -> ("fast", "4", "2", "conv1"); lateral, stem, head likewise."""
    pathway, rest = re.fullmatch(r"(?:(slow|fast)_)?(.+)", layer).groups()
    block = re.fullmatch(r"res(\d)_block(\d+)_(.+)", rest)
    if block:
        return pathway, *block.groups()
    kind, _, role = rest.partition("_")
    return pathway, kind, None, role


def pytorchvideo(layer):
    pathway, stage, block, role = split(layer)
    if stage == "head":
        return "HEAD.proj"
    if stage == "lateral":
        source, part = role.split("_")
        number = ("stem", "res2", "res3", "res4").index(source)
        return f"blocks.{number}.multipathway_fusion." + (
            "conv_fast_to_slow" if part == "conv" else "norm"
        )
    way = "" if pathway is None else f"multipathway_blocks.{('slow', 'fast').index(pathway)}."
    if stage == "stem":
        return f"blocks.0.{way}{'conv' if role == 'conv' else 'norm'}"
    start = f"blocks.{int(stage) - 1}.{way}res_blocks.{block}."
    if role.startswith("shortcut"):
        return start + ("branch1_conv" if role.endswith("conv") else "branch1_norm")
    part = "conv" if role.startswith("conv") else "norm"
    return f"{start}branch2.{part}_{' abc'[int(role[-1])]}"


def pyslowfast(layer):
    pathway, stage, block, role = split(layer)
    if stage == "head":
        return "head.projection"
    if stage == "lateral":
        source, part = role.split("_")
        number = {"stem": 1, "res2": 2, "res3": 3, "res4": 4}[source]
        return f"s{number}_fuse.{'conv_f2s' if part == 'conv' else 'bn'}"
    way = 1 if pathway == "fast" else 0
    if stage == "stem":
        return f"s1.pathway{way}_stem.{role}"
    start = f"s{stage}.pathway{way}_res{block}."
    suffix = "_bn" if "bn" in role else ""
    if role.startswith("shortcut"):
        return f"{start}branch1{suffix}"
    return f"{start}branch2.{' abc'[int(role[-1])]}{suffix}"


def caffe2(layer):
    pathway, stage, block, role = split(layer)
    if stage == "head":
        return "pred"
    suffix = "_bn" if "bn" in role else ""
    if stage == "lateral":
        last = {"res2": "res2_2", "res3": "res3_3", "res4": "res4_5"}
        source = role.split("_")[0]
        start = "t_pool1" if source == "stem" else f"t_{last[source]}_branch2c_bn"
        return f"{start}_subsample{suffix}"
    way = "t_" if pathway == "fast" else ""
    if stage == "stem":
        return f"{way}res_conv1_bn" if suffix else f"{way}conv1"
    if role.startswith("shortcut"):
        return f"{way}res{stage}_{block}_branch1{suffix}"
    return f"{way}res{stage}_{block}_branch2{' abc'[int(role[-1])]}{suffix}"


def mmaction2(layer, interaction=None):
    pathway, stage, block, role = split(layer)
    if stage == "head":
        return "cls_head.fc_cls"
    if stage == "lateral":
        source, part = role.split("_")
        module = {"stem": "conv1", "res2": "layer1", "res3": "layer2", "res4": "layer3"}[source]
        return f"backbone.slow_path.{module}_lateral.{part}"
    start = "backbone." + (f"{pathway}_path." if pathway else "")
    part = "bn" if "bn" in role else "conv"
    if stage == "stem":
        return f"{start}conv1.{part}"
    start = f"{start}layer{int(stage) - 1}.{block}."
    if role.startswith("shortcut"):
        return f"{start}downsample.{part}"
    if role.startswith("pointwise"):
        return f"{start}conv2.0.{part}"
    if interaction and role[-1] == "2":
        return f"{start}conv2.{1 if interaction == 'ip' else 0}.{part}"
    return f"{start}conv{role[-1]}.{part}"


def tensors(model, naming, counters=True):
    """The model's weights under another project's names; `naming` maps a layer's name."""
    leaves = CAFFE2_LEAVES if naming is caffe2 else TORCH_LEAVES
    separator = "" if naming is caffe2 else "."
    named = {}
    for layer in model.layers:
        if not layer.weights:
            continue
        module = naming(layer.name)
        if module == "HEAD.proj":
            module = (
                "blocks.6.proj" if "blocks.0.multipathway" in " ".join(named) else "blocks.5.proj"
            )
        for variable in layer.weights:
            value = torch_layout(variable.numpy())
            named[f"{module}{separator}{leaves[variable.name]}"] = value
        if counters and naming is not caffe2 and hasattr(layer, "moving_mean"):
            named[f"{module}.num_batches_tracked"] = np.array(7, np.int64)
    return named


def write_torch(path, named, key="model_state", legacy=False, **more):
    """What `torch.save` writes: the zip form, or the one before PyTorch 1.6."""
    import torch

    state = {name: torch.from_numpy(np.array(value)) for name, value in named.items()}
    torch.save({key: state, **more}, path, _use_new_zipfile_serialization=not legacy)
    return path


def write_caffe2(path, named):
    """What Caffe2's PySlowFast wrote: blobs, with the solver's state among them."""
    solver = {f"{name}_momentum": np.zeros_like(value) for name, value in named.items()}
    solver |= {"lr": np.float32(0.1), "model_iter": np.array([5], np.int64)}
    with open(path, "wb") as file:
        pickle.dump({"blobs": {**named, **solver}}, file, protocol=2)
    return path
