"""How the clips of the chosen network are made, where its file does not say."""

import dataclasses
from pathlib import Path
from typing import Any

import network_choice
from absl import flags

from keras_rms.inference.trained_network import TrainedNetwork
from keras_rms.inference.view_scores import ends_in_softmax
from pipelines.system import command_help

command_help.section("How its clips are made")
_CROP_SIZE = flags.DEFINE_integer(
    "crop_size",
    None,
    "Take crops of this height and width, in pixels. By default the training's "
    "evaluation_crop_size, or what the file of --model says.",
    lower_bound=1,
)
_SHORT_SIDE = flags.DEFINE_integer(
    "short_side",
    None,
    "Scale frames to this short side, in pixels, before they are cropped. By default as in "
    "training, or to --crop_size.",
)
_NUM_FRAMES = flags.DEFINE_integer(
    "num_frames",
    None,
    "Give the network of --model this many frames a clip. By default as its file says.",
    lower_bound=1,
)
_SPAN = flags.DEFINE_integer(
    "span",
    None,
    "Spread the frames of a clip of --model over this many consecutive frames of the video, and 0 "
    "over all of it. By default as its file says.",
    lower_bound=0,
)
_MEAN = flags.DEFINE_list(
    "mean",
    None,
    "Normalise the colours, from 0 to 1, of a --model that takes normalised clips by this mean, a "
    "number or three. By default as its file says.",
)
_STDDEV = flags.DEFINE_list(
    "stddev", None, "Divide them by this standard deviation then, a number or three."
)
_LABELS = flags.DEFINE_string(
    "labels",
    None,
    "Read the names of the classes of --model from this file, one on a line, in the order of its "
    "outputs. By default as its file says.",
)
_OF_MODEL = (_NUM_FRAMES, _SPAN, _MEAN, _STDDEV, _LABELS)


def opened() -> TrainedNetwork:
    """The network, whose settings say how its clips are made.

    Raises:
        ValueError: If the flags do not fit together, something is not known, or the network gives
            probabilities in the place of logits.
    """
    if network_choice.model() is None:
        given = [flag.name for flag in _OF_MODEL if flag.value is not None]
        if given:
            raise ValueError(
                f"--{given[0]} is for a --model. A training is used with its own settings."
            )
        network = network_choice.opened()
    else:
        network = network_choice.opened(
            num_frames=_NUM_FRAMES.value,
            span=_SPAN.value,
            evaluation_crop_size=_CROP_SIZE.value,
            class_names=_names(_LABELS.value),
            normalization=_normalization(),
        )
    if ends_in_softmax(network.model):
        raise ValueError(
            f"{network.source} ends in a softmax, and a second one would follow. Save it without "
            "the activation of its last layer: its outputs must be logits."
        )
    return dataclasses.replace(network, settings=network.settings | _sizes())


def _sizes() -> dict[str, Any]:
    sizes: dict[str, Any] = {}
    if _CROP_SIZE.value is not None:
        sizes = {"evaluation_crop_size": _CROP_SIZE.value, "evaluation_short_side": None}
    if _SHORT_SIDE.value is not None:
        sizes["evaluation_short_side"] = _SHORT_SIDE.value
    return sizes


def _names(path: str | None) -> list[str] | None:
    return None if path is None else Path(path).read_text(encoding="utf-8").splitlines()


def _normalization() -> dict[str, list[float]] | None:
    if (_MEAN.value is None) != (_STDDEV.value is None):
        raise ValueError("--mean and --stddev belong together: give both.")
    if _MEAN.value is None:
        return None
    return {"mean": _colours(_MEAN), "stddev": _colours(_STDDEV)}


def _colours(flag: flags.FlagHolder) -> list[float]:
    try:
        numbers = [float(each) for each in flag.value]
    except ValueError:
        numbers = []
    # Values from 0 to 255 would make clips that look like nothing the network has seen.
    if len(numbers) not in (1, 3) or not all(0 <= n <= 1 for n in numbers):
        raise ValueError(
            f"--{flag.name} must be a number or three, of colours from 0 to 1; divide those of "
            f"colours up to 255 by that. Received: --{flag.name}={','.join(flag.value)}"
        )
    if flag.name == "stddev" and not all(numbers):
        raise ValueError("--stddev must be above 0.")
    return numbers * (3 // len(numbers))
