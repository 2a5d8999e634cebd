"""The published networks that can be had by name.

Every fact is from the publishers' own files: PyTorchVideo's docs/source/model_zoo.md, hub files and
PySlowFast's configs/{Kinetics,SSv2}/pytorchvideo; mmaction2's configs/recognition/*/README.md,
metafile.yml and the configs that these name.
"""

import difflib
import re
from typing import Any, NamedTuple

from keras_rms.models.network import MEAN, STDDEV

PYTORCHVIDEO = "https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo"
MMACTION2 = "https://download.openmmlab.com/mmaction"
# Two files of mmaction2, this one's and that of a network with non-local blocks, carry the same
# digits: they cannot be right for both.
_DOUBTFUL = {"df42dc84"}
Colours = float | tuple[float, float, float]


class Preset(NamedTuple):
    """A published network.

    Attributes:
        architecture: As in `keras_rms.models.list()`.
        source: The project, as `Imported.source` names it.
        address: Of the checkpoint.
        top1, top5: Published accuracy in per cent.
        dataset: What it was trained for, as in `class_names`.
        num_frames: Frames of a clip.
        stride: Distance between them in the video; None where they spread over all of it.
        mean, stddev: Normalisation of RGB from 0 to 1.
        pretraining: What it was trained on before, if anything.
        channels: Order of the colours that the checkpoint takes: "RGB" or "BGR".
        crop_size: Height and width of the crops that the accuracy was measured on, in pixels.
        views: Clips x crops that it was averaged over.
        width: Channels of the first layer.
        licence: Of the project, which publishes the weights with it.
    """

    architecture: str
    source: str
    address: str
    top1: float
    top5: float
    dataset: str = "kinetics400"
    num_frames: int = 32
    stride: int | None = 2
    mean: Colours = MEAN
    stddev: Colours = STDDEV
    pretraining: str | None = None
    channels: str = "RGB"
    crop_size: int = 256
    views: str = "10x3"
    width: int = 64
    licence: str = "Apache-2.0"

    @property
    def file_name(self) -> str:
        """Of the checkpoint."""
        return self.address.rsplit("/", 1)[-1]

    @property
    def sha256_start(self) -> str | None:
        """The first digits of the SHA-256, where the file's name ends in them."""
        found = re.search(r"-([0-9a-f]{8})\.pth$", self.file_name)
        return found[1] if found and found[1] not in _DOUBTFUL else None

    @property
    def span(self) -> int | None:
        """Frames of the video that a clip covers, if that is a number."""
        return self.num_frames * self.stride if self.stride else None

    @property
    def normalization(self) -> dict[str, Colours]:
        return {"mean": self.mean, "stddev": self.stddev}


def _pytorchvideo(architecture: str, file: str, top1: float, top5: float, **facts: Any) -> Preset:
    return Preset(architecture, "PyTorchVideo", f"{PYTORCHVIDEO}/{file}", top1, top5, **facts)


def _mmaction2(architecture: str, file: str, top1: float, top5: float, **facts: Any) -> Preset:
    usual = {"mean": _of_bytes(123.675, 116.28, 103.53), "stddev": _of_bytes(58.395, 57.12, 57.375)}
    facts = {**usual, **facts}
    return Preset(architecture, "mmaction2", f"{MMACTION2}/{file}", top1, top5, **facts)


def _of_bytes(*colours: float) -> tuple[float, float, float]:
    red, green, blue = (round(colour / 255, 7) for colour in colours)
    return red, green, blue


# Those ported from VMZ, but for the ones trained on IG65M before.
_VMZ = {
    "mean": _of_bytes(110.2008, 100.63983, 95.99475),
    "stddev": _of_bytes(58.14765, 56.46975, 55.332195),
}
_4X16 = {"num_frames": 4, "stride": 16}
_8X8 = {"num_frames": 8, "stride": 8}
# Frames in even parts of the whole video, BGR, which REVERSE_INPUT_CHANNEL of the configs says.
_WHOLE_VIDEO = {
    "dataset": "something_something_v2",
    "stride": None,
    "channels": "BGR",
    "pretraining": "Kinetics-400",
    "views": "1x3",
}
_SLOW_ONLY = "v1.0/recognition/slowonly"
_SLOW_FAST = "v1.0/recognition/slowfast"
_CSN = "v1.0/recognition/csn"
_CSN_OF_VMZ = "recognition/csn/vmz"


def _twice(folder: str, name: str, digits: str) -> str:
    """mmaction2 names the folder of a file as the file."""
    return f"{folder}/{name}/{name}_{digits}.pth"


PRESETS: dict[str, Preset] = {
    "slow_only_50_4x16_kinetics400": _pytorchvideo(
        "slow_only_50", "kinetics/SLOW_4x16_R50.pyth", 72.40, 90.18, **_4X16
    ),
    "slow_only_50_kinetics400": _pytorchvideo(
        "slow_only_50", "kinetics/SLOW_8x8_R50.pyth", 74.58, 91.63, **_8X8
    ),
    "slow_fast_50_4x16_kinetics400": _pytorchvideo(
        "slow_fast_50_4x16", "kinetics/SLOWFAST_4x16_R50.pyth", 75.34, 91.89
    ),
    "slow_fast_50_8x8_kinetics400": _pytorchvideo(
        "slow_fast_50_8x8", "kinetics/SLOWFAST_8x8_R50.pyth", 76.94, 92.69
    ),
    "slow_fast_101_8x8_kinetics400": _pytorchvideo(
        "slow_fast_101_8x8", "kinetics/SLOWFAST_8x8_R101.pyth", 77.90, 93.27
    ),
    "slow_fast_101_16x8_kinetics400": _pytorchvideo(
        "slow_fast_101_16x8",
        "kinetics/SLOWFAST_16x8_R101_50_50.pyth",
        78.70,
        93.61,
        num_frames=64,
    ),
    "ir_csn_101_kinetics400": _pytorchvideo(
        "ir_csn_101", "kinetics/CSN_32x2_R101.pyth", 77.00, 92.90
    ),
    "slow_only_50_something_something_v2": _pytorchvideo(
        "slow_only_50", "ssv2/SLOW_8x8_R50.pyth", 60.04, 85.19, **{**_WHOLE_VIDEO, "num_frames": 8}
    ),
    "slow_fast_50_8x8_something_something_v2": _pytorchvideo(
        "slow_fast_50_8x8", "ssv2/SLOWFAST_8x8_R50.pyth", 61.68, 86.92, **_WHOLE_VIDEO
    ),
    "slow_only_50_4x16_kinetics400_mmaction2": _mmaction2(
        "slow_only_50",
        f"{_SLOW_ONLY}/slowonly_r50_8xb16-4x16x1-256e_kinetics400-rgb/"
        "slowonly_r50_4x16x1_256e_8xb16_kinetics400-rgb_20220901-f6a40d08.pth",
        72.97,
        90.88,
        **_4X16,
    ),
    "slow_only_50_kinetics400_mmaction2": _mmaction2(
        "slow_only_50",
        _twice(_SLOW_ONLY, "slowonly_r50_8xb16-8x8x1-256e_kinetics400-rgb", "20220901-2132fc87"),
        75.15,
        92.11,
        **_8X8,
    ),
    "slow_only_101_kinetics400_mmaction2": _mmaction2(
        "slow_only_101",
        _twice(_SLOW_ONLY, "slowonly_r101_8xb16-8x8x1-196e_kinetics400-rgb", "20220901-e6281431"),
        76.59,
        92.80,
        **_8X8,
    ),
    "slow_only_50_4x16_imagenet_kinetics400_mmaction2": _mmaction2(
        "slow_only_50",
        _twice(
            _SLOW_ONLY,
            "slowonly_imagenet-pretrained-r50_8xb16-4x16x1-steplr-150e_kinetics400-rgb",
            "20220901-e7b65fad",
        ),
        75.12,
        91.72,
        pretraining="ImageNet",
        **_4X16,
    ),
    "slow_only_50_imagenet_kinetics400_mmaction2": _mmaction2(
        "slow_only_50",
        _twice(
            _SLOW_ONLY,
            "slowonly_imagenet-pretrained-r50_8xb16-8x8x1-steplr-150e_kinetics400-rgb",
            "20220901-df42dc84",
        ),
        76.45,
        92.55,
        pretraining="ImageNet",
        **_8X8,
    ),
    "slow_fast_50_4x16_kinetics400_mmaction2": _mmaction2(
        "slow_fast_50_4x16",
        _twice(_SLOW_FAST, "slowfast_r50_8xb8-4x16x1-256e_kinetics400-rgb", "20220901-701b0f6f"),
        75.55,
        92.35,
    ),
    "slow_fast_50_8x8_kinetics400_mmaction2": _mmaction2(
        "slow_fast_50_8x8",
        _twice(_SLOW_FAST, "slowfast_r50_8xb8-8x8x1-256e_kinetics400-rgb", "20220818-1cb6dfc8"),
        76.80,
        92.99,
    ),
    "slow_fast_101_8x8_kinetics400_mmaction2": _mmaction2(
        "slow_fast_101_8x8",
        _twice(_SLOW_FAST, "slowfast_r101_8xb8-8x8x1-256e_kinetics400-rgb", "20220818-9c0e09bd"),
        78.65,
        93.88,
    ),
    "ir_csn_50_ig65m_kinetics400_mmaction2": _mmaction2(
        "ir_csn_50",
        _twice(
            _CSN,
            "ircsn_ig65m-pretrained-r50-bnfrozen_8xb12-32x2x1-58e_kinetics400-rgb",
            "20220811-44395bae",
        ),
        79.44,
        94.26,
        pretraining="IG65M",
    ),
    "ir_csn_152_ig65m_kinetics400_mmaction2": _mmaction2(
        "ir_csn_152",
        _twice(
            _CSN,
            "ircsn_ig65m-pretrained-r152_8xb12-32x2x1-58e_kinetics400-rgb",
            "20220811-c7a3cc5b",
        ),
        82.87,
        95.90,
        pretraining="IG65M",
    ),
    "ir_csn_152_kinetics400_mmaction2": _mmaction2(
        "ir_csn_152",
        f"{_CSN_OF_VMZ}/vmz_ircsn_from_scratch_r152_32x2x1_180e_kinetics400_rgb_20210617-5c933ae1.pth",
        76.53,
        92.28,
        **_VMZ,
    ),
    "ir_csn_152_sports1m_kinetics400_mmaction2": _mmaction2(
        "ir_csn_152",
        f"{_CSN_OF_VMZ}/"
        "vmz_ircsn_sports1m_pretrained_r152_32x2x1_58e_kinetics400_rgb_20210617-b9b10241.pth",
        78.57,
        93.44,
        pretraining="Sports-1M",
        **_VMZ,
    ),
    "ip_csn_152_kinetics400_mmaction2": _mmaction2(
        "ip_csn_152",
        f"{_CSN_OF_VMZ}/vmz_ipcsn_from_scratch_r152_32x2x1_180e_kinetics400_rgb_20210617-d565828d.pth",
        77.80,
        93.10,
        **_VMZ,
    ),
    "ip_csn_152_ig65m_kinetics400_mmaction2": _mmaction2(
        "ip_csn_152",
        f"{_CSN_OF_VMZ}/vmz_ipcsn_ig65m_pretrained_r152_32x2x1_58e_kinetics400_rgb_20210617-c3be9793.pth",
        82.68,
        95.69,
        pretraining="IG65M",
    ),
    "ip_csn_152_sports1m_kinetics400_mmaction2": _mmaction2(
        "ip_csn_152",
        f"{_CSN_OF_VMZ}/"
        "vmz_ipcsn_sports1m_pretrained_r152_32x2x1_58e_kinetics400_rgb_20210617-3367437a.pth",
        79.07,
        93.82,
        pretraining="Sports-1M",
        **_VMZ,
    ),
}


def preset_of(name: str) -> Preset:
    """The preset of that name.

    Raises:
        ValueError: If there is none; lists names that are near.
    """
    if name in PRESETS:
        return PRESETS[name]
    found = near_names(name)
    near = f"Near names: {', '.join(found)}. " if found else ""
    raise ValueError(
        f"There is no preset of that name, and no such folder. {near}"
        f"`keras_rms.models.presets.PRESETS` has all. Received: {name!r}"
    )


def near_names(name: str) -> list[str]:
    """Up to four names of presets that are written like this one, in whatever case."""
    return difflib.get_close_matches(name.lower(), PRESETS, n=4, cutoff=0.5)
