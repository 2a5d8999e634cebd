"""The regularisers that are compared, by name."""

from typing import NamedTuple


class Method(NamedTuple):
    """Its name in tables, its flags, with the setting in braces, and the settings to try.

    The plain network's settings are factors of the learning rate.
    """

    title: str
    flags: str
    settings: tuple[float, ...]


SPREADS = (0.5, 0.3, 0.1)
SURVIVALS = (0.5, 0.7, 0.9)
METHODS = {
    # Plain training has no strength to tune: it tries as many learning rates.
    "plain": Method("plain", "--rms=none --learning_rate={}", (1.0, 2.0, 0.5)),
    "rms": Method("RMS", "--rms=mean --spread={}", SPREADS),
    "rms_gaussian": Method("RMS-GF", "--rms=gaussian --spread={}", SPREADS),
    "rs_input": Method("RS on x", "--rms=mean --component=input --spread={}", SPREADS),
    "rs_residual": Method("RS on r", "--rms=mean --component=residual --spread={}", SPREADS),
    "random_drop": Method(
        "RandomDrop", "--rms=none --residual_drop=random_drop --survival={}", SURVIVALS
    ),
    "shake_drop": Method(
        "ShakeDrop", "--rms=none --residual_drop=shake_drop --survival={}", SURVIVALS
    ),
    "drop_block": Method(
        "DropBlock", "--rms=none --residual_drop=drop_block --survival={}", (0.9, 0.95, 0.8)
    ),
    "cutmix": Method("CutMix", "--rms=none --cutmix={}", (0.5, 1.0, 0.3)),
    "rms_before_relu": Method(
        "RMS before the ReLUs",
        "--rms=mean --rms_position=before_relu1 --spread={}",
        SPREADS,
    ),
    "rms_all_stages": Method(
        "RMS in all stages",
        "--rms=mean --rms_stage=all --spread={}",
        SPREADS,
    ),
}
