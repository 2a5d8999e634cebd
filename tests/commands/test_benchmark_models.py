"""`benchmark.py models` and `depthwise`, as users run them."""

import json
import platform

import command_runner
import pytest

import keras_rms.models
from pipelines.system import onednn

# name: trainable parameters, count_params(), GMACs at 224 and at 256, by the reference
# implementations at 400 classes.
REFERENCE = {
    "slow_only_18": (32_025_552, 32_035_152, 27.46, 35.86),
    "slow_only_34": (61_008_080, 61_025_104, 60.75, 79.35),
    "slow_only_50": (32_454_096, 32_507_216, 41.74, 54.52),
    "slow_only_101": (60_359_120, 60_464_464, 85.41, 111.56),
    "slow_fast_50_8x8": (34_566_488, 34_627_176, 50.31, 65.71),
    "slow_fast_50_4x16": (34_480_216, 34_540_904, 27.64, 36.10),
    "slow_fast_101_8x8": (62_826_968, 62_946_408, 96.40, 125.91),
    "slow_fast_101_16x8": (53_774_808, 53_894_248, 163.09, 213.02),
    "ir_csn_50": (13_131_152, 13_184_272, 42.31, 55.26),
    "ir_csn_101": (22_213_776, 22_319_120, 56.47, 73.75),
    "ir_csn_152": (29_703_568, 29_854_992, 74.05, 96.71),
    "ip_csn_50": (14_396_176, 14_456_848, 47.65, 62.24),
    "ip_csn_101": (24_601_616, 24_723_216, 63.56, 83.02),
    "ip_csn_152": (33_016_592, 33_191_952, 83.29, 108.79),
}


def benchmark(*flags, **options):
    return command_runner.run("scripts/benchmark.py", *flags, **options)


def rows(path):
    (table,) = json.loads(path.read_text())["tables"]
    return table["rows"]


@pytest.mark.slow
def test_the_table_has_the_reference_s_counts(tmp_path):
    benchmark("models", "--nomeasure", f"--json={tmp_path / 'table.json'}")
    table = {row["network"]: row for row in rows(tmp_path / "table.json")}
    assert list(table) == keras_rms.models.list()
    received = {
        name: (
            int(row["trainable parameters"].replace(",", "")),
            int(row["count_params()"].replace(",", "")),
            float(row["GMACs"]),
            float(row["GMACs at 256"]),
        )
        for name, row in table.items()
        if name in REFERENCE
    }
    assert received == REFERENCE
    assert {name: table[name]["output"] for name in REFERENCE} == dict.fromkeys(REFERENCE, "400")
    assert table["slow_fast_101_16x8"]["input"] == "64x224x224x3"
    assert (table["resnet_110"]["output"], table["resnet_110"]["GMACs at 256"]) == ("100", None)


@pytest.mark.slow
def test_measures_each_kind_of_rms(tmp_path):
    path = tmp_path / "table.json"
    printed = benchmark(
        "models",
        "--networks=resnet_20",
        *("--rms=none", "--rms=mean", "--rms_position=default", "--rms_position=before_relu1"),
        "--seconds=0",
        f"--json={path}",
        cold=True,
    ).stdout
    (row,) = rows(path)
    assert row["network"] == "resnet_20" and "resnet_20" in printed
    for kind in ("none", "mean default", "mean before_relu1"):
        assert row["forward clips/s"] > row[f"training clips/s, {kind}"] > 0
    assert "tensorflow" in printed and "32x32" in printed
    state = "on" if onednn.is_on() else "off"
    assert f"TensorFlow's oneDNN {state}; Python" in json.loads(path.read_text())["machine"]


@pytest.mark.slow
def test_the_layer_is_measured_on_jax(tmp_path):
    pytest.importorskip("jax")
    path = tmp_path / "layer.json"
    few = ["--clips=1", "--seconds=0", "--filter=mean", "--way=none"]
    variables = {"KERAS_BACKEND": "jax"}  # without it the tests hide JAX
    benchmark("layer", "--table=layer", *few, f"--json={path}", cold=True, variables=variables)
    table = rows(path)
    assert {(row["mode"], row["pass"]) for row in table} == {
        ("xla", "forward"),
        ("xla", "forward + backward"),
    }
    assert len(table) == 8 and min(row["RMS"] for row in table) > 0
    assert "JAX on cpu" in json.loads(path.read_text())["machine"]


def test_a_step_that_failed_is_not_a_fast_one():
    from benchmarks import common

    class UnreadLoss:
        """What Keras hands over after a step of JAX that ran out of memory."""

        def __float__(self):
            raise MemoryError("no room for 18 GiB")

    class Network:
        def train_on_batch(self, clips, labels):
            return UnreadLoss()

    with pytest.raises(MemoryError, match="18 GiB"):
        common.trained_on(Network(), None, None)


def test_an_unknown_network_is_named():
    printed = benchmark("models", "--networks=slow_only_51", status=1).stderr
    assert "slow_only_51" in printed and "slow_only_50" in printed and "Traceback" not in printed


@pytest.mark.slow
def test_depthwise_convolution_beside_its_rivals(tmp_path):
    # It refuses to compare ways that compute different things.
    pytest.importorskip("torch")
    path = tmp_path / "table.json"
    flags = ["--batch_size=1", "--shrink=8", "--seconds=0", f"--json={path}"]
    benchmark("depthwise", *flags)
    table = rows(path)
    assert {row["mode"] for row in table} == {"graph", "xla"}
    assert len(table) == 14
    assert table[1]["input"] == "1x32x7x7x16" and table[1]["stride"] == 2
    for row in table:
        assert min(row[way] for way in ("ours", "groups", "torch")) > 0
        assert row["groups / ours"] == pytest.approx(row["groups"] / row["ours"])


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        (
            "processor\t: 0\nmodel name\t: AMD EPYC: Milan\nflags\t\t: fpu avx2 avx fma\n"
            "processor\t: 1\nmodel name\t: another\nflags\t\t: amx_bf16\n",
            "AMD EPYC: Milan (avx avx2 fma)",
        ),
        (
            "model name : Xeon\nflags : avx512_vnni avx512vnni avx2 amx_bf16 sse\n",
            "Xeon (avx2 avx512_vnni amx_bf16)",
        ),
        ("model name : Old\nflags : sse2\n", "Old"),
        (
            "processor : 0\nFeatures : fp asimd sve bf16\n",
            f"{platform.processor() or platform.machine()} (asimd sve bf16)",
        ),
    ],
)
def test_a_processor_is_named_with_what_it_can_do(monkeypatch, cpuinfo, expected):
    from benchmarks import common

    assert common.describe_processor(cpuinfo) == expected


def test_a_table_that_is_stopped_keeps_its_rows_and_the_tables_before(tmp_path):
    from benchmarks import common

    def rows():
        yield {"way": "a", "ms": 1.5}
        raise KeyboardInterrupt

    path = tmp_path / "new" / "tables.json"
    before = common.report("First", [{"way": "b", "ms": 2.5}], str(path))
    with pytest.raises(KeyboardInterrupt):
        common.report("Second", rows(), str(path), before)
    tables = json.loads(path.read_text())["tables"]
    assert [(table["title"], table["rows"]) for table in tables] == [
        ("First", [{"way": "b", "ms": 2.5}]),
        ("Second", [{"way": "a", "ms": 1.5}]),
    ]


MODES = """
import sys
sys.path.insert(0, "scripts")
from absl import flags
from benchmarks import layer
flags.FLAGS(["", "--mode=xla"])
layer.keras.backend.backend = lambda: "jax"
layer.run(None)
"""


def test_a_mode_of_tensorflow_is_refused_elsewhere():
    said = command_runner.run("-c", MODES, status=1).stderr
    assert "ValueError: --mode is TensorFlow's: leave it out on jax." in said


def test_a_peer_that_is_not_there_is_named(monkeypatch):
    from benchmarks import peers

    with pytest.raises(ValueError, match=r"PyTorchVideo has no s3d: .*slow_only_50"):
        peers.check_known(["slow_only_50", "s3d"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="needs torch and pytorchvideo, not installed"):
        peers.check_installed()


@pytest.mark.parametrize("name", ["slow_only_50", "slow_fast_50_8x8", "ir_csn_50"])
def test_the_peer_is_the_same_network(name):
    pytest.importorskip("pytorchvideo")
    import numpy as np

    from benchmarks import peers

    clips, labels = np.zeros((1, 8, 40, 64, 3), "float32"), np.zeros(1)
    forward, train = peers.ways(name, clips, labels, REFERENCE[name][0])
    assert forward().shape == (1, 400) and np.isfinite(train())
    with pytest.raises(ValueError, match="not the same network"):
        peers.ways(name, clips, labels, REFERENCE[name][1])
