"""The page of `demo_server.py`: what it shows, and that it answers on the loopback."""

import socket

import av
import command_runner
import finished_runs
import keras
import numpy as np
import pytest
import video_files

from keras_rms import FrequencyScaling, insert_before
from keras_rms.inference.trained_network import open_run
from pipelines.frames.video_file import VideoError
from server_page.viewer import Viewer

RES4_AND_RES5 = [f"res{s}_block{b}_bn{n}" for s in (4, 5) for b in (0, 1) for n in (1, 2)]


@pytest.fixture(scope="module")
def viewer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    finished_runs.make(folder / "run", folder / "data", rms="mean")
    with Viewer(open_run(folder / "run")) as made:
        yield made


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "numbered.mp4"
    video_files.write_numbered(path, 30)
    return str(path)


def probabilities_of(model, clips):
    return keras.ops.convert_to_numpy(keras.ops.softmax(model(clips, training=False)))


@pytest.mark.slow
def test_the_scales_are_those_of_the_frequency_probe(viewer, video):
    seen = viewer.read(video)
    assert seen.clips.shape == (4, 2, 32, 32, 3)
    np.testing.assert_allclose(seen.starts, [0, 22 / 75, 44 / 75, 22 / 25])
    model = viewer.run.model
    plain = probabilities_of(model, seen.clips)
    np.testing.assert_allclose(viewer.probabilities(seen), plain, rtol=1e-5)
    probe = FrequencyScaling(low=0.2, high=1.7)
    scaled = insert_before(model, lambda layer: layer.name in RES4_AND_RES5, probe)
    expected = probabilities_of(scaled, seen.clips)
    assert np.abs(expected - plain).max() > 1e-4
    np.testing.assert_allclose(viewer.probabilities(seen, 0.2, 1.7), expected, rtol=1e-4)
    best = viewer.best(plain)
    assert list(best.values()) == sorted(plain.mean(axis=0), reverse=True)
    (axes,) = viewer.timeline(seen, plain).axes
    np.testing.assert_allclose(axes.lines[0].get_ydata(), plain[:, plain.mean(0).argmax()])
    with av.open(viewer.where(seen, plain)) as film:
        frames = list(film.decode(video=0))
    assert len(frames) == 8 and frames[0].width == 2 * 224


def test_a_file_that_is_no_video(viewer, tmp_path):
    path = tmp_path / "words.mp4"
    path.write_bytes(b"no video" * 1000)
    with pytest.raises(VideoError, match="not a video"):
        viewer.read(str(path))


def test_a_port_that_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        words = ["--work_dir=absent", f"--port={port}"]
        said = command_runner.run("scripts/demo_server.py", *words, status=1).error
    assert f"--port={port} is taken" in said and "another --port" in said


@pytest.mark.slow
def test_the_page_answers(viewer, video):
    pytest.importorskip("gradio")
    from gradio_client import Client, exceptions, handle_file

    from server_page.layout import page

    blocks = page(viewer)
    _, address, _ = blocks.launch(
        server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, share=False
    )
    try:
        client = Client(address, verbose=False)
        classes, _, film = client.predict(handle_file(video), 1, 1, api_name="/look")
        assert {row["label"] for row in classes["confidences"]} == {"blue", "green", "red"}
        assert av.open(film if isinstance(film, str) else film["video"]).streams.video
        with pytest.raises(exceptions.AppError, match="Drop a video"):
            client.predict(None, 1, 1, api_name="/look")
    finally:
        blocks.close()
