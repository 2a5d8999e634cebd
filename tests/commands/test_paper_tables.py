"""The paper's experiments as data, and the statistics beside them."""

import numpy as np
import pytest

import recipes
from ablation import paper_tables, result_tables
from ablation.paper_tables import TABLES, Row
from keras_rms import RandomMeanScaling
from keras_rms.training import networks


def test_the_tables_are_those_of_the_paper():
    """Top-1 by line, retyped from the paper."""
    expected = {
        "1a": [74.7, 76.7, 76.9, 76.4, 76.8, 76.7, 76.3, 77.0, 77.5, 78.4, 77.8, 78.6],
        "1b": [74.7, 76.1, 77.0, 76.9, 75.7, 76.4, 74.5],
        "1c": [74.7, 76.1, 77.0, 75.6, 75.4, 75.0, 75.6],
        "1d": [74.7, 77.0, 77.5, 77.2, 77.2, 77.5, 78.6, 78.3],
        "2": [74.7, 77.0, 77.5, 75.6, 77.3, 76.3, 77.5, 78.6, 78.3, 76.6, 78.3, 78.2],
        "3": [78.4, 77.56, 77.53, 78.79, 74.7, 77.0, 77.5, 77.5, 78.6, 78.3],
        "4": [73.0, 74.2, 74.8, 69.7, 70.5, 75.0, 76.3],
        "5": [59.5, 61.2],
        "6": [74.49, 77.17, 76.81, 77.62],
        "comparison": [74.7, 77.0, 77.5, 75.6, 75.4, 75.6, 77.3, 76.3],
    }
    own = {"strengths"}
    papers = {name: rows for name, rows in TABLES.items() if name not in own}
    assert {name: [row.top1[0] for row in rows] for name, rows in papers.items()} == expected
    assert [row.top1 for row in TABLES["strengths"][1:]] == [None] * 16
    assert [row.top5 for row in TABLES["6"]] == [(v, None) for v in (93.18, 94.15, 93.26, 93.91)]
    gaps = {row.method: row.gap for row in TABLES["comparison"]}
    assert (gaps[""], gaps["RMS"], gaps["RMS-GF"]) == (25.5, 11.7, 5.7)


@pytest.mark.parametrize("table", TABLES)
def test_methods_differ_in_their_flags(table):
    settings = [(row.model, *sorted(row.flags.items())) for row in TABLES[table]]
    assert len(set(settings)) == len(settings)
    names = [(row.model, row.method) for row in TABLES[table]]
    assert len(set(names)) == len(names)


@pytest.mark.slow
def test_every_position_and_component_of_the_tables_can_be_built():
    for row in {id(row): row for rows in TABLES.values() for row in rows}.values():
        flags = row.flags
        rms = None
        if flags["rms"] != "none":
            rms = RandomMeanScaling(
                smoothing=flags["rms"],
                smoothing_stddev=float(flags.get("rms_stddev", 0.4)),
                distribution=flags.get("rms_distribution", "normal"),
                spread=float(flags.get("rms_spread", 0.5)),
                component=flags.get("rms_component", "mean"),
            )
        if "rms_position" in flags or row.flags == {"rms": "mean"}:
            small = {"slow_only_34": "slow_only_18", "resnet_110": "resnet_20"}
            frames = {"slow_fast_50_8x8": 32}.get(row.model, 1 if row.dataset else 2)
            name = small.get(row.model, row.model)
            position = flags.get("rms_position")
            model = networks.build_network(name, 3, frames, rms=rms, rms_position=position, width=8)
            assert any("rms" in layer.name for layer in model.layers), row


def test_lines_bring_the_recipe_of_their_network():
    for row in (row for number in "3456" for row in TABLES[number]):
        flags = recipes.find(row.recipe).read_text().splitlines()
        if row.method not in ("S3D", "CGD", "NL x 5", "CGNL x 5"):
            assert f"--model={row.model}" in flags
    assert [row.fine_tuned for number in "345" for row in TABLES[number]] == [False] * 17 + [
        True
    ] * 2


def test_another_network_takes_the_lines_of_its_kind():
    assert len(paper_tables.rows("1a")) == 12
    assert {row.model for row in paper_tables.rows("1a", "slow_only_18")} == {"slow_only_34"}
    assert {row.model for row in paper_tables.rows("1a", "slow_only_101")} == {"slow_only_50"}
    # It depends on where RMS is by default.
    for name, model in (("resnet_20", "slow_only_34"), ("resnet_50", "slow_only_50")):
        assert {row.model for row in paper_tables.rows("2", name)} == {model}
    assert paper_tables.rows("1b", "ip_csn_50") == TABLES["1b"]
    assert paper_tables.rows("6", "resnet_20") == TABLES["6"]


def test_an_unknown_table_is_refused():
    with pytest.raises(ValueError, match="Received: table=7"):
        paper_tables.rows("7")


def test_summary_has_the_interval_of_students_t():
    values = [0.61, 0.58, 0.66]
    result = result_tables.summary(values)
    assert result["mean"] == pytest.approx(np.mean(values))
    assert result["deviation"] == pytest.approx(np.std(values, ddof=1))
    assert result["interval"] == pytest.approx(4.303 * np.std(values, ddof=1) / np.sqrt(3))
    many = list(np.linspace(0, 1, 40))
    interval = result_tables.summary(many)["interval"]
    assert interval == pytest.approx(2.0227 * np.std(many, ddof=1) / np.sqrt(40), rel=1e-4)


def test_the_interval_holds_the_mean_as_often_as_it_says():
    seed = 3
    draws = np.random.default_rng(seed).normal(2.0, 0.3, (4000, 4))
    results = [result_tables.summary(list(row)) for row in draws]
    share = np.mean([abs(each["mean"] - 2.0) <= each["interval"] for each in results])
    assert abs(share - 0.95) < 0.015, f"seed {seed}"


def test_one_run_has_no_deviation_and_none_is_refused():
    assert result_tables.summary([0.5]) == {"mean": 0.5, "deviation": None, "interval": None}
    with pytest.raises(ValueError, match=r"Received: values=\[\]"):
        result_tables.summary([])


def test_a_line_is_compared_with_the_plain_network_seed_by_seed():
    def runs(*top1s):
        return [
            {"seed": seed, "top1": top1, "top5": 1.0, "train_top1": 1.0, "gap": 0.0}
            for seed, top1 in enumerate(top1s)
            if top1
        ]

    row, plain = Row("RMS", "slow_only_34"), runs(0.5, 0.75, 0.25, 0.5)
    line = result_tables.line(row, "slow_only_18", runs(0.75, None, 0.25, 0.25), plain)
    assert line["beside_plain"] == result_tables.summary([0.25, 0.0, -0.25])
    assert result_tables.line(row, "slow_only_18", plain)["beside_plain"] is None
    assert result_tables.line(row, "slow_only_18", [], plain)["beside_plain"] is None


def test_the_markdown_has_our_numbers_and_the_papers():
    row = Row("RMS", "slow_only_34", {"rms": "mean"}, (77.0, 0.40), (93.5, 0.23), 11.7)
    runs = [
        {"seed": 0, "top1": 0.5, "top5": 0.75, "train_top1": 1.0, "gap": 0.125},
        {"seed": 2, "top1": 0.75, "top5": 0.75, "train_top1": 1.0, "gap": 0.375},
    ]
    plain = [{**run, "seed": seed, "top1": 0.25} for seed, run in zip((2, 1), runs)]
    lines = [
        result_tables.line(row, "slow_only_18", runs, plain),
        result_tables.line(Row("", "slow_only_34"), "slow_only_18", []),
        result_tables.line(TABLES["6"][1], "resnet_20", []),
    ]
    _, _, first, second, third, *_, note = result_tables.markdown(lines, "10x3").splitlines()
    assert first == (
        "| slow_only_18 + RMS | 2 | 62.5±17.68 (±158.8) | 75.0±0.00 (±0.0) | 100.0±0.00 (±0.0) "
        "| 25.0±17.68 (±158.8) | 50.0 | 77.0±0.40 | 93.5±0.23 | 11.7 |"
    )
    assert second == "| slow_only_18 | 0 | - | - | - | - | - | - | - | - |"
    assert third == "| resnet_20 + RMS on cifar100 | 0 | - | - | - | - | - | 77.17 | 94.15 | - |"
    assert "30 views" in note
