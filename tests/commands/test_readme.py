"""The README's Python runs as it stands there."""

import re

import pytest
from paths import ROOT

README = ROOT / "README.md"


@pytest.mark.slow
def test_python_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)
    assert blocks
    names = {}
    for block in blocks:
        if "tensorflow_datasets" not in block:  # neither it nor its data sets are here
            exec(compile(block, str(README), "exec"), names)
    assert names["resnet"].count_params() == 25_636_712
    assert names["network"].output_shape == (None, 174)
