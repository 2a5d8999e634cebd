"""scripts/GPUS.md: its table is what the formula gives, and its Python runs."""

import re

import keras
import pytest
from paths import ROOT

from keras_rms.models.training_memory import training_memory
from keras_rms.training.networks import build_network

PAGE = (ROOT / "scripts" / "GPUS.md").read_text()
NETWORKS = {
    "SlowOnly-50, 8 frames": ("slow_only_50", 8),
    "SlowFast-50 8x8, 32 frames": ("slow_fast_50_8x8", 32),
}
CARDS = (16, 24, 40, 80)


@pytest.fixture
def policy():
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("precision", ["float32", "mixed"])
def test_the_table_is_calculated(policy, network, precision):
    policy({"mixed": "mixed_bfloat16"}.get(precision, precision))
    name, frames = NETWORKS[network]
    memory = training_memory(build_network(name, 400, frames, rms="mean"), (frames, 224, 224, 3))
    clips = [memory.largest_batch((card - 1) * 1e9) for card in CARDS]
    cells = [network, precision, f"{memory.per_sample / 1e9:.2f}", *map(str, clips)]
    assert f"| {' | '.join(cells)} |" in PAGE


@pytest.mark.slow
def test_the_python_of_the_page_runs(capsys):
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    exec(compile(block, "GPUS.md", "exec"), {})
    clips, gigabytes = capsys.readouterr().out.split()
    assert 23 / float(gigabytes) * 16 == pytest.approx(int(clips), abs=1)
