"""What clips out of object stores cost, counted by imitations of the stores."""

import os
import re
import shutil
import subprocess
import sys

import counted_store
import pytest
from paths import ROOT

WANTED = counted_store.FRAME_BYTES * counted_store.FRAMES * counted_store.VIDEOS
IO_PYTHON = os.environ.get("KERAS_RMS_IO_PYTHON")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "python"),
    [
        pytest.param(
            "gs",
            sys.executable,
            marks=pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl"),
        ),
        pytest.param(
            "s3",
            IO_PYTHON,
            marks=pytest.mark.skipif(not IO_PYTHON, reason="KERAS_RMS_IO_PYTHON is not set"),
        ),
    ],
)
def test_a_clip_asks_for_about_its_own_bytes(kind, python, tmp_path):
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    variables.pop("GCS_READ_CACHE_BLOCK_SIZE_MB", None)
    done = subprocess.run(
        [python, counted_store.__file__, kind, str(tmp_path)],
        env=variables,
        capture_output=True,
        text=True,
        timeout=240,
    )
    asked = re.search(r"asked for (\d+) in (\d+)", done.stdout)
    assert asked, done.stdout + done.stderr
    # gs:// is read in blocks of 1 MB, so that two are needed for 0.7 MB now and then.
    assert WANTED <= int(asked[1]) < 2 * WANTED, asked[0]
