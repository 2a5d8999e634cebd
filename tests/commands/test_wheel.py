"""What people install: the wheel stands alone, and the tests of the source archive run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import pytest
import small_dataset
import unused_packages
from paths import ROOT

pytestmark = pytest.mark.slow(20)

FOLDERS = ("keras_rms", "pipelines", "scripts", "tests", ".ci", ".github")
BUILD = "import sys; from setuptools import build_meta; build_meta.build_{}(sys.argv[1])"

# What a network needs is there: Keras, NumPy and one backend.
WITHOUT_COMMANDS = """
import sys
for absent in ("tensorflow", "torch", "av", "PIL", "tqdm", "tensorboard", "sklearn"):
    sys.modules[absent] = None  # an import of it fails
import keras, keras_rms, numpy as np
network = keras_rms.models.build(
    "slow_only_18", num_classes=3, input_shape=(2, 32, 40, 3), width=4, rms="gaussian"
)
network.save("network.keras")
loaded = keras.saving.load_model("network.keras")
pairs = zip(network.get_weights(), loaded.get_weights(), strict=True)
print(keras.backend.backend(), all(np.array_equal(*pair) for pair in pairs), keras_rms.__file__)
"""


def run(*command, cwd, **variables):
    environment = {**os.environ, "PYTHONPATH": unused_packages.FOLDER}  # without the checkout
    environment.pop("KERAS_BACKEND", None)
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**environment, **variables},
        capture_output=True,
        text=True,
    )


def succeeded(result):
    assert result.returncode == 0, result.stdout + result.stderr
    return result


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The source archive, unpacked."""
    folder = tmp_path_factory.mktemp("source")
    # A copy, because building leaves files in the folder.
    (folder / "checkout").mkdir()
    for path in ROOT.iterdir():
        if path.name in FOLDERS:
            shutil.copytree(path, folder / "checkout" / path.name)
        elif path.is_file():
            shutil.copy(path, folder / "checkout")
    succeeded(run(sys.executable, "-c", BUILD.format("sdist"), folder, cwd=folder / "checkout"))
    (archive,) = folder.glob("*.tar.gz")
    shutil.unpack_archive(archive, folder)
    return folder / archive.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def environment(tmp_path_factory, source):
    """A new environment with the wheel of the source archive, beside this one's other packages."""
    folder = tmp_path_factory.mktemp("environment")
    succeeded(run(sys.executable, "-c", BUILD.format("wheel"), folder, cwd=source))
    (wheel,) = folder.glob("*.whl")
    succeeded(run(sys.executable, "-m", "venv", "--without-pip", folder / "env", cwd=folder))
    python = folder / "env" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    succeeded(run(*pip, "install", "--no-deps", "--no-index", wheel, cwd=folder))
    (own,) = folder.glob("env/lib/python*/site-packages")
    # The checkout stays out: Python follows the .pth files of its own folders only.
    (own / "others.pth").write_text(str(Path(keras.__file__).parents[1]))
    return folder / "env"


def test_the_source_archive_has_every_file_and_its_tests_run(source):
    tracked = run("git", "ls-files", cwd=ROOT)
    if tracked.returncode == 0:
        left_out = {".gitignore"}
        missing = [f for f in tracked.stdout.split("\n") if f and not (source / f).exists()]
        assert set(missing) <= left_out
    # All of them are imported, and two files run.
    words = ["-q", "-p", "no:cacheprovider", "-k", "test_paper_tables or test_schedules"]
    result = run(sys.executable, "-m", "pytest", *words, cwd=source, PYTHONPATH=str(source))
    assert re.search(r"[1-9]\d+ passed", succeeded(result).stdout), result.stdout


def test_the_wheel_has_every_module(environment):
    (site_packages,) = environment.glob("lib/python*/site-packages")
    for folder, package in (
        ("keras_rms", "keras_rms"),
        ("pipelines", "pipelines"),
        ("scripts", "keras_rms_commands"),
    ):
        for ending in ("*.py", "*.flags", "py.typed"):
            wanted = {path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob(ending)}
            installed = site_packages / package
            assert wanted == {path.relative_to(installed) for path in installed.rglob(ending)}


def test_networks_work_without_tensorflow_and_what_commands_need(environment, tmp_path):
    result = succeeded(
        run(
            environment / "bin" / "python",
            "-c",
            WITHOUT_COMMANDS,
            cwd=tmp_path,
            KERAS_BACKEND="jax",
        )
    )
    backend, is_same, file = result.stdout.split()
    assert (backend, is_same) == ("jax", "True")
    assert Path(file).is_relative_to(environment)


def test_commands_work_outside_the_checkout(environment, tmp_path):
    data = small_dataset.make_dataset(tmp_path / "data")
    keras_rms = environment / "bin" / "keras-rms"
    listed = succeeded(run(keras_rms, "--help", cwd=tmp_path)).stdout
    assert "  convert " in listed and "demo_quick" in listed
    assert run(keras_rms, "--version", cwd=tmp_path).stdout == "0.1.0\n"

    # A module, whose processes start others.
    few = ("--form=quick", "--train_per_class=1", "--validation_per_class=1")
    succeeded(run(keras_rms, "demo-videos", "--output=videos", *few, cwd=tmp_path))
    assert len(list(tmp_path.glob("videos/**/*.mp4"))) == 16
    # A file, which starts others and finds recipes: 4 epochs of warm-up are demo_quick's.
    grid = ["--table=1d", "--lines=2", "--seeds=1", "--output=grid", "--model=slow_only_18"]
    grid += [f"--data={data}", "--recipe=demo_quick", "--", "--epochs=1", "--batch_size=8"]
    result = run(keras_rms, "ablate", *grid, cwd=tmp_path)
    assert result.returncode == 1
    said = " ".join(result.stderr.partition("failed: ")[2].split())
    assert "keras-rms train ended with status 1." in said
    assert said.endswith("Received: warmup_epochs=4.0, epochs=1")
