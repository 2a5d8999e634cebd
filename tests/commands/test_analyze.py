"""`analyze.py` on two small networks: what its tables say, worked out another way."""

import csv

import command_runner
import finished_runs
import keras
import numpy as np
import pytest
import small_dataset
import tensorflow as tf
from PIL import Image

from analysis import alpha, places, spectrum, videos
from keras_rms import RandomMeanScaling
from keras_rms.inference.view_scores import ViewScorer
from pipelines.input import evaluation_dataset

LOG = """epoch,step,top1,validation_top1,seconds
1,3,0.25,,1
2,6,0.75,0.5,2
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of two runs that are finished, without and with RMS."""
    folder = tmp_path_factory.mktemp("analyze")
    data = small_dataset.make_dataset(folder / "data")
    for name, rms in (("plain", None), ("rms", "mean")):
        finished_runs.make(folder / name, data, rms=rms)
        (folder / name / "log.csv").write_text(LOG)
    return folder


def analyze(name, runs, *words, **options):
    output = runs / "analysis"
    command = ["scripts/analyze.py", name, *words, f"--output={output}"]
    result = command_runner.run(*command, **options)
    if options.get("status"):
        return result.error
    assert Image.open(output / f"{name}.png").width > 300
    with open(output / f"{name}.csv") as file:
        return list(csv.DictReader(file))


def both(runs):
    return f"--work_dir={runs / 'plain'},{runs / 'rms'}"


@pytest.mark.slow
def test_frequency_is_the_accuracy_of_the_scaled_network(runs):
    rows = analyze("frequency", runs, both(runs), "--scales=1,0.5", "--batch_size=9")
    assert [(r["run"], r["part"], float(r["scale"])) for r in rows] == [
        (run, part, scale)
        for run in ("plain", "rms")
        for part in ("low", "high")
        for scale in (0.5, 1)
    ]
    model = keras.saving.load_model(runs / "plain" / "model.keras")
    views = evaluation_dataset(
        str(runs / "data"),
        "validation",
        batch_size=9,
        num_clips=1,
        num_frames=2,
        span=8,
        crop_size=32,
    )
    whole = ViewScorer(model).scores(views).top_k(1)
    assert [float(r["top1"]) for r in rows if r["scale"] == "1.0"][:2] == [whole, whole]
    assert {r["videos"] for r in rows} == {"9"}


def test_both_networks_are_looked_at_in_the_papers_places():
    found = places.layers_after_rms(finished_runs.SETTINGS, 3)
    assert found == [
        f"{stage}_block{block}_bn{bn}"
        for stage in ("res4", "res5")
        for block in (0, 1)
        for bn in (1, 2)
    ]


@pytest.mark.slow
def test_alpha_is_what_the_layers_drew(runs):
    rows = analyze("alpha", runs, f"--work_dir={runs / 'rms'}", "--draws=120")
    by_layer = {}
    for row in rows:
        by_layer.setdefault(row["layer"], []).append(float(row["alpha"]))
    assert len(by_layer) == 8 and {len(values) for values in by_layer.values()} == {120}
    # Five standard errors of N(1, 0.5)'s mean and deviation.
    for values in by_layer.values():
        assert np.mean(values) == pytest.approx(1, abs=5 * 0.5 / 120**0.5)
        assert np.std(values) == pytest.approx(0.5, abs=5 * 0.5 / 240**0.5)
    assert "no alpha" in analyze("alpha", runs, f"--work_dir={runs / 'plain'}", status=1)


@pytest.mark.parametrize("component", ["mean", "residual", "input"])
@pytest.mark.parametrize("smoothing", ["mean", "gaussian"])
def test_alpha_from_what_goes_in_and_out(component, smoothing):
    layer = RandomMeanScaling(smoothing=smoothing, component=component, seed=3)
    x = np.random.default_rng(0).normal(size=(4, 3, 6, 5, 2)).astype("float32")
    drawn = layer._draw(x)
    found = alpha.alphas(layer, x, layer._scale(x, drawn))
    np.testing.assert_allclose(found, np.ravel(drawn), atol=1e-4)


def test_some_videos_are_from_all_over_the_split():
    # The last two rows fill up the batch.
    rows = {"index": [*range(9), 0, 0], "mask": [True] * 9 + [False] * 2}
    found = tf.data.Dataset.from_tensor_slices(rows).batch(11)
    for wanted, expected in ((5, [0, 2, 4, 6, 8]), (8, [0, 1, 2, 3, 5, 6, 7, 8])):
        (batch,) = videos._some(found, 9, wanted, batch_size=9)
        assert batch["index"].numpy().tolist() == expected
    (batch,) = videos._some(found, 9, 20, batch_size=20)
    assert len(batch["index"]) == 9


def test_stages_of_a_pathway_are_kept_apart():
    found = [spectrum.stage_of(f"{stage}_block0_bn1") for stage in ("res5", "slow_res4")]
    assert found == ["res5", "slow_res4"]


def test_curves_are_the_log(runs):
    rows = analyze("curves", runs, both(runs), "--names=A,B")
    assert [tuple(row.values()) for row in rows[:2]] == [
        ("A", "1", "0.25", ""),
        ("A", "2", "0.75", "0.5"),
    ]
    assert {row["run"] for row in rows} == {"A", "B"}


def test_energy_by_frequency():
    height, width = 6, 8
    x = np.arange(width)
    wave = np.cos(2 * np.pi * 2 * x / width)  # 0.25 cycles a position
    features = np.broadcast_to(3 + wave[:, None], (2, height, width, 1))
    found = spectrum.energies(features)
    assert found[0.0] == pytest.approx(2 * height * width * 9)
    assert found[0.25] == pytest.approx(2 * height * width / 2)
    assert sum(found.values()) == pytest.approx((features**2).sum())
    assert all(value < 1e-9 for f, value in found.items() if f not in (0.0, 0.25))


@pytest.mark.slow
def test_spectrum_of_both_runs(runs):
    rows = analyze("spectrum", runs, both(runs), "--videos=4")
    for run in ("plain", "rms"):
        for stage in ("res4", "res5"):
            own = [float(r["energy_share"]) for r in rows if (r["run"], r["stage"]) == (run, stage)]
            assert sum(own) == pytest.approx(1)


def test_what_is_wrong_is_said(runs, tmp_path):
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "log.csv").write_bytes(b"epoch,step\n1,\xff")
    for words, said in (
        (["curves", f"--work_dir={damaged}"], "log.csv is not the log that keras-rms train wrote"),
        (["curves", f"--work_dir={tmp_path}"], "has no log.csv"),
        (["curves", both(runs), "--names=A"], "a name for each of the 2 runs"),
        (["curves", both(runs), "--names=A,A"], "--names must differ"),
        (["curves", f"--work_dir={runs / 'rms'},{runs / 'rms'}"], "named twice"),
        (["curves", both(runs) + ","], "One of the runs has no name"),
        (["frequency", both(runs), "--scales=1,a"], "must be numbers"),
        (["frequency", both(runs), "--scales=1,nan"], "must be numbers"),
        (["curve", both(runs)], "Name one of curves, frequency, alpha, spectrum. Received: curve"),
    ):
        assert said in command_runner.run("scripts/analyze.py", *words, status=1).error
