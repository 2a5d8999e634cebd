"""Results of several runs as mean and deviation, beside the paper's."""

import math
import statistics
from collections.abc import Sequence

from ablation.paper_tables import Row

# 97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom.
_T_QUANTILES = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
)
_NORMAL_QUANTILE = 1.959964

# Name in a run's results -> heading.
COLUMNS = {
    "top1": "Top-1",
    "top5": "Top-5",
    "train_top1": "Training videos, top-1",
    "gap": "Gap",
}
_BESIDE = "Top-1 beside the plain network"
_NOTE = (
    "Per cent, mean±deviation over the seeds (95 % interval of the mean). Top-1 and top-5 are of "
    "{views} of each video of the validation split; `Training videos` of one view of those "
    "that were trained on, without augmentation and noise. The gap is that of the paper's Fig. 3: "
    "training accuracy in the last epoch, with augmentation and noise on, minus validation "
    "accuracy after it. `Beside the plain network`: differences of runs with the same seed."
)


def summary(values: Sequence[float]) -> dict[str, float | None]:
    """Mean, sample deviation and half the 95 % interval of the mean (Student's t).

    Example:

    >>> summary([0.5, 0.75])["mean"]
    0.625

    Args:
        values: One a run. Of a single one there is neither deviation nor interval: both are None.

    Raises:
        ValueError: If there is no value.
    """
    if not values:
        raise ValueError("`values` must hold at least one number. Received: values=[]")
    mean = statistics.fmean(values)
    if len(values) == 1:
        return {"mean": mean, "deviation": None, "interval": None}
    deviation = statistics.stdev(values)
    interval = _quantile(len(values) - 1) * deviation / math.sqrt(len(values))
    return {"mean": mean, "deviation": deviation, "interval": interval}


def beside_first(methods: Sequence[Sequence[float]]) -> tuple[list[float], float]:
    """Each method's mean minus the first one's, and half the 95 % interval of such a difference.

    The scatter is taken from all methods together, without what a method or a seed adds to all its
    runs: few seeds tell it better so than pair by pair, if it is the same for all methods (analysis
    of variance, two-way layout without interaction).

    Example:

    >>> beside_first([[1.0, 3.0], [2.0, 4.0]])
    ([0.0, 1.0], 0.0)

    Args:
        methods: Of each of two or more methods one value a seed, of the same two or more seeds.
    """
    seeds = list(zip(*methods, strict=True))
    middles = [statistics.fmean(values) for values in methods]
    levels = [statistics.fmean(values) for values in seeds]
    grand = statistics.fmean(middles)
    squares = sum(
        (value - middle - level + grand) ** 2
        for values, middle in zip(methods, middles)
        for value, level in zip(values, levels)
    )
    degrees = (len(methods) - 1) * (len(seeds) - 1)
    interval = _quantile(degrees) * math.sqrt(squares / degrees * 2 / len(seeds))
    return [middle - middles[0] for middle in middles], interval


def _quantile(degrees: int) -> float:
    if degrees <= len(_T_QUANTILES):
        return _T_QUANTILES[degrees - 1]
    # Fisher and Cornish's expansion around the normal quantile: off by 0.0003 at most here.
    z = _NORMAL_QUANTILE
    return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)


def line(
    row: Row,
    network: str,
    runs: Sequence[dict[str, float]],
    plain: Sequence[dict[str, float]] = (),
) -> dict:
    """A line of a table as plain data.

    Args:
        row: The experiment.
        network: The network that it was run with.
        runs: The results of each finished run: its `seed` and the names of `COLUMNS`, as shares
            of 1.
        plain: Those of the plain network, to compare with seed by seed.
    """
    measured = {name: summary([run[name] for run in runs]) for name in COLUMNS} if runs else None
    by_seed = {run["seed"]: run["top1"] for run in plain}
    differences = [run["top1"] - by_seed[run["seed"]] for run in runs if run["seed"] in by_seed]
    paper = {"model": row.model, "top1": row.top1, "top5": row.top5, "gap": row.gap}
    return {
        "network": network,
        "method": row.method,
        "dataset": row.dataset,
        "flags": row.flags,
        "runs": list(runs),
        "measured": measured,
        "beside_plain": summary(differences) if differences else None,
        "paper": paper,
    }


def markdown(lines: Sequence[dict], views: str) -> str:
    """A table in Markdown of what `line` made.

    Args:
        lines: One a method.
        views: Of the evaluation, as 10x3.
    """
    headings = [
        "Method",
        "Runs",
        *COLUMNS.values(),
        _BESIDE,
        "Paper: top-1",
        "Paper: top-5",
        "Paper: gap",
    ]
    text = [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
    for each in lines:
        method = " + ".join(filter(None, (each["network"], each["method"])))
        method += f" on {each['dataset']}" if each["dataset"] else ""
        measured = each["measured"]
        own = [_cell(measured[name]) if measured else "-" for name in COLUMNS]
        own.append(_cell(each["beside_plain"]) if each["beside_plain"] else "-")
        paper = each["paper"]
        theirs = [
            *(_paper_cell(pair) for pair in (paper["top1"], paper["top5"])),
            f"{paper['gap']}" if paper["gap"] is not None else "-",
        ]
        text.append(f"| {' | '.join([method, str(len(each['runs'])), *own, *theirs])} |")
    clips, _, crops = views.partition("x")
    count = int(clips) * int(crops)
    views_in_words = f"{count} views" if count > 1 else "one view"
    return "\n".join([*text, "", _NOTE.format(views=views_in_words)])


def _paper_cell(pair: tuple[float, float | None] | None) -> str:
    if pair is None:
        return "-"
    mean, deviation = pair
    return f"{mean}" if deviation is None else f"{mean:.1f}±{deviation:.2f}"


def _cell(value: dict[str, float | None]) -> str:
    if value["deviation"] is None:
        return f"{100 * value['mean']:.1f}"
    return (
        f"{100 * value['mean']:.1f}±{100 * value['deviation']:.2f} (±{100 * value['interval']:.1f})"
    )
