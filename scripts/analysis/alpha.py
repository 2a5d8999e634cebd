"""What alpha was drawn, layer by layer.

Each network sees clips in training mode. Alpha is not asked for: it is worked out of what goes into
each Random Mean Scaling layer and what comes out, so that this checks the layer too. The picture
has a panel a layer: the histogram of alpha, its mean and its deviation.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from absl import flags
from matplotlib.figure import Figure

from analysis import outputs, runs, videos
from analysis.pictures import COLOURS, colours, new_figure
from keras_rms import RandomMeanScaling, gaussian_smooth, local_mean
from keras_rms.inference.inputs import as_inputs
from keras_rms.inference.trained_network import TrainedNetwork
from pipelines.system import command_help, progress

command_help.section("What to measure")
_DRAWS = flags.DEFINE_integer(
    "draws",
    200,
    "Draw for this number of clips; the videos come again as often as needed.",
    lower_bound=1,
)

COLUMNS = ("run", "layer", "clip", "alpha")
_PER_ROW = 3


def run() -> None:
    rows: list[dict] = []
    for name, folder in zip(outputs.run_names(), outputs.folders()):
        rows += read(name, runs.opened(folder))
    outputs.write("alpha", COLUMNS, rows, picture(rows))


def read(name: str, finished: TrainedNetwork) -> list[dict]:
    """A row for each clip and layer.

    Raises:
        ValueError: If the network has no such layer, or there is no video.
    """
    layers = [x for x in finished.model.layers if isinstance(x, RandomMeanScaling)]
    if not layers:
        raise ValueError(
            f"The network of {name} was trained without Random Mean Scaling (--rms=none): there is "
            "no alpha. Name a run with it."
        )
    model = finished.model
    probe = keras.Model(model.input, [(layer.input, layer.output) for layer in layers])
    rows: list[dict] = []
    done = 0
    with progress.Progress(_DRAWS.value, "clip", name) as shown:
        for clips in videos.clips(finished).repeat():
            clips = clips[: _DRAWS.value - done]
            pairs = probe(as_inputs(model, clips), training=True)
            for layer, (x, y) in zip(layers, pairs):
                rows += [
                    {"run": name, "layer": layer.name, "clip": done + clip, "alpha": value}
                    for clip, value in enumerate(alphas(layer, x, y))
                ]
            done += len(clips)
            shown.update(len(clips))
            if done >= _DRAWS.value:
                return rows
    raise ValueError("There is no video to draw for: all of them are damaged.")


def alphas(layer: RandomMeanScaling, x: Any, y: Any) -> list[float]:
    """Alpha of each clip from a layer's input and output: y - x = (alpha - 1) * component."""
    x, y = (keras.ops.cast(value, "float32") for value in (x, y))
    if layer.smoothing == "gaussian":
        mean = gaussian_smooth(x, layer.kernel_size, layer.smoothing_stddev, layer.border)
    else:
        mean = local_mean(x, layer.kernel_size, layer.border)
    component = {"mean": mean, "residual": x - mean, "input": x}[layer.component]
    axes = tuple(range(1, len(x.shape)))
    change = keras.ops.sum((y - x) * component, axes) / keras.ops.sum(component**2, axes)
    return [float(value) for value in 1 + np.asarray(keras.ops.convert_to_numpy(change))]


def picture(rows: Sequence[dict]) -> Figure:
    """A panel a layer; the runs side by side in it."""
    names = list(dict.fromkeys(row["run"] for row in rows))
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    columns = min(_PER_ROW, len(layers))
    count = -(-len(layers) // columns)
    figure, axes = new_figure(3.2 * columns, 2.2 * count + 0.4, count, columns)
    low, high = np.quantile([row["alpha"] for row in rows], [0, 1])
    for panel, layer in zip(axes, layers):
        lines = [layer]
        for name, colour in zip(names, colours(len(names))):
            own = [row["alpha"] for row in rows if row["run"] == name and row["layer"] == layer]
            if own:
                panel.hist(own, 30, (low, high), alpha=0.6, color=colour)
                lines.append(f"{name}: {np.mean(own):.2f} ± {np.std(own):.2f}")
        panel.axvline(1, color=COLOURS[-1], linewidth=0.8)
        panel.set_title("\n".join(lines), fontsize=8)
    for panel in axes[len(layers) :]:
        panel.axis("off")
    figure.supxlabel("alpha")
    figure.supylabel("clips")
    return figure
