"""The notebook runs from its first cell to its last."""

import os
from unittest import mock

import pytest
import unused_packages
from paths import ROOT

NOTEBOOK = ROOT / "scripts" / "examples" / "random_mean_scaling.ipynb"


@pytest.mark.slow(40)
def test_every_cell_runs_and_every_picture_is_drawn():
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    folders = os.pathsep.join([str(ROOT), unused_packages.FOLDER])
    few = {"EPOCHS": "1", "VIDEOS": "1", "PYTHONPATH": folders}
    with mock.patch.dict(os.environ, few):
        nbclient.NotebookClient(notebook, timeout=300).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 3
    printed = "".join(output.get("text", "") for output in outputs)
    assert "alpha of four clips" in printed and "RMS: test" in printed
