"""A whole training in bfloat16 and in float16, each where the backend can do it on a CPU."""

import ast
import importlib.util

import command_runner
import keras
import numpy as np
import pytest
import small_dataset

from keras_rms.training.work_dir import checkpoints, settings
from pipelines.system import onednn

pytestmark = pytest.mark.slow(20)

# Runs a command; says what the layers of the network to train compute in.
SPY = """
import runpy, sys
sys.argv = sys.argv[1:]
sys.path.insert(0, "scripts")
from pipelines.system import quiet_tensorflow
from keras_rms.training import networks
sys.path.insert(0, "tests/support")
import few_blocks
few_blocks.install()  # half as much to compile

def spy(*args, build=networks.build_network, **options):
    network = build(*args, **options)
    print({layer.name: layer.compute_dtype for layer in network.layers})
    return network

networks.build_network = spy
runpy.run_path(sys.argv[0], run_name="__main__")
"""
FLAGS = [*command_runner.SMALL_TRAINING, "--epochs=8", "--learning_rate=0.05", "--validate_every=8"]
needs_jax = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs JAX")


@pytest.mark.parametrize(
    ("precision", "variables"),
    [
        ("mixed_bfloat16", {"KERAS_BACKEND": "tensorflow"}),
        pytest.param("mixed_float16", {"KERAS_BACKEND": "jax"}, marks=needs_jax),
    ],
)
def test_it_learns_and_leaves_a_network_in_float32(tmp_path, precision, variables):
    data, folder = small_dataset.make_dataset(tmp_path / "data"), tmp_path / "run"
    words = ["scripts/train.py", f"--data={data}", f"--work_dir={folder}", *FLAGS]
    # Whether oneDNN is on is left to the command.
    variables = {"JAX_PLATFORMS": "cpu", onednn.VARIABLE: None, **variables}
    run = command_runner.run(
        "-c", SPY, *words, f"--precision={precision}", variables=variables, cold=True, seconds=500
    )
    made = [ast.literal_eval(line) for line in run.stdout.splitlines() if line.startswith("{")]
    trained, finished = made
    safe = precision == "mixed_bfloat16"
    assert run.stdout.count("oneDNN is off") == safe
    assert settings.read(folder)["onednn"] == (not safe)
    regularised = {name: dtype for name, dtype in trained.items() if "rms" in name or "bn" in name}
    assert any("rms" in name for name in regularised)
    assert set(regularised.values()) == {precision.removeprefix("mixed_")}
    assert set(finished.values()) == {"float32"}
    lines = small_dataset.read_lines(folder / "log.jsonl")
    assert all(np.isfinite(line["loss"]) for line in lines)
    # Three classes. Without training the network is right in a third of the videos.
    assert lines[-1]["validation_top1"] > 0.8 and lines[-1]["loss"] < 0.6 < lines[0]["loss"]

    network = keras.saving.load_model(folder / "model.keras")
    assert {layer.dtype_policy.name for layer in network.layers} == {"float32"}
    state = checkpoints.read(folder / "checkpoints" / "step_0000000024.npz")
    weights = [value for name, value in state.items() if name.startswith("weight/")]
    assert {value.dtype for value in weights} == {np.dtype("float32")}
    for weight, value in zip(network.weights, network.get_weights()):
        assert np.isfinite(value).all(), weight.path
    assert any(name.startswith("loss_scale") for name in state) == (precision == "mixed_float16")
