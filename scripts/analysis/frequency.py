"""How much networks rely on low and on high frequencies (the paper's Fig. 1 and 4).

Where Random Mean Scaling sits, one part of the features is multiplied by a fixed scale: the local
mean (low) or the residual (high). The other part is left as it is. A network without RMS is probed
in the places where the paper has it. The picture shows accuracy against the scale: circles for low,
triangles for high frequencies, a colour a run. The steeper line is the part that is needed more.

The statistics of batch normalisation stay those of training. A scaled feature no longer fits them,
which is a part of what is measured here, as in the paper.
"""

from collections.abc import Sequence

import keras
from absl import flags
from matplotlib.figure import Figure

from analysis import outputs, videos
from analysis import runs as trained_runs
from analysis.pictures import colours, new_figure
from analysis.places import layers_after_rms
from keras_rms import FrequencyScaling, insert_before
from keras_rms.inference.view_scores import ViewScorer
from pipelines.system import command_help, progress

command_help.section("What to measure")
_SCALES = flags.DEFINE_list(
    "scales",
    ["0", "0.25", "0.5", "0.75", "1", "1.25", "1.5", "1.75", "2"],
    "Multiply the one part by each of these numbers.",
)
_SMOOTHING = flags.DEFINE_enum(
    "smoothing", "mean", ["mean", "gaussian"], "Take the low frequencies by this filter."
)

COLUMNS = ("run", "part", "scale", "top1", "videos")
_MARKERS = {"low": "o", "high": "^"}


def run() -> None:
    scales = parsed_scales(_SCALES.value)
    names = outputs.run_names()
    work = [
        (name, folder, part, scale)
        for name, folder in zip(names, outputs.folders())
        for part in _MARKERS
        for scale in scales
    ]
    rows, runs = [], {}
    for name, folder, part, scale in progress.over(work, "accuracy"):
        if name not in runs:
            runs = {name: trained_runs.opened(folder)}
        finished = runs[name]
        whole = scale == 1 and next((r for r in rows if r["run"] == name and r["scale"] == 1), None)
        if whole:  # both parts are whole: the same network
            rows.append({**whole, "part": part})
            continue
        places = layers_after_rms(finished.settings, len(finished.class_names))
        network = scaled(finished.model, places, part, scale, _SMOOTHING.value)
        scores = ViewScorer(network).scores(videos.batches(finished))
        found = {"top1": scores.top_k(1), "videos": len(scores.labels)}
        rows.append({"run": name, "part": part, "scale": scale, **found})
    outputs.write("frequency", COLUMNS, rows, picture(rows))


def parsed_scales(words: Sequence[str]) -> list[float]:
    """The numbers of --scales in ascending order.

    Raises:
        ValueError: If one is no number.
    """
    try:
        return sorted({float(word) for word in words})
    except ValueError:
        raise ValueError(f"--scales must be numbers. Received: {','.join(words)}") from None


def scaled(
    model: keras.Model, places: Sequence[str], part: str, scale: float, smoothing: str
) -> keras.Model:
    """The network with one part of its features multiplied before the layers named in `places`."""
    probe = FrequencyScaling(**{part: scale}, smoothing=smoothing)
    return insert_before(model, lambda layer: layer.name in places, probe)


def picture(rows: Sequence[dict]) -> Figure:
    """Accuracy against the scale, on the paper's axes."""
    figure, (axes,) = new_figure()
    names = list(dict.fromkeys(row["run"] for row in rows))
    for name, colour in zip(names, colours(len(names))):
        for part, marker in _MARKERS.items():
            points = [row for row in rows if row["run"] == name and row["part"] == part]
            axes.plot(
                [row["scale"] for row in points],
                [100 * row["top1"] for row in points],
                marker=marker,
                linestyle="-" if part == "low" else "--",
                color=colour,
                label=f"{name}, {part} frequencies",
            )
    # Room for the markers of the highest, also where all are alike.
    highest = 105 * max(row["top1"] for row in rows) or 1
    axes.set(xlabel="scale of the one part", ylabel="top-1 accuracy, %", ylim=(0, highest))
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
