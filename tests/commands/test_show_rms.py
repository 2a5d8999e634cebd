"""scripts/show_rms.py as a user runs it."""

import command_runner
import numpy as np
import pytest
import video_files
from PIL import Image

pytest.importorskip("matplotlib")


def run(*flags, status=0):
    return command_runner.run("scripts/show_rms.py", *flags, status=status, cold=not status)


@pytest.mark.slow
def test_draws_a_frame_of_a_video(tmp_path):
    video = video_files.write_numbered(tmp_path / "clip.mp4", 60)
    output = tmp_path / "rms.png"
    run(f"--video={video}", f"--output={output}", "--short_side=32", "--second=0")
    with Image.open(output) as image:
        assert image.width > image.height > 300
        assert np.asarray(image.convert("RGB")).std() > 20


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--alphas=0,x"], "--alphas must be numbers. Received: ['0', 'x']"),
        (["--video=absent.mp4"], "absent.mp4"),
    ],
)
def test_mistakes_end_in_one_paragraph(tmp_path, flags, message):
    assert message in run(f"--output={tmp_path / 'rms.png'}", *flags, status=1).error
    assert not list(tmp_path.iterdir())
