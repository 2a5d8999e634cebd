"""The same networks of PyTorchVideo in PyTorch, to be measured in turns with ours.

PyTorchVideo imports torchvision for detection alone, which none of these networks do. torchvision
only loads beside the very release of PyTorch that it was built for. So a stand-in takes its place.
"""

import functools
import importlib.util
import sys
import types
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

PACKAGES = ("torch", "pytorchvideo")


def check_installed() -> None:
    """Raises ValueError where PyTorchVideo cannot be imported."""
    missing = [package for package in PACKAGES if importlib.util.find_spec(package) is None]
    if missing:
        raise ValueError(
            f"--peer=pytorchvideo needs {' and '.join(missing)}, not installed here: "
            "pip install torch pytorchvideo."
        )


def check_known(names: list[str]) -> None:
    """Raises ValueError for a network that PyTorchVideo does not have."""
    unknown = [name for name in names if name not in _BUILDERS]
    if unknown:
        raise ValueError(
            f"PyTorchVideo has no {', '.join(unknown)}: with --peer give --networks among "
            f"{','.join(_BUILDERS)}."
        )


def ways(
    name: str, clips: np.ndarray, labels: np.ndarray, parameters: int
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The forward pass of inference and a training step with plain SGD, where PyTorch is fastest.

    On a GPU that is with its order of axes for matrix units and with cuDNN's own choice. The
    precision is that of Keras's policy.

    Args:
        name: Of a network of ours.
        clips: float32 (clips, time, height, width, 3).
        labels: int (clips,).
        parameters: How many our network trains.

    Raises:
        ValueError: If PyTorchVideo's network trains another number of them, and so is another one.
    """
    import torch

    stand_in = types.ModuleType("torchvision.ops")
    stand_in.RoIAlign = None  # type: ignore[attr-defined]
    sys.modules.setdefault("torchvision.ops", stand_in)
    network = _BUILDERS[name](clips.shape[1:])
    own = sum(each.numel() for each in network.parameters())
    if own != parameters:
        raise ValueError(
            f"PyTorchVideo's {name} trains {own} parameters and ours {parameters}: they are not "
            "the same network."
        )
    on_gpu = torch.cuda.is_available()
    device, order = ("cuda", torch.channels_last_3d) if on_gpu else ("cpu", torch.contiguous_format)
    torch.backends.cudnn.benchmark = True
    network.to(device, memory_format=order)
    # PyTorch's own order of axes.
    inputs = torch.from_numpy(np.ascontiguousarray(np.moveaxis(clips, -1, 1)))
    inputs = inputs.to(device, memory_format=order)
    targets = torch.from_numpy(np.asarray(labels, "int64")).to(device)
    is_mixed = keras.config.dtype_policy().compute_dtype == "bfloat16"
    precision = functools.partial(torch.autocast, device, torch.bfloat16, enabled=is_mixed)
    optimizer = torch.optim.SGD(network.parameters(), 1e-6)

    def fed() -> Any:
        # It changes the list of pathways that it is given.
        return (
            [inputs[:, :, _slow_frames(inputs.shape[2])], inputs] if "slow_fast" in name else inputs
        )

    def forward() -> Any:
        network.eval()
        with torch.inference_mode(), precision():
            return network(fed()).cpu()

    def train() -> Any:
        network.train()
        optimizer.zero_grad(set_to_none=True)
        with precision():
            loss = torch.nn.functional.cross_entropy(network(fed()), targets)
        loss.backward()
        optimizer.step()
        return loss.item()

    return forward, train


def _slow_frames(frames: int, alpha: int = 4) -> Any:
    import torch

    return torch.linspace(0, frames - 1, frames // alpha).long()


def _head(shape: tuple, time_stride: int = 1) -> tuple[int, int, int]:
    """What the last stage leaves, over which the head pools."""
    time, height, width = shape[:3]
    return -(-time // time_stride), -(-height // 32), -(-width // 32)


def _slow_only_50(shape: tuple) -> Any:
    from pytorchvideo.models.resnet import create_resnet

    return create_resnet(
        model_depth=50, stem_conv_kernel_size=(1, 7, 7), head_pool_kernel_size=_head(shape)
    )


def _slow_fast_50_8x8(shape: tuple) -> Any:
    from pytorchvideo.models.slowfast import create_slowfast

    fast = _head(shape)
    return create_slowfast(
        model_depth=50,
        slowfast_fusion_conv_kernel_size=(7, 1, 1),
        head_pool_kernel_sizes=((fast[0] // 4, *fast[1:]), fast),
    )


def _ir_csn_50(shape: tuple) -> Any:
    import torch
    from pytorchvideo.models.csn import create_csn

    return create_csn(
        model_depth=50, stem_pool=torch.nn.MaxPool3d, head_pool_kernel_size=_head(shape, 8)
    )


_BUILDERS = {
    "slow_only_50": _slow_only_50,
    "slow_fast_50_8x8": _slow_fast_50_8x8,
    "ir_csn_50": _ir_csn_50,
}
