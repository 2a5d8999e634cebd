"""`predict.py --features`: the vectors before the classifier, of every kind of network.

`test_main_job.py` has their mean over a video.
"""

import json

import command_runner
import keras
import numpy as np
import pytest
import video_files

from keras_rms import models
from keras_rms.training.networks import build_network
from pipelines.frames.video_file import read_frames
from pipelines.input import views_of_frames

CONVERSION = {"fps": 25, "short_side": 64, "quality": 4}
# Beside a plain one: dense layers before the classifier, and images, which are clips of one frame.
NETWORKS = {
    "slow_only_18": {"width": 8},
    "s3d": {"width": 8, "gating": True},
    "resnet_110": {"width": 8, "depth": 20},
}


def finished_run(folder, name):
    frames = 1 if name.startswith("resnet") else 8
    network = build_network(name, 3, frames, seed=0, **NETWORKS[name])
    network.save(folder / "model.keras")
    settings = {
        "class_names": ["a", "b", "c"],
        "data": "data",
        "conversion": CONVERSION,
        "num_frames": frames,
        "span": 8 * frames,
        "evaluation_crop_size": 48,
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    return network, settings


def expected_features(network, name, settings, video):
    headless = models.build(
        name,
        include_top=False,
        include_preprocessing=True,
        input_shape=network.input_shape[1:],
        **NETWORKS[name],
    )
    headless.set_weights(network.get_weights()[:-2])
    views = views_of_frames(
        read_frames(str(video), **CONVERSION).frames,
        num_clips=2,
        num_crops=3,
        num_frames=settings["num_frames"],
        span=settings["span"],
        crop_size=48,
    )
    images = views[:, 0] if settings["num_frames"] == 1 else views
    return keras.ops.convert_to_numpy(headless(np.asarray(images), training=False))


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_features_are_what_the_classifier_gets(tmp_path, name):
    network, settings = finished_run(tmp_path, name)
    video = tmp_path / "with a space.mp4"
    video_files.write_numbered(video, 40)
    output = tmp_path / "features.npz"
    flags = [f"--features={output}", "--features_of=clip", "--clips=2", "--crops=3"]
    command_runner.run("scripts/predict.py", f"--work_dir={tmp_path}", video, *flags)
    with np.load(output) as arrays:
        assert list(arrays) == [str(video)]
        received = arrays[str(video)]
    expected = expected_features(network, name, settings, video)
    assert expected.shape[0] == 6 and expected.std(axis=0).max() > 0
    tolerance = 1e-4 * np.abs(expected).max()
    np.testing.assert_allclose(received, expected, rtol=1e-4, atol=tolerance)
