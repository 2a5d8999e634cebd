"""An NVIDIA GPU that TensorFlow does not see is missed loudly."""

import functools

import command_runner
import pytest
import tensorflow as tf

from pipelines.system import gpus

# What TensorFlow 2.21 and 2.17 print, with lines about other things.
LOG = """\
2026-11-25 10:00:00.000001: I tensorflow/core/util/port.cc:153] oneDNN custom operations are on.
I0000 00:00:1795648158.386563   31275 cudart_stub.cc:31] Could not find cuda drivers on your machine, GPU will not be used.
E0000 00:00:1795648158.3   31275 cuda_dnn.cc:1] Unable to register cuDNN factory: Attempting to register factory for plugin cuDNN when one has already been registered
2026-11-25 10:00:00.000001: W tensorflow/core/common_runtime/gpu/gpu_device.cc:2343] Cannot dlopen some GPU libraries.
Skipping registering GPU devices...
I0000 00:00:1795648158.4   31275 cudart_stub.cc:31] Could not find cuda drivers on your machine, GPU will not be used.
To enable the following instructions: AVX2 FMA
"""  # noqa: E501


@pytest.fixture
def root(tmp_path):
    """A machine's files, with a GPU's among them."""
    for name in ("dev/nvidia0", "dev/nvidiactl", "dev/null"):
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "root"


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """TensorFlow sees no GPU, whatever machine this is; a test may put some into the list."""
    seen = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: seen)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return seen


def reason():
    return "failed call to cuInit: unknown error"


def never():
    raise AssertionError("TensorFlow is asked although there is nothing to say")


def test_device_reason_and_remedy_are_named(root):
    message = gpus.missed(root, reason)
    assert "(/dev/nvidia0)" in message
    assert "TensorFlow says: failed call to cuInit: unknown error. " in message
    for remedy in ("nvidia-smi", "scripts/setup.sh and-cuda", "--gpus all", "=-1"):
        assert remedy in message


def test_a_container_without_its_gpus(tmp_path):
    (tmp_path / "proc/driver/nvidia/gpus/0000:01:00.0").mkdir(parents=True)
    message = gpus.missed(tmp_path, lambda: "")
    assert "(/proc/driver/nvidia/gpus/0000:01:00.0)" in message and "says: nothing." in message


def test_a_variable_that_names_no_gpu_is_part_of_the_reason(root, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    assert "unknown error. CUDA_VISIBLE_DEVICES is 7. Does" in gpus.missed(root, reason)


@pytest.mark.parametrize("value", ["", "-1"])
def test_gpus_that_the_user_hides_are_not_missed(root, monkeypatch, value):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert gpus.missed(root, never) is None


def test_nothing_is_said_without_a_gpu_or_where_it_is_seen(root, tmp_path, machine):
    (root / "dev/nvidia0").unlink()
    assert gpus.missed(root, never) is None
    (root / "dev/nvidia0").touch()
    machine.append("GPU:0")
    assert gpus.missed(root, never) is None


def test_of_tensorflows_log_the_lines_about_gpus_are_told_once():
    assert gpus.about_gpus(LOG) == (
        "Could not find cuda drivers on your machine, GPU will not be used; "
        "Cannot dlopen some GPU libraries; Skipping registering GPU devices"
    )


@pytest.mark.slow
def test_tensorflow_itself_is_asked(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    said = gpus.tensorflows_reason()
    assert "GPU" in said or "cuInit" in said or "CUDA" in said


def fake_machine(root):
    gpus.missed = functools.partial(gpus.missed, root, reason)


@pytest.mark.parametrize(
    "words",
    [
        ["scripts/train.py", "--data=/nowhere", "--work_dir={work_dir}"],
        ["scripts/evaluate.py", "--work_dir={work_dir}"],
        ["scripts/predict.py", "--work_dir={work_dir}", "video.mp4"],
    ],
    ids=lambda words: words[0],
)
def test_the_commands_say_it(tmp_path, root, words):
    words = [word.format(work_dir=tmp_path / "run") for word in words]
    before = functools.partial(fake_machine, root)
    run = command_runner.start(tmp_path / "output", *words, before=before)
    assert run.status(60) == 1
    said = " ".join(run.stderr.split())
    assert "warning: This machine has an NVIDIA GPU (/dev/nvidia0)" in said
    assert "TensorFlow says: failed call to cuInit: unknown error." in said
    assert "/nowhere" in run.error or str(tmp_path / "run") in run.error
