"""The experiments of the paper's tables, and what the paper measured, as data.

Reference: Kim et al., "Regularization on Spatio-Temporally Smoothed Feature for Action
Recognition", CVPR 2020, Tables 1 and 2 (Mini-Kinetics, mean and deviation of three runs), Table 3
(beside other networks there), Table 4 (Kinetics-400), Table 5 (Something-Something-v2), Table 6
(images) and Fig. 3 (the gap between training and validation accuracy at the end).
"""

from dataclasses import dataclass, field, replace

SLOW_ONLY_34 = "slow_only_34"
SLOW_ONLY_50 = "slow_only_50"
# Networks with RMS there by default, as SlowOnly-34; in all others it is before the last BN.
_RMS_BEFORE_ALL_BNS = ("slow_only_18", SLOW_ONLY_34, "resnet_20", "resnet_110", "s3d")


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        method: What is added to the plain network; empty for the network alone.
        model: The paper's network.
        flags: Those of keras-rms train that make the line.
        top1, top5: Per cent in the paper, (mean, deviation), deviation None where it gives none;
            None where it gives neither.
        gap: Per cent of training accuracy above validation accuracy in the paper's Fig. 3.
        dataset: Which of the table's datasets, where it has several.
        recipe: The flags that the line is trained with unless others are given; empty for none.
        fine_tuned: Whether the paper begins with weights of the same network on Kinetics-400.
    """

    method: str
    model: str
    flags: dict[str, str] = field(default_factory=dict)
    top1: tuple[float, float | None] | None = None
    top5: tuple[float, float | None] | None = None
    gap: float | None = None
    dataset: str = ""
    recipe: str = ""
    fine_tuned: bool = False


_NONE = {"rms": "none"}
_RMS = {"rms": "mean"}
_GAUSSIAN = {"rms": "gaussian"}

_BASELINE_34 = Row("", SLOW_ONLY_34, _NONE, (74.7, 0.33), (92.1, 0.06), 25.5)
_RMS_34 = Row("RMS", SLOW_ONLY_34, _RMS, (77.0, 0.31), (93.5, 0.23), 11.7)
_GAUSSIAN_34 = Row("RMS-GF", SLOW_ONLY_34, _GAUSSIAN, (77.5, 0.16), (93.9, 0.03), 5.7)
_BASELINE_50 = Row("", SLOW_ONLY_50, _NONE, (77.5, 0.85), (93.2, 0.42))
_RMS_50 = Row("RMS", SLOW_ONLY_50, _RMS, (78.6, 0.33), (94.0, 0.12))
_GAUSSIAN_50 = Row("RMS-GF", SLOW_ONLY_50, _GAUSSIAN, (78.3, 0.33), (94.1, 0.11))


def _called(method: str, row: Row) -> Row:
    """The same experiment under the name that another table has for it."""
    return Row(method, row.model, row.flags, row.top1, row.top5, row.gap)


def _at(name: str, position: str, model: str, top1: tuple, top5: tuple) -> Row:
    return Row(f"RMS before the {name}", model, {**_RMS, "rms_position": position}, top1, top5)


_POSITION = (
    _BASELINE_34,
    _at("1st conv.", "before_conv1", SLOW_ONLY_34, (76.7, 0.23), (93.2, 0.27)),
    _at("1st BN", "before_bn1", SLOW_ONLY_34, (76.9, 0.54), (93.2, 0.30)),
    _at("1st ReLU", "before_relu1", SLOW_ONLY_34, (76.4, 0.25), (93.2, 0.09)),
    _at("2nd conv.", "before_conv2", SLOW_ONLY_34, (76.8, 0.38), (93.3, 0.12)),
    _at("2nd BN", "before_bn2", SLOW_ONLY_34, (76.7, 0.23), (93.2, 0.12)),
    _at("2nd ReLU", "before_relu2", SLOW_ONLY_34, (76.3, 0.36), (93.0, 0.12)),
    # The default places: all BNs of basic blocks, the last BN of bottlenecks.
    _called("RMS before all BNs", _RMS_34),
    _BASELINE_50,
    _at("1st BN", "before_bn1", SLOW_ONLY_50, (78.4, 0.39), (93.8, 0.11)),
    _at("2nd BN", "before_bn2", SLOW_ONLY_50, (77.8, 0.55), (93.8, 0.21)),
    _called("RMS before the 3rd BN", _RMS_50),
)


def _normal(deviation: str, top1: tuple, top5: tuple) -> Row:
    flags = {**_RMS, "rms_spread": deviation}
    return Row(f"RMS, N(1.0, {deviation})", SLOW_ONLY_34, flags, top1, top5)


def _uniform(interval: str, half_width: str, top1: tuple, top5: tuple) -> Row:
    flags = {**_RMS, "rms_distribution": "uniform", "rms_spread": half_width}
    return Row(f"RMS, U({interval})", SLOW_ONLY_34, flags, top1, top5)


_DISTRIBUTION = (
    _BASELINE_34,
    _normal("0.3", (76.1, 0.76), (92.9, 0.45)),
    _called("RMS, N(1.0, 0.5)", _RMS_34),
    _normal("0.7", (76.9, 0.20), (93.5, 0.37)),
    _uniform("0.5, 1.5", "0.5", (75.7, 0.43), (92.6, 0.29)),
    _uniform("0.0, 2.0", "1.0", (76.4, 0.36), (93.4, 0.45)),
    _uniform("-0.5, 2.5", "1.5", (74.5, 0.58), (92.6, 0.16)),
)


def _scaled(name: str, component: str, deviation: str | None, top1: tuple, top5: tuple) -> Row:
    flags = {**_RMS, "rms_component": component}
    if deviation:
        flags["rms_spread"] = deviation
    return Row(f"RS on {name}, {deviation or '0.5'}", SLOW_ONLY_34, flags, top1, top5)


_COMPONENT = (
    _BASELINE_34,
    _called("RS on x-bar (RMS), 0.3", _DISTRIBUTION[1]),
    _called("RS on x-bar (RMS), 0.5", _RMS_34),
    _scaled("x", "input", "0.3", (75.6, 0.23), (92.9, 0.15)),
    _scaled("x", "input", None, (75.4, 0.40), (93.0, 0.42)),
    _scaled("r", "residual", "0.3", (75.0, 0.26), (92.4, 0.13)),
    _scaled("r", "residual", None, (75.6, 0.77), (92.5, 0.37)),
)


def _filtered(deviation: str, top1: tuple, top5: tuple) -> Row:
    flags = {**_GAUSSIAN, "rms_stddev": deviation}
    return Row(f"RMS, Gaussian filter ({deviation})", SLOW_ONLY_34, flags, top1, top5)


_FILTER = (
    _BASELINE_34,
    _called("RMS, mean filter", _RMS_34),
    _called("RMS, Gaussian filter (0.4)", _GAUSSIAN_34),
    _filtered("1.0", (77.2, 0.19), (93.7, 0.23)),
    _filtered("2.0", (77.2, 0.29), (93.6, 0.08)),
    _BASELINE_50,
    _called("RMS, mean filter", _RMS_50),
    _called("RMS, Gaussian filter (0.4)", _GAUSSIAN_50),
)


_RANDOM_DROP = {**_NONE, "residual_drop": "random_drop"}
_SHAKE_DROP = {**_NONE, "residual_drop": "shake_drop"}
_CUT_MIX = {**_NONE, "mixing": "cutmix"}
_RIVALS_34 = (
    Row("RandomDrop", SLOW_ONLY_34, _RANDOM_DROP, (75.6, 0.14)),
    Row("ShakeDrop", SLOW_ONLY_34, _SHAKE_DROP, (77.3, 0.19)),
    Row("CutMix", SLOW_ONLY_34, _CUT_MIX, (76.3, 0.28)),
)
_RIVALS_50 = (
    Row("RandomDrop", SLOW_ONLY_50, _RANDOM_DROP, (76.6, 0.25)),
    Row("ShakeDrop", SLOW_ONLY_50, _SHAKE_DROP, (78.3, 0.01)),
    Row("CutMix", SLOW_ONLY_50, _CUT_MIX, (78.2, 0.27)),
)


def _on_images(
    dataset: str, model: str, method: str, flags: dict[str, str], top1: float, top5: float
) -> Row:
    recipe = f"{dataset}_{model}"
    return Row(method, model, flags, (top1, None), (top5, None), dataset=dataset, recipe=recipe)


_IMAGES = (
    _on_images("cifar100", "resnet_110", "", _NONE, 74.49, 93.18),
    _on_images("cifar100", "resnet_110", "RMS", _RMS, 77.17, 94.15),
    _on_images("imagenet", "resnet_50", "", _NONE, 76.81, 93.26),
    _on_images("imagenet", "resnet_50", "RMS", _RMS, 77.62, 93.91),
)


def _of_others(method: str, model: str, top1: float, top5: float | None) -> Row:
    """Of another paper; trained here as SlowOnly-50 is, for that paper's way is its own."""
    shown = None if top5 is None else (top5, None)
    return Row(method, model, _NONE, (top1, None), shown, recipe="mini_kinetics_slow_only_50")


_BESIDE_OTHERS = (
    _of_others("S3D", "s3d", 78.4, None),
    _of_others("CGD", "i3d_50_cgd", 77.56, 93.20),
    _of_others("NL x 5", "i3d_50_nl", 77.53, 94.00),
    _of_others("CGNL x 5", "i3d_50_cgnl", 78.79, 94.37),
    *(
        replace(row, gap=None, recipe=f"mini_kinetics_{row.model}")
        for row in (
            *(_BASELINE_34, _called("RMS", _RMS_34), _called("RMS-GF", _GAUSSIAN_34)),
            *(_BASELINE_50, _called("RMS", _RMS_50), _called("RMS-GF", _GAUSSIAN_50)),
        )
    ),
)


def _kinetics(method: str, model: str, flags: dict[str, str], top1: float, top5: float) -> Row:
    recipe = f"kinetics400_{model.removesuffix('_8x8')}"
    return Row(method, model, flags, (top1, None), (top5, None), recipe=recipe)


SLOW_FAST_50 = "slow_fast_50_8x8"
_KINETICS = (
    _kinetics("", SLOW_ONLY_50, _NONE, 73.0, 90.9),
    _kinetics("RMS", SLOW_ONLY_50, _RMS, 74.2, 91.5),
    _kinetics("RMS-GF", SLOW_ONLY_50, _GAUSSIAN, 74.8, 91.6),
    _kinetics("", "ip_csn_50", _NONE, 69.7, 88.6),
    _kinetics("RMS", "ip_csn_50", _RMS, 70.5, 89.6),
    _kinetics("", SLOW_FAST_50, _NONE, 75.0, 92.1),
    _kinetics("RMS", SLOW_FAST_50, _RMS, 76.3, 92.5),
)


def _something(method: str, flags: dict[str, str], top1: float, top5: float) -> Row:
    recipe = "something_something_v2_slow_fast_50"
    numbers = (top1, None), (top5, None)
    return Row(method, SLOW_FAST_50, flags, *numbers, recipe=recipe, fine_tuned=True)


_SOMETHING = (
    _something("", _NONE, 59.5, 86.6),
    _something("RMS", _RMS, 61.2, 87.6),
)

# Not the paper's: the plain network at other learning rates than the recipe's for the demonstration
# dataset, and each regulariser at 0.3 and 0.6 of its strength in the paper.
_STRENGTHS = (
    _BASELINE_34,
    *(
        Row(f"{method} {name}={value}".strip(), SLOW_ONLY_34, {**flags, name: value})
        for method, flags, name, values in (
            ("", _NONE, "learning_rate", ("0.05", "0.2")),
            ("RMS", _RMS, "rms_spread", ("0.15", "0.3")),
            ("RMS-GF", _GAUSSIAN, "rms_spread", ("0.15", "0.3")),
            ("RS on r", _COMPONENT[6].flags, "rms_spread", ("0.15", "0.3")),
            ("RS on x", _COMPONENT[4].flags, "rms_spread", ("0.15", "0.3")),
            ("RandomDrop", _RANDOM_DROP, "last_survival", ("0.85", "0.7")),
            ("ShakeDrop", _SHAKE_DROP, "last_survival", ("0.85", "0.7")),
            ("CutMix", _CUT_MIX, "mixing_probability", ("0.3", "0.6")),
        )
        for value in values
    ),
)

# Name -> lines in the paper's order. "comparison" has what the paper compares in Table 1 (c), 2
# and Fig. 3 at its default strengths, "strengths" tunes them.
TABLES: dict[str, tuple[Row, ...]] = {
    "1a": _POSITION,
    "1b": _DISTRIBUTION,
    "1c": _COMPONENT,
    "1d": _FILTER,
    "2": (
        *(_BASELINE_34, _RMS_34, _GAUSSIAN_34, *_RIVALS_34),
        *(_BASELINE_50, _RMS_50, _GAUSSIAN_50, *_RIVALS_50),
    ),
    "3": _BESIDE_OTHERS,
    "4": _KINETICS,
    "5": _SOMETHING,
    "6": _IMAGES,
    "comparison": (
        *(_BASELINE_34, _RMS_34, _GAUSSIAN_34, _COMPONENT[6], _COMPONENT[4], *_RIVALS_34),
    ),
    "strengths": _STRENGTHS,
}


def rows(table: str, model: str | None = None) -> tuple[Row, ...]:
    """The lines of a table, with the paper's networks or with another one.

    Example:

    >>> [row.method for row in rows("1d", "slow_only_18")][:2]
    ['', 'RMS, mean filter']

    Args:
        table: A key of `TABLES`.
        model: Another network: takes the lines of SlowOnly-34 if it has RMS where that one has it,
            else those of SlowOnly-50, and all lines of a table that has none of its kind.

    Raises:
        ValueError: If there is no such table.
    """
    if table not in TABLES:
        raise ValueError(f"`table` must be one of {', '.join(TABLES)}. Received: table={table}")
    lines = TABLES[table]
    if model is None:
        return lines
    alike = SLOW_ONLY_34 if model in _RMS_BEFORE_ALL_BNS else SLOW_ONLY_50
    return tuple(row for row in lines if row.model == alike) or lines
