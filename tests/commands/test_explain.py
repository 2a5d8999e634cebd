"""`explain.py`: its films and pictures, of data that does not say how it was converted too."""

import json

import av
import command_runner
import finished_runs
import pytest
import video_files
from PIL import Image

from analysis.video_names import stems


def test_every_file_has_a_name_of_its_own():
    assert stems(["x/a.mp4", "y/a.mp4", "a-2.mp4"]) == ["a", "a-2", "a-2-2"]
    assert stems(["a-2.mp4", "a.mp4", "a.avi"]) == ["a-2", "a", "a-3"]
    assert stems(["a-b.mp4", "a.mp4"]) == ["a-b", "a"]


@pytest.mark.slow
def test_a_film_and_a_picture_of_each_video(tmp_path):
    finished_runs.make(tmp_path / "run", tmp_path / "data")
    path = tmp_path / "run" / "settings.json"
    # As of a training on SequenceExample shards.
    path.write_text(json.dumps({**json.loads(path.read_text()), "conversion": {}}))
    videos = [tmp_path / "long.mp4", tmp_path / "short.mp4", tmp_path / "words.mp4"]
    video_files.write_numbered(videos[0], 30)
    video_files.write_numbered(videos[1], 3)  # fewer frames than a clip spans
    videos[2].write_bytes(b"no video" * 1000)
    result = command_runner.run(
        "scripts/explain.py",
        f"--work_dir={tmp_path / 'run'}",
        f"--output={tmp_path / 'where'}",
        *map(str, videos),
        status=1,
    )
    assert "words.mp4" in result.error and "not a video" in result.error
    for name, frames in (("long", 4 * 2), ("short", 2)):
        with av.open(str(tmp_path / "where" / f"{name}_where.mp4")) as film:
            shown = list(film.decode(video=0))
            # Magnified: a clip of 37 pixels cannot be looked at.
            assert len(shown) == frames and shown[0].height > 224
            # 25 frames a second, of which a clip of 8 has 2.
            assert float(film.streams.video[0].average_rate) == pytest.approx(6.25)
        assert Image.open(tmp_path / "where" / f"{name}_where.png").width > 100
    assert len(list((tmp_path / "where").iterdir())) == 4
