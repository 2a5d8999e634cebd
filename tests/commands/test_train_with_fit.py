"""The example of Keras's own `fit` learns, with both networks and on the three backends."""

import importlib.util
import re

import command_runner
import keras
import pytest
import small_dataset

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="starts the other backends itself"
)
SCRIPT = "scripts/examples/train_with_fit.py"


@pytest.fixture(scope="module")
def flags(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    # Neither 23 nor 9 is a multiple of the batch.
    small_dataset.make_dataset(folder, videos=23, validation_videos=9)
    return [f"--data={folder}", "--epochs=4", "--crop_size=32"]


def check(output):
    """Three classes of colours are learnt at once; each of the nine videos is counted once."""
    last = output.strip().splitlines()[-1]
    match = re.fullmatch(r"9 videos: top-1 (.*)% of one view, (.*)% of 30 views", last)
    assert match, output
    shares = [float(share) / 100 for share in match.groups()]
    assert all(abs(9 * share - round(9 * share)) < 0.01 for share in shares) and min(shares) > 0.7


@pytest.mark.slow
def test_own_network_on_tensorflow(flags):
    check(command_runner.run(SCRIPT, *flags, "--network=own").stdout)


def test_words_are_refused(flags):
    assert "Unknown arguments: more" in command_runner.run(SCRIPT, *flags, "more", status=1).error


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends(flags, backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed.")
    variables = {"KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": ""}
    words = [SCRIPT, *flags, "--network=own"]
    check(command_runner.run(*words, variables=variables, cold=True, seconds=500).stdout)


@pytest.mark.slow
def test_a_network_of_the_package_on_tensorflow(flags):
    check(command_runner.run(SCRIPT, *flags).stdout)
