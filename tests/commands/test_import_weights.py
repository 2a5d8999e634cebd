"""scripts/import_weights.py as a user runs it."""

import command_runner
import foreign_checkpoints as foreign
import keras
import numpy as np
import pytest

import keras_rms.models

pytest.importorskip("torch")


def run(*flags, status=0, cold=False):
    result = command_runner.run("scripts/import_weights.py", *flags, status=status, cold=cold)
    assert "Traceback" not in result.stderr
    return result


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    model = keras_rms.models.SlowOnly(18, 7, (8, None, None, 3), width=8, rms=None)
    foreign.randomize(model, 3)
    path = tmp_path_factory.mktemp("with a space") / "x.pth"
    foreign.write_torch(path, foreign.tensors(model, foreign.mmaction2), "state_dict")
    return model, path


@pytest.mark.slow
def test_whole_network_and_weights_alone(tmp_path, checkpoint):
    expected, path = checkpoint
    clip = np.random.default_rng(4).normal(size=(1, 8, 32, 48, 3)).astype("float32")
    logits = keras.ops.convert_to_numpy(expected(clip, training=False))
    whole, alone = tmp_path / "net.keras", tmp_path / "net.weights.h5"
    flags = ["--model=slow_only_18", f"--checkpoint={path}"]
    said = run(*flags, f"--output={whole}", "--input_shape=8,32,48,3").stdout
    assert "mmaction2" in said and "classifier is new" not in said
    network = keras.saving.load_model(whole)
    assert network.input_shape == (None, 8, 32, 48, 3)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(network(clip)), logits, rtol=1e-5)
    run(*flags, f"--output={alone}", "--input_shape=None,None,None,3")
    network = keras_rms.models.SlowOnly(18, 7, (8, 32, 48, 3), width=8, weights=alone)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(network(clip, training=False)), logits, rtol=1e-5
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.keras", "net.weights.h5"]


@pytest.mark.slow
def test_fine_tuning_is_said(tmp_path, checkpoint):
    said = run(
        "--model=slow_only_18",
        f"--checkpoint={checkpoint[1]}",
        f"--output={tmp_path / 'net.keras'}",
        "--num_classes=3",
        cold=True,
    ).stdout
    assert "The classifier is new: --num_classes=3" in said
    assert keras.saving.load_model(tmp_path / "net.keras").output_shape == (None, 3)


@pytest.mark.slow
def test_a_network_of_images_is_inflated(tmp_path):
    images = keras.applications.ResNet50(weights=None, include_top=False)
    images.save_weights(tmp_path / "images.weights.h5")
    output = tmp_path / "net.weights.h5"
    said = run(
        "--model=slow_only_50",
        f"--checkpoint={tmp_path / 'images.weights.h5'}",
        f"--output={output}",
        "--num_classes=3",
    ).stdout
    assert "of keras.applications" in said and "the checkpoint's is for images" in said
    network = keras_rms.models.SlowOnly(50, 3, weights=output)
    kernel = images.get_layer("conv4_block2_1_conv").kernel.numpy()
    received = network.get_layer("res4_block1_conv1").kernel.numpy()
    np.testing.assert_allclose(received, np.stack([kernel / 3] * 3), rtol=1e-6)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model=slow_only_34"], "does not fit slow_only_34"),
        (["--output=net.h5"], "--output must end in .keras or .weights.h5, not net.h5"),
        (["--output=absent/net.keras"], "does not exist"),
        (["--input_shape=8,a,b,3"], "--input_shape must be four sizes"),
    ],
)
def test_mistakes_end_in_one_paragraph(tmp_path, checkpoint, flags, message):
    usual = [
        "--model=slow_only_18",
        f"--checkpoint={checkpoint[1]}",
        f"--output={tmp_path / 'net.keras'}",
    ]
    printed = run(*usual, *flags, status=1).error
    assert message in printed
    assert not list(tmp_path.iterdir())


def test_a_network_without_weights_names_the_published_ones(tmp_path):
    output = f"--output={tmp_path / 'net.keras'}"
    printed = run("--model=slow_fast_101_16x8", output, status=1).error
    assert "a published one (slow_fast_101_16x8_kinetics400)" in printed
