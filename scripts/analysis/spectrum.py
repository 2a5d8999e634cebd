"""The energy of features by spatial frequency, where Random Mean Scaling sits.

Each feature map that goes into a place of RMS is taken apart into frequencies over height and width
(FFT). The picture has a panel a stage: the share of the energy against the frequency, a line a run.
0 is the mean of a map, 0.5 cycles a position the finest pattern that it can hold. The grey line is
the gain of a mean over 3 positions in a row: what such a filter lets through of each frequency.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from matplotlib.figure import Figure

from analysis import outputs, runs, videos
from analysis.pictures import colours, new_figure
from analysis.places import layers_after_rms
from keras_rms.inference.inputs import as_inputs
from keras_rms.inference.trained_network import TrainedNetwork
from keras_rms.models.slow_fast import PATHWAYS

COLUMNS = ("run", "stage", "frequency", "energy_share")


def run() -> None:
    rows: list[dict] = []
    for name, folder in zip(outputs.run_names(), outputs.folders()):
        rows += read(name, runs.opened(folder))
    outputs.write("spectrum", COLUMNS, rows, picture(rows))


def read(name: str, finished: TrainedNetwork) -> list[dict]:
    """A row for each stage and frequency; shares of a stage sum to 1."""
    model = finished.model
    places = layers_after_rms(finished.settings, len(finished.class_names))
    probe = keras.Model(model.input, [model.get_layer(place).input for place in places])
    sums: dict[str, dict[float, float]] = {}
    with videos.shown(finished, name) as batches:
        for clips in batches:
            for place, features in zip(places, probe(as_inputs(model, clips), training=False)):
                own = sums.setdefault(stage_of(place), {})
                for frequency, energy in energies(np.asarray(features)).items():
                    own[frequency] = own.get(frequency, 0.0) + energy
    return [
        {
            "run": name,
            "stage": stage,
            "frequency": frequency,
            "energy_share": energy / sum(by_frequency.values()),
        }
        for stage, by_frequency in sums.items()
        for frequency, energy in sorted(by_frequency.items())
    ]


def stage_of(place: str) -> str:
    """res4 of res4_block1_bn2, and slow_res4 of slow_res4_block1_bn2: pathways differ in size."""
    pathway, _, rest = place.partition("_")
    return f"{pathway}_{rest.partition('_')[0]}" if pathway in PATHWAYS else pathway


def energies(features: Any) -> dict[float, float]:
    """Energy by frequency, in cycles a position, of maps (..., height, width, channels).

    The frequency of a pattern is the larger of its two along height and width: one ring of the
    transform. Sums to the energy of the features (Parseval).
    """
    height, width = features.shape[-3:-1]
    power = np.abs(np.fft.fft2(features, axes=(-3, -2), norm="ortho")) ** 2
    power = power.sum(axis=(*range(power.ndim - 3), power.ndim - 1))
    vertical = np.abs(np.fft.fftfreq(height))[:, None]
    horizontal = np.abs(np.fft.fftfreq(width))[None]
    rings = np.maximum(vertical, horizontal).round(6)
    return {float(ring): float(power[rings == ring].sum()) for ring in np.unique(rings)}


def picture(rows: Sequence[dict]) -> Figure:
    stages = list(dict.fromkeys(row["stage"] for row in rows))
    names = list(dict.fromkeys(row["run"] for row in rows))
    figure, axes = new_figure(4.6 * len(stages), 3.8, 1, len(stages))
    for panel, stage in zip(axes, stages):
        for name, colour in zip(names, colours(len(names))):
            own = [row for row in rows if row["run"] == name and row["stage"] == stage]
            panel.plot(
                [row["frequency"] for row in own],
                [100 * row["energy_share"] for row in own],
                marker="o",
                color=colour,
                label=name,
            )
        panel.set(title=stage, xlabel="cycles a position", ylabel="share of the energy, %")
        # Room for the markers of the highest.
        highest = max(row["energy_share"] for row in rows if row["stage"] == stage)
        panel.set_ylim(0, 105 * highest)
        panel.grid(alpha=0.3)
        _draw_filter(panel.twinx())
        panel.legend()
    return figure


def _draw_filter(axes: Any) -> None:
    """What a 3-wide mean lets through along one direction: (1 + 2 cos(2 pi f)) / 3."""
    frequency = np.linspace(0, 0.5, 100)
    gain = np.abs(1 + 2 * np.cos(2 * np.pi * frequency)) / 3
    axes.plot(frequency, gain, color="#999999", linewidth=1)
    axes.set(ylim=(0, 1.02), ylabel="gain of a mean of 3")
