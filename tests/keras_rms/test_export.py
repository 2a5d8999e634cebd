"""Exported networks are loaded by their own runtimes and give what Keras gives."""

import json

import command_runner
import finished_runs
import keras
import numpy as np
import pytest
import small_dataset
import tensorflow as tf
from few_blocks import few_blocks
from paths import ROOT

import keras_rms.models
from keras_rms.inference.export import FORMATS, export_network, exported_outputs
from pipelines.input.evaluation import evaluation_dataset

CLIP = (8, 32, 48, 3)
# One of each family; the rivals' other layers follow alone.
NETWORKS = {
    "slow_only_18": {},
    "slow_fast_50_8x8": {},
    "ip_csn_50": {},
    "s3d": {"gating": True},
    "i3d_50_nl": {},
    "resnet_50": {"input_shape": CLIP[1:]},
}
LAYERS = {
    "cgnl": lambda: keras_rms.models.CompactGeneralizedNonLocal(groups=4, seed=0),
    "cgd": lambda: keras_rms.models.CompactGlobalDescriptor(seed=0),
    "max_pool": lambda: keras.layers.MaxPooling3D((3, 3, 3), 2, padding="same"),
}
# Random weights double activations here and there; float32 sums in another order reach 1e-6.
TOLERANCE = 1e-5


def network(name, **arguments):
    arguments = {"num_classes": 7, "input_shape": CLIP, "width": 8, "seed": 0} | arguments
    model = keras_rms.models.build(name, include_preprocessing=True, **arguments)
    rng = np.random.default_rng(1)
    for weight in model.weights:
        if weight.name in ("gamma", "moving_variance"):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return model


def clips(shape, batch=2):
    return np.random.default_rng(2).integers(0, 256, (batch, *shape), dtype=np.uint8)


def assert_same(model, path, format, inputs):
    expected = keras.ops.convert_to_numpy(model(inputs, training=False)).astype("float32")
    got = exported_outputs(str(path), format, inputs)
    assert got.dtype == np.float32
    assert np.abs(got - expected).max() / np.abs(expected).max() < TOLERANCE


def needs(format):
    if format == "onnx":
        pytest.importorskip("tf2onnx")
        pytest.importorskip("onnxruntime")


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_family_in_every_format(tmp_path, name):
    needs("onnx")
    with few_blocks():
        model = network(name, **NETWORKS[name])
    for format in FORMATS:
        export_network(model, str(tmp_path / format), format)
        # Another batch than that of the export: its size is open.
        assert_same(model, tmp_path / format, format, clips(model.input_shape[1:], batch=3))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*LAYERS, "cifar"])
def test_layers_of_other_networks(tmp_path, name):
    needs("onnx")
    if name == "cifar":
        with few_blocks():
            model = keras_rms.models.ResNet2D(20, input_shape=(16, 24, 16), width=8, seed=0)
    else:
        inputs = keras.Input((4, 9, 6, 16))
        model = keras.Model(inputs, LAYERS[name]()(inputs))
    for i, weight in enumerate(model.weights):
        # The gammas that start at zero would hide what is behind them.
        if len(weight.shape) == 1:
            weight.assign(np.random.default_rng(i).uniform(0.5, 1.5, weight.shape))
    x = np.random.default_rng(2).normal(size=(2, *model.input_shape[1:])).astype("float32")
    for format in FORMATS:
        export_network(model, str(tmp_path / format), format)
        assert_same(model, tmp_path / format, format, x)


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_open_sizes(tmp_path, format):
    needs(format)
    model = network("slow_only_18", input_shape=(8, None, None, 3))
    if format == "tflite":
        with pytest.raises(ValueError, match=r"Received: input_shape=\(8, None, None, 3\)"):
            export_network(model, str(tmp_path / "x"), format)
        export_network(model, str(tmp_path / "x"), format, input_shape=CLIP)
        assert_same(model, tmp_path / "x", format, clips(CLIP))
    else:
        export_network(model, str(tmp_path / "x"), format)
        for shape in (CLIP, (8, 47, 33, 3)):
            assert_same(model, tmp_path / "x", format, clips(shape))


ABOUT = {"class_names": ["run", "säge"], "frame_rate": 25, "span": 64}


@pytest.mark.slow
def test_onnx_has_names_and_says_what_it_takes(tmp_path):
    """The lines of the README, and what they rest on."""
    needs("onnx")
    import onnxruntime

    model = network("slow_only_18", num_classes=2, input_shape=(8, 48, 48, 3))
    path = str(tmp_path / "rms.onnx")
    about = {**ABOUT, "num_frames": 8, "crop_size": 48}
    export_network(model, path, "onnx", metadata=about)
    session = onnxruntime.InferenceSession(path)
    assert [value.name for value in session.get_inputs()] == ["clips"]
    assert [value.name for value in session.get_outputs()] == ["logits"]
    said = session.get_modelmeta().custom_metadata_map
    assert {name: json.loads(value) for name, value in said.items()} == about
    section = (ROOT / "keras_rms" / "README.md").read_text().split("## Export")[1]
    lines = next(block for block in section.split("```") if block.startswith("python"))
    variables = {}
    exec(lines.removeprefix("python").replace('"rms.onnx"', repr(path)), variables)
    assert variables["names"] == ABOUT["class_names"]
    expected = keras.ops.convert_to_numpy(model(variables["clips"], training=False))
    np.testing.assert_allclose(variables["logits"], expected, atol=1e-5 * np.abs(expected).max())


def tiny_network():
    inputs = keras.Input((9, 6, 3))
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs))


def test_saved_model_has_names_and_metadata(tmp_path):
    import tensorflow as tf

    model = tiny_network()
    export_network(model, str(tmp_path / "x"), "saved_model", metadata=ABOUT)
    assert json.loads((tmp_path / "x/assets.extra/metadata.json").read_text()) == ABOUT
    signature = tf.saved_model.load(str(tmp_path / "x")).signatures["serving_default"]
    assert list(signature.structured_input_signature[1]) == ["images"]
    assert list(signature.structured_outputs) == ["logits"]
    export_network(model, str(tmp_path / "x.tflite"), "tflite")
    interpreter = tf.lite.Interpreter(str(tmp_path / "x.tflite"))
    names = interpreter.get_signature_list()["serving_default"]
    assert names == {"inputs": ["images"], "outputs": ["logits"]}


@pytest.mark.parametrize("name", ["a[1]", "a?", "a*", "[x]/y", "a\\b"])
def test_folders_that_tensorflow_takes_for_patterns(tmp_path, name):
    model = tiny_network()
    with pytest.raises(ValueError, match=r"`path` must have none of .*Received: path="):
        export_network(model, str(tmp_path / name), "saved_model")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_network_of_mixed_precision_is_exported_in_float32(tmp_path):
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = network("slow_only_18")
    finally:
        keras.config.set_dtype_policy(policy)
    full = network("slow_only_18")
    full.set_weights(mixed.get_weights())
    export_network(mixed, str(tmp_path / "x"), "tflite")
    assert_same(full, tmp_path / "x", "tflite", clips(CLIP))


def operators(path):
    """Of a TensorFlow Lite file: each one's name, the type of its first input, its most axes."""
    interpreter = tf.lite.Interpreter(
        str(path),
        # Without the delegate that would take operations over.
        experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    tensors = {each["index"]: each for each in interpreter.get_tensor_details()}
    for each in interpreter._get_ops_details():
        ends = [tensors[i] for i in (*each["inputs"], *each["outputs"]) if i in tensors]
        yield each["op_name"], ends[0]["dtype"], max(len(end["shape"]) for end in ends)


def small_video_network(shape):
    """Each kind of convolution once, with strides in time; test_framewise_network has families."""
    inputs = keras.Input(shape, dtype="uint8")
    x = keras.layers.Rescaling(1 / 64, -2.0)(inputs)
    x = keras.layers.Conv3D(8, (3, 3, 3), (1, 2, 2), "same", use_bias=False)(x)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.MaxPooling3D((1, 3, 3), (1, 2, 2), "same")(x)
    y = keras_rms.models.DepthwiseConv3D(3, strides=2)(x)
    y = keras.layers.ReLU()(keras.layers.BatchNormalization()(y))
    y = keras.layers.Conv3D(8, (3, 1, 1), padding="same")(y)
    x = keras.layers.Add()([y, keras.layers.Conv3D(8, 1, 2)(x)])
    outputs = keras.layers.Dense(7)(keras.layers.GlobalAveragePooling3D()(x))
    return keras.Model(inputs, outputs)


@pytest.mark.slow
def test_tflite_as_2d_and_in_integers(tmp_path):
    """H unlike W and odd; 4 clips give the ranges, others are compared."""
    shape = (5, 23, 34, 3)
    keras.utils.set_random_seed(0)
    model = small_video_network(shape)
    export_network(model, str(tmp_path / "x"), "tflite", as_2d=True)
    assert_same(model, tmp_path / "x", "tflite", clips(shape, batch=3))
    export_network(model, str(tmp_path / "i"), "tflite", calibration=clips(shape, batch=4))
    x = np.random.default_rng(5).integers(0, 256, (3, *shape), dtype=np.uint8)
    expected = keras.ops.convert_to_numpy(model(x, training=False))
    got = exported_outputs(str(tmp_path / "i"), "tflite", x)
    assert got.dtype == np.float32
    assert 1e-4 < np.abs(got - expected).max() / np.abs(expected).max() < 0.1
    for file, dtype in (("x", np.float32), ("i", np.int8)):
        found = list(operators(tmp_path / file))
        assert {name for name, *_ in found} <= {
            *("CONV_2D", "DEPTHWISE_CONV_2D", "MAX_POOL_2D", "MEAN", "FULLY_CONNECTED", "ADD"),
            *("MUL", "PAD", "RESHAPE", "STRIDED_SLICE", "CONCATENATION", "CAST"),
            *("QUANTIZE", "DEQUANTIZE"),
        }
        # The clip itself has five axes, until it is cut into frames.
        assert [name for name, _, axes in found if axes > 4] == ["RESHAPE"]
        assert {kind for name, kind, _ in found if "CONV" in name or name == "ADD"} == {dtype}


def test_2d_and_integers_are_of_tflite(tmp_path):
    model = network("slow_only_18")
    for given in ({"as_2d": True}, {"calibration": clips(CLIP)}):
        with pytest.raises(ValueError, match=r"format='tflite'\. Received: format='saved_model'"):
            export_network(model, str(tmp_path / "x"), "saved_model", **given)
    for wrong in (clips((8, 48, 32, 3)), clips(CLIP, batch=0)):
        with pytest.raises(ValueError, match=r"inputs of shape .* Received: calibration\.shape="):
            export_network(model, str(tmp_path / "x"), "tflite", calibration=wrong)
    assert not list(tmp_path.iterdir())


def test_bad_arguments(tmp_path, monkeypatch):
    model = network("slow_only_18")
    with pytest.raises(ValueError, match="Received: format='h5'"):
        export_network(model, str(tmp_path / "x"), "h5")
    with pytest.raises(ValueError, match="Received: format='h5'"):
        exported_outputs(str(tmp_path / "x"), "h5", clips(CLIP))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="onnx and onnxruntime, not installed here: pip inst"):
        export_network(model, str(tmp_path / "x"), "onnx")
    assert not list(tmp_path.iterdir())


def command(*flags, **options):
    return command_runner.run("scripts/export.py", *flags, **options)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("with a space") / "network.keras"
    network("slow_only_18", input_shape=(8, None, None, 3)).save(path)
    return path


def test_command(tmp_path):
    # It takes floats, as those do that import-weights writes.
    inputs = keras.Input((2, None, None, 3))
    features = keras.layers.GlobalAveragePooling3D()(inputs)
    model = keras.Model(inputs, keras.layers.Dense(4)(features))
    file, output = tmp_path / "floats.keras", tmp_path / "x.tflite"
    model.save(file)
    said = command(
        f"--model={file}", "--format=tflite", f"--output={output}", "--input_shape=2,9,8,3"
    ).stdout
    assert "Loaded again, it differs from Keras by" in said
    x = np.random.default_rng(0).normal(size=(2, 2, 9, 8, 3)).astype("float32")
    assert_same(model, output, "tflite", x)


@pytest.mark.slow
def test_command_of_a_finished_training(tmp_path, file):
    settings = {"class_names": [str(i) for i in range(7)], "data": "data"}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    (tmp_path / "model.keras").write_bytes(file.read_bytes())
    output = tmp_path / "x"
    # After a training on JAX, which leaves a file for every backend.
    variables = {"KERAS_BACKEND": "jax"}
    command(f"--work_dir={tmp_path}", f"--output={output}", variables=variables, cold=True)
    for shape in (CLIP, (8, 47, 33, 3)):
        assert_same(keras.saving.load_model(file), output, "saved_model", clips(shape))


@pytest.mark.slow
def test_command_writes_integers(tmp_path):
    """With the size, the clips and the classes of the training."""
    data = small_dataset.make_dataset(tmp_path / "data")
    with few_blocks():
        model = finished_runs.make(tmp_path / "run", data)
    usual = (f"--work_dir={tmp_path / 'run'}", f"--output={tmp_path / 'x'}", "--int8")
    said = command(*usual, "--format=tflite").stdout
    assert "Top-1 of one clip of each of 9 validation videos: Keras " in said
    # Clips of the data, which gave the ranges: beyond those integers saturate.
    sizes = {"num_frames": 2, "span": 8, "crop_size": 32, "num_clips": 1}
    (batch,) = evaluation_dataset(str(data), "validation", batch_size=9, **sizes)
    x = batch["views"][:, 0].numpy()
    expected = keras.ops.convert_to_numpy(model(x, training=False))
    error = np.abs(exported_outputs(str(tmp_path / "x"), "tflite", x) - expected).max()
    assert error < 0.1 * np.abs(expected).max()
    assert np.int8 in {kind for name, kind, _ in operators(tmp_path / "x") if name == "CONV_2D"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--int8"], "are for TensorFlow Lite: give --format=tflite"),
        (["--as_2d"], "are for TensorFlow Lite: give --format=tflite"),
        (["--calibration=data"], "--calibration is for --int8"),
        (["--int8", "--format=tflite"], "does not say its num_frames, span, evaluation_crop_size"),
        (["--model=absent.keras"], "absent.keras cannot be read as a Keras model"),
        (["--format=tflite"], "`input_shape` must have no open size"),
        (["--input_shape=8,x"], "--input_shape must be sizes"),
        (["--work_dir=absent"], "either --work_dir"),
    ],
)
def test_mistakes_end_in_one_paragraph(tmp_path, file, flags, message):
    usual = [f"--model={file}", f"--output={tmp_path / 'x'}"]
    assert message in command(*usual, *flags, status=1).error
    assert not list(tmp_path.iterdir())


def test_existing_output_is_kept(tmp_path, file):
    (tmp_path / "x").write_text("mine")
    error = command(f"--model={file}", f"--output={tmp_path / 'x'}", status=1).error
    assert "exists already" in error
    assert (tmp_path / "x").read_text() == "mine"
