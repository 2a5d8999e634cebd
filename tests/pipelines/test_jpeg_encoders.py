"""Frames by libjpeg-turbo's encoder beside libav's, and what remembers which it was."""

import io

import numpy as np
import pytest
import video_files
from PIL import Image

from pipelines.conversion import conversion_job
from pipelines.conversion.conversion_plan import Settings
from pipelines.conversion.split_plans import Conversion, Part
from pipelines.frames import video_file
from pipelines.frames.isolated_reader import IsolatedReader
from pipelines.frames.jpeg_encoders import check_encoder, turbo_quality
from pipelines.layouts import annotations


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    (folder / "jump").mkdir()
    for number in range(4):
        video_files.write_numbered(folder / "jump" / f"{number}.mp4", 3)
    return folder


def planes(images):
    """float32 (frames, height, width, 3), of luma and of two of chroma."""
    opened = [Image.open(io.BytesIO(image)) for image in images]
    for image in opened:
        image.draft("YCbCr", None)
    return np.stack([np.asarray(image.convert("YCbCr"), "float32") for image in opened])


# Odd sides too: a plane of chroma then has half a pixel more.
@pytest.mark.parametrize("short_side", [48, 35])
def test_turbo_gives_the_same_pictures(videos, short_side):
    pytest.importorskip("simplejpeg")
    path = str(videos / "jump" / "0.mp4")
    best, turbo = (
        video_file.read_frames(path, short_side=short_side, **given)
        for given in ({"quality": 1}, {"quality": 4, "encoder": "turbo"})
    )
    assert (turbo.height, turbo.width, len(turbo.frames)) == (
        *(best.height, best.width),
        len(best.frames),
    )
    # Flat digits with hard edges, on which libav is better: 43 dB of luma; real videos are in
    # pipelines/README.md.
    error = np.mean((planes(turbo.frames) - planes(best.frames)) ** 2, axis=(0, 1, 2))
    assert np.all(10 * np.log10(255**2 / error) > 38)
    with IsolatedReader() as reader:
        again = reader.read_frames(path, short_side=short_side, encoder="turbo")
    assert again.frames == turbo.frames


@pytest.mark.parametrize(("quality", "expected"), [(1, 96), (4, 84), (12, 52), (25, 25), (31, 20)])
def test_turbo_quality(quality, expected):
    assert turbo_quality(quality) == expected


def test_what_there_is_not(monkeypatch, videos):
    with pytest.raises(ValueError, match="Received: encoder='mozjpeg'"):
        check_encoder("mozjpeg")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs the package simplejpeg.*pip install 'keras_rms"):
        Settings(encoder="turbo")
    with pytest.raises(video_file.VideoError, match="needs the package simplejpeg") as caught:
        video_file.read_frames(str(videos / "jump" / "0.mp4"), encoder="turbo")
    assert not caught.value.lasting


def test_settings_name_the_encoder_unless_it_is_the_usual_one(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: True)
    libav, turbo = Settings(), Settings(encoder="turbo")
    # As before there was a choice: what was converted then is not converted again.
    usual = {"fps": 25, "short_side": 256, "quality": 4, "upscale": True}
    assert libav.recorded() == usual
    assert turbo.recorded() == usual | {"encoder": "turbo"}
    assert libav.differing(turbo.recorded()) == ["encoder was turbo and is now libav"]
    assert turbo.differing(libav.recorded()) == ["encoder was libav and is now turbo"]
    assert turbo.differing(turbo.recorded()) == libav.differing({"fps": 25}) == []


def shards(folder):
    return {path.name: path.read_bytes() for path in folder.glob("train*")}


@pytest.mark.parametrize("change", [{"quality": 5}, {"encoder": "turbo"}])
def test_parts_of_other_settings_are_refused(videos, tmp_path, change):
    if "encoder" in change:
        pytest.importorskip("simplejpeg")

    def convert(part, overwrite=False, **settings):
        source = annotations.Source(videos=str(videos), validation_share=0)
        settings = Settings(short_side=48, **settings)
        conversion = Conversion(
            source, "folder", str(tmp_path), ("train",), settings, 4, overwrite=overwrite, part=part
        )
        return conversion_job.convert_splits(conversion)

    convert(Part(1, 2))
    before = shards(tmp_path)
    # Another part, and the same after a stop.
    for part in (Part(2, 2), Part(1, 2)):
        with pytest.raises(ValueError, match=r"converted already in part.* was .* and is now"):
            convert(part, **change)
    assert shards(tmp_path) == before
    (manifest,) = convert(Part(1, 1), overwrite=True, **change).values()
    assert manifest["settings"].items() >= change.items()
