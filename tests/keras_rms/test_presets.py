"""Published networks by name: the table, the way into the cache, and what can go wrong there."""

import errno
import inspect
import io
import json
import re
import shutil
import socket
from functools import partial

import foreign_checkpoints as foreign
import keras
import numpy as np
import pytest
from keras.src.utils import file_utils
from paths import ROOT
from preset_server import publishing

import keras_rms
from keras_rms import models
from keras_rms.checkpoints.importing import SOURCES
from keras_rms.inference import open_file
from keras_rms.models import csn, presets, slow_fast, slow_only
from keras_rms.models.catalog import BUILDERS
from keras_rms.models.network_record import read_record
from keras_rms.models.presets import conversion, downloads, loading
from keras_rms.models.presets.downloads import ChangedFileError
from keras_rms.models.presets.opening import clip_settings
from keras_rms.training.networks import network_of
from keras_rms.training.recipe import Recipe
from keras_rms.training.run import Run
from keras_rms.training.running import Running
from keras_rms.training.work_dir.initial_weights import clips_note, initialise_from, weights_file
from pipelines.input import sampling

torch = pytest.importorskip("torch")

NAME = "tiny_kinetics400"
MEAN, STDDEV = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
ROW = presets.PRESETS["slow_only_50_kinetics400_mmaction2"]._replace(
    architecture="slow_only_18", num_frames=2, stride=4, width=4
)


@pytest.fixture(scope="module")
def original():
    """A narrow network as mmaction2 has it, of clips normalised by hand, and its checkpoint."""
    network = models.SlowOnly(18, 400, (2, None, None, 3), width=4, rms=None)
    foreign.randomize(network, 1)
    content = io.BytesIO()
    named = foreign.tensors(network, foreign.mmaction2)
    named["data_preprocessor.mean"] = np.ones((3, 1, 1, 1))  # as mmaction2 files it in training
    foreign.write_torch(content, named, "state_dict")
    return network, content.getvalue()


@pytest.fixture
def publisher(original, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    with publishing(original[1]) as server:
        monkeypatch.setitem(presets.PRESETS, NAME, ROW._replace(address=f"{server.address}/a.pth"))
        yield server


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "home" / "models" / "keras_rms"


def names_in(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def clips(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (2, 2, 33, 46, 3)).astype("uint8")


def logits(network, x):
    return keras.ops.convert_to_numpy(network(x, training=False))


CONVERTED = f"{NAME}-{conversion.VERSION}.keras"
DONE = ["a.pth.sha256.json", CONVERTED]


@pytest.mark.parametrize("name", presets.PRESETS)
def test_rows_of_the_table(name):
    row = presets.PRESETS[name]
    assert name.startswith(row.architecture[: row.architecture.index("_") + 1])
    assert re.fullmatch(r"https://[\w./-]+/[\w.-]+\.(pyth|pth)", row.address)
    assert row.address.startswith("https://download.openmmlab.com/") == (row.source == "mmaction2")
    assert name.endswith("_mmaction2") == (row.source == "mmaction2") == row.address.endswith("pth")
    if row.source == "mmaction2" and "df42dc84" not in row.address:
        assert re.fullmatch("[0-9a-f]{8}", row.sha256_start)
    else:
        assert row.sha256_start is None
    assert 50 < row.top1 < row.top5 < 100 and row.licence == "Apache-2.0"
    assert len(set(presets.class_names(row.dataset))) == {"k": 400, "s": 174}[row.dataset[0]]
    taken = inspect.signature(BUILDERS[row.architecture]).parameters
    assert conversion.builder_arguments(row).keys() <= taken.keys()
    kept = {"num_classes", "width", "input_shape"}
    options = conversion.clip_settings(row)["network_options"]
    assert options.keys() == conversion.builder_arguments(row).keys() - kept
    assert row.span in (None, 64, 128)
    assert [other.address for other in presets.PRESETS.values()].count(row.address) == 1


def test_the_documents_have_the_table():
    text = (ROOT / "keras_rms" / "README.md").read_text()
    line = r"^\| `(\w+)` \| (\d+) x (\w+) \| .* \| ([\d.]+) \| ([\d.]+) \|$"
    listed = re.findall(line, text, re.MULTILINE)
    for (name, *facts), (expected, row) in zip(listed, presets.PRESETS.items(), strict=True):
        stride = str(row.stride or "even")
        assert name == expected
        assert facts == [str(row.num_frames), stride, f"{row.top1:.2f}", f"{row.top5:.2f}"]
    assert f"{len(listed)} of PyTorchVideo and mmaction2" in (ROOT / "README.md").read_text()


@pytest.mark.slow
def test_the_key_maps_cover_every_family_of_the_table(monkeypatch):
    """With one block a stage: `test_import_checkpoint` has the depths of real checkpoints."""
    few = (1, 1, 1, 1)
    for depth in (50, 101, 152):
        monkeypatch.setitem(slow_only.BLOCKS, depth, (few, True))
        monkeypatch.setitem(slow_fast.BLOCKS, depth, few)
        monkeypatch.setitem(csn.BLOCKS, depth, few)
    sources = {source.NAME: source for source in SOURCES}
    namings = {"PyTorchVideo": foreign.pytorchvideo, "mmaction2": foreign.mmaction2}
    # 16x8 has the names of 8x8, but kernels of blocks that are not there.
    rows = [row for row in presets.PRESETS.values() if "16x8" not in row.architecture]
    families = {(row.source, re.match(r"[a-z_]+", row.architecture)[0]): row for row in rows}
    for (source, _), row in families.items():
        name, naming = row.architecture, namings[source]
        if source == "mmaction2" and "csn" in name:
            naming = partial(naming, interaction=name[:2])
        network = models.build(
            name, width=8, num_classes=2, rms=None, **sources[source].arguments(name)
        )
        paths = sources[source].paths(foreign.tensors(network, naming))
        places = {f"{layer.name}/{w.name}" for layer in network.layers for w in layer.weights}
        assert set(paths.values()) == places, (source, name)


@pytest.mark.slow
def test_a_name_is_downloaded_once_and_takes_uint8_clips(publisher, original, folder):
    network = models.from_preset(NAME)
    expected = logits(original[0], ((clips() / 255 - MEAN) / STDDEV).astype("float32"))
    np.testing.assert_allclose(network.predict(clips(), verbose=0), expected, atol=1e-5)
    assert expected.std() > 1e-3
    assert names_in(folder) == DONE and publisher.requests == 1
    publisher.content = None  # offline
    trained = models.from_preset(NAME, rms="mean", num_classes=3, input_shape=(2, 32, 32, 3))
    assert trained.output_shape == (None, 3) and trained.input_shape == (None, 2, 32, 32, 3)
    assert any(isinstance(layer, keras_rms.RandomMeanScaling) for layer in trained.layers)
    for layer in network.layers:
        if layer.weights and layer.name != loading.CLASSIFIER:
            for new, old in zip(trained.get_layer(layer.name).weights, layer.weights):
                np.testing.assert_array_equal(new.numpy(), old.numpy())
    assert publisher.requests == 1
    record = read_record(presets.network_file(NAME))
    assert (record["num_frames"], record["span"], record["class_names"][398]) == (2, 8, "yoga")
    assert weights_file(NAME) == folder / CONVERTED


def test_a_mixed_policy_does_not_enter_the_cache(publisher):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        path = presets.network_file(NAME)
    finally:
        keras.config.set_dtype_policy("float32")
    kept = keras.saving.load_model(path)
    assert {layer.dtype_policy.name for layer in kept.layers if layer.weights} == {"float32"}


def test_blue_green_red_becomes_red_green_blue(publisher, original, monkeypatch):
    row = presets.PRESETS[NAME]._replace(
        source="PyTorchVideo", channels="BGR", mean=0.45, stddev=0.225
    )
    monkeypatch.setitem(presets.PRESETS, NAME, row)
    content = io.BytesIO()
    foreign.write_torch(content, foreign.tensors(original[0], foreign.pytorchvideo))
    publisher.content = content.getvalue()
    bgr = ((clips()[..., ::-1] / 255 - 0.45) / 0.225).astype("float32")
    received = logits(models.from_preset(NAME), clips())
    np.testing.assert_allclose(received, logits(original[0], bgr), atol=1e-5)


FAULTS = {
    "half": (lambda server: setattr(server, "missing", 99), OSError, "could not be downloaded"),
    "absent": (lambda server: setattr(server, "content", None), OSError, "404"),
    "page": (
        lambda server: setattr(server, "content", b"<html>log in</html>"),
        ValueError,
        "is not the checkpoint of the preset",
    ),
    "other": (
        lambda server: setattr(server, "content", server.content[:-99]),
        ValueError,
        "is not the checkpoint of the preset",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failed_download_leaves_nothing_that_is_used(publisher, folder, fault):
    whole = publisher.content
    spoil, kind, message = FAULTS[fault]
    spoil(publisher)
    with pytest.raises(kind, match=message):
        presets.network_file(NAME)
    assert set(names_in(folder)) <= {"refused.a.pth"}
    publisher.content, publisher.missing = whole, 0
    assert presets.network_file(NAME).exists()


def test_no_network_and_a_full_disk(publisher, folder, monkeypatch):
    def full(address, path, _):
        with open(path, "wb") as file:
            file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(file_utils, "urlretrieve", full)
    with pytest.raises(OSError, match="No space left on device"):
        presets.network_file(NAME)
    assert names_in(folder) == []
    monkeypatch.undo()
    monkeypatch.setenv("KERAS_HOME", str(folder.parents[1]))
    row = ROW._replace(address="http://127.0.0.1:9/a.pth")  # nobody listens there
    monkeypatch.setitem(presets.PRESETS, NAME, row)
    with pytest.raises(OSError, match=r"put it there as \S+/keras_rms/a\.pth"):
        presets.network_file(NAME)
    assert names_in(folder) == []


@pytest.mark.parametrize("begins", [True, False])
def test_a_server_that_falls_silent(publisher, folder, monkeypatch, begins):
    monkeypatch.setattr(downloads, "PATIENCE", 0.2)
    publisher.missing, publisher.silence = 99, 5
    with socket.create_server(("127.0.0.1", 0)) as mute:
        if not begins:  # the kernel accepts, and nobody answers
            address = f"http://127.0.0.1:{mute.getsockname()[1]}/a.pth"
            monkeypatch.setitem(presets.PRESETS, NAME, ROW._replace(address=address))
        with pytest.raises(OSError, match=r"no byte came for 0\.2 seconds\)\. It is needed once"):
            presets.network_file(NAME)
    assert names_in(folder) == [] and socket.getdefaulttimeout() is None


def test_a_changed_file_is_refused(publisher, folder, monkeypatch):
    path = presets.network_file(NAME)
    path.unlink()
    publisher.content += b"\0"
    with pytest.raises(ChangedFileError, match="has changed: its SHA-256 is"):
        presets.network_file(NAME)
    assert names_in(folder) == ["a.pth.sha256.json", "refused.a.pth"]
    (folder / "a.pth.sha256.json").write_text("[]")
    with pytest.raises(ChangedFileError, match="is damaged"):
        presets.network_file(NAME)
    row = presets.PRESETS[NAME]._replace(address=f"{publisher.address}/b-00000000.pth")
    monkeypatch.setitem(presets.PRESETS, NAME, row)
    with pytest.raises(ChangedFileError, match="says that it begins with 00000000"):
        presets.network_file(NAME)


def test_half_a_file_that_lies_in_the_cache_is_set_aside(publisher, folder):
    folder.mkdir(parents=True)
    (folder / "a.pth").write_bytes(publisher.content[:1000])
    with pytest.raises(ValueError, match=r"set aside as \S+/refused\.a\.pth"):
        presets.network_file(NAME)
    presets.network_file(NAME)
    assert names_in(folder) == sorted([*DONE, "refused.a.pth"]) and publisher.requests == 1


@pytest.mark.slow
def test_a_full_disk_and_a_kill_while_it_is_converted(publisher, folder, monkeypatch):
    class Killed(BaseException):
        pass

    def die(*_):
        raise Killed

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(conversion, "add_record", full)
    with pytest.raises(OSError, match="the download is kept"):
        presets.network_file(NAME)
    assert names_in(folder) == ["a.pth"]
    monkeypatch.setattr(conversion, "add_record", die)
    with pytest.raises(Killed):
        presets.network_file(NAME)
    assert names_in(folder) == ["a.pth"]
    monkeypatch.undo()
    monkeypatch.setenv("KERAS_HOME", str(folder.parents[1]))
    row = ROW._replace(address=f"{publisher.address}/a.pth")
    monkeypatch.setitem(presets.PRESETS, NAME, row)
    presets.network_file(NAME)
    assert names_in(folder) == DONE and publisher.requests == 1


@pytest.mark.parametrize("place", ["downloads.downloaded", "_converted", "whole_file"])
def test_two_processes_at_once(publisher, folder, monkeypatch, place):
    """The second does all while the first is at any of three places."""
    owner, _, name = place.rpartition(".")
    owner = downloads if owner else conversion
    function = getattr(owner, name)

    def interrupted(*arguments, **options):
        monkeypatch.setattr(owner, name, function)
        if place == "whole_file":  # after what the first has converted
            presets.network_file(NAME)
            return function(*arguments, **options)
        result = function(*arguments, **options) if owner is downloads else None
        presets.network_file(NAME)
        return result or function(*arguments, **options)

    monkeypatch.setattr(owner, name, interrupted)
    assert models.from_preset(NAME).output_shape == (None, 400)
    assert names_in(folder) == DONE


def test_a_cache_that_cannot_be_written(publisher, folder, monkeypatch):
    monkeypatch.setattr(downloads.os, "access", lambda *_: False)
    with pytest.raises(OSError, match="Set the environment variable KERAS_HOME"):
        presets.network_file(NAME)
    monkeypatch.setattr(downloads.os, "access", lambda *_: True)
    presets.network_file(NAME)
    monkeypatch.setattr(downloads.os, "access", lambda *_: False)
    assert presets.network_file(NAME).exists()  # what is there is read


def test_a_damaged_network_in_the_cache_is_named(publisher):
    path = presets.network_file(NAME)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match=rf"If {path} is damaged, delete it"):
        models.from_preset(NAME)


@pytest.mark.parametrize(
    ("preset", "options", "message"),
    [
        ("slow_only_50_kinetic400", {}, "Near names: slow_only_50_kinetics400,"),
        ("SLOW_ONLY_50_Kinetics400", {}, "Near names: slow_only_50_kinetics400,"),
        ("/nowhere/9", {}, r"no such folder\. `keras_rms.* Received: '/nowhere/9'"),
        ("../slow_only_50_kinetics400", {}, r"Received: '\.\./slow_only"),
        ("slow_only_50_kinetics400", {"width": 8}, "belongs to the preset. Received: width"),
        ("/", {}, "lacks config.json and model.weights.h5"),
        ("hf://name", {}, "is hf://USER/NAME"),
    ],
)
def test_wrong_presets(preset, options, message, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", object())
    with pytest.raises(ValueError, match=message):
        models.from_preset(preset, **options)


@pytest.mark.slow
def test_a_folder_of_a_builder(publisher, tmp_path, monkeypatch):
    network = models.from_preset(NAME, num_classes=3, dropout=0.1)
    preprocessor = models.VideoPreprocessor(2, 8, 32, frame_rate=30)
    place = tmp_path / "mine"
    models.save_to_preset(network, place, class_names="abc", preprocessor=preprocessor)
    again = models.from_preset(place, rms="gaussian")
    np.testing.assert_array_equal(logits(again, clips()), logits(network, clips()))
    assert again.get_layer("head_dropout").rate == 0.1
    assert models.from_preset(place, num_classes=5, include_top=False).output_shape == (None, 32)
    assert presets.names_of(place) == ["a", "b", "c"]
    assert models.VideoPreprocessor.from_preset(place, num_clips=2).get_config() == {
        "num_frames": 2,
        "span": 8,
        "crop_size": 32,
        "num_clips": 2,
        "frame_rate": 30,
    }
    assert clip_settings(place)["conversion"] == {"fps": 30}
    # Named and saved, a network is evaluated at the same frame rate.
    monkeypatch.setitem(presets.PRESETS, NAME, ROW._replace(source="PyTorchVideo"))
    assert loading.preprocessor_config(NAME)["frame_rate"] == 30
    monkeypatch.setitem(presets.PRESETS, NAME, ROW)
    assert loading.preprocessor_config(NAME)["frame_rate"] is None
    hub = type("Hub", (), {"snapshot_download": lambda _, **__: place})
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", hub)
    assert models.from_preset("hf://somebody/mine").output_shape == (None, 3)

    def refuse(*_, **__):
        raise FileNotFoundError("Please check your internet connection")

    hub.snapshot_download = refuse
    with pytest.raises(OSError, match=r"hf://somebody/mine could not be fetched.*\(Please check"):
        models.from_preset("hf://somebody/mine")
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match="is hf://USER/NAME"):
        models.from_preset("hf://mine")
    with pytest.raises(ImportError, match="pip install huggingface_hub"):
        models.from_preset("hf://somebody/mine")
    with pytest.raises(ValueError, match="2 names for 3 outputs"):
        models.save_to_preset(network, place, class_names="ab")
    models.save_to_preset(network, place)
    assert presets.names_of(place) is None
    with pytest.raises(ValueError, match=r"lacks preprocessor\.json"):
        models.VideoPreprocessor.from_preset(place)
    (place / "assets" / "class_names.json").write_text('["a", "b"]')
    with pytest.raises(ValueError, match="has 2 names, but the network 3 outputs"):
        models.from_preset(place)
    config = json.loads((place / "config.json").read_text())
    config["config"]["colour"] = 1
    (place / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="unexpected keyword argument 'colour'"):
        models.from_preset(place)
    for name, message in (("preprocessor", "does not describe a `Video"), ("config", "a network")):
        (place / f"{name}.json").write_text("[1]")
        with pytest.raises(ValueError, match=message):
            models.from_preset(place)
    (place / "config.json").write_text('{"module": "keras_rms.models", "class_name": "x", ')
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        models.from_preset(place)
    (place / "config.json").unlink()
    with pytest.raises(ValueError, match=r"it lacks config\.json\. A preset folder has"):
        models.from_preset(place)


def test_a_training_starts_from_what_the_preset_computes(publisher, tmp_path):
    """Its normalisation is ImageNet's, not that of our networks, and a run has to keep it."""
    preset = models.from_preset(NAME)
    models.save_to_preset(preset, tmp_path / "folder")
    (tmp_path / "before").mkdir()
    shutil.copy(presets.network_file(NAME), tmp_path / "before" / "model.keras")
    options = {"include_preprocessing": {"mean": [*ROW.mean], "stddev": [*ROW.stddev]}}
    recipe = Recipe("slow_only_18", num_frames=2, width=4, rms="none")
    for source in (NAME, tmp_path / "folder", tmp_path / "before"):
        run = Run(recipe, Running(tmp_path / "run", init_from=source))
        assert json.loads(json.dumps(run.recipe.network_options)) == options
    network = network_of(run.recipe, 400)
    for source in (tmp_path / "folder", NAME):
        keras.tree.map_structure(lambda weight: weight.assign(weight * 0), network.weights)
        assert initialise_from(network, source).new == []
        np.testing.assert_allclose(logits(network, clips()), logits(preset, clips()), atol=1e-5)
    with pytest.warns(UserWarning, match="its scale of preprocessing is"):
        initialise_from(network_of(recipe, 400), NAME)
    # It goes on as it began, whatever became of its source.
    checkpoint = tmp_path / "run" / "checkpoints" / "step_0000000001.npz"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    (tmp_path / "run" / "settings.json").write_text(json.dumps({"network_options": options}))
    again = Run(recipe, Running(tmp_path / "run", init_from="gone"))
    assert again.recipe.network_options == options


def test_a_folder_is_opened_as_a_file_is(publisher, tmp_path):
    preset = models.from_preset(NAME)
    preprocessor = models.VideoPreprocessor(2, None, 32)
    names = [str(number) for number in range(400)]
    models.save_to_preset(preset, tmp_path, class_names=names, preprocessor=preprocessor)
    opened = open_file(tmp_path)
    assert opened.class_names == names and opened.usual_views == (1, 3)
    assert opened.settings["evaluation_crop_size"] == 32
    assert opened.source == str(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(logits(opened.model, clips()), logits(preset, clips()))
    assert open_file(presets.network_file(NAME)).usual_views == (10, 3)
    assert "of 2 frames over 8, and these are of 8 over 64" in clips_note(
        presets.network_file(NAME), 8, 64
    )
    assert clips_note(presets.network_file(NAME), 2, 8) == ""


def test_a_folder_of_any_network(tmp_path):
    inputs = keras.Input((4, 4, 2))
    outputs = keras.layers.Dense(3, name="head")(keras.layers.Flatten()(inputs))
    network = keras.Model(inputs, outputs)
    models.save_to_preset(network, tmp_path)
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 2))
    np.testing.assert_array_equal(logits(models.from_preset(tmp_path), x), logits(network, x))
    assert models.from_preset(tmp_path, num_classes=7).output_shape == (None, 7)
    with pytest.raises(ValueError, match=r"`keras_rms\.insert_before` for RMS\. Received: rms"):
        models.from_preset(tmp_path, rms="mean")


@pytest.mark.parametrize(("length", "num_clips"), [(100, 1), (100, 3), (21, 2), (5, 1), (1, 2)])
def test_frames_are_those_of_the_evaluation(length, num_clips):
    video = np.broadcast_to(
        np.arange(length, dtype="uint8")[:, None, None, None], (length, 9, 7, 3)
    )
    received = models.VideoPreprocessor(4, 20, 7, num_clips)(video)
    starts = sampling.evaluation_starts(length, num_clips, 20).numpy()
    expected = np.minimum(starts[:, None] + 5 * np.arange(4), length - 1)
    np.testing.assert_array_equal(received[:, :, 3, 3, 0], expected)
    assert received.shape == (num_clips, 4, 7, 7, 3) and received.dtype == np.uint8


def test_frames_of_the_whole_video_and_their_centre():
    # 9 frames in 4 parts: ends at 0, 2, 4, 6, 8.
    video = np.zeros((9, 12, 21, 3), "uint8") + np.arange(9, dtype="uint8")[:, None, None, None]
    received = models.VideoPreprocessor(4, None, 4)(video)
    assert received[0, :, 0, 0, 0].tolist() == [1, 3, 5, 7]
    assert sampling.middle_frames(9, 4).numpy().tolist() == [1, 3, 5, 7]
    ramp = np.zeros((1, 8, 16, 3), "uint8") + (8 * np.arange(16, dtype="uint8"))[:, None]
    scaled = models.VideoPreprocessor(1, 1, 4)(ramp)[0, 0]
    assert scaled.shape == (4, 4, 3)
    np.testing.assert_allclose(scaled[:, :, 0], np.tile([36, 52, 68, 84], (4, 1)), atol=1)


def test_preprocessors_that_are_refused():
    with pytest.raises(ValueError, match="multiple of num_frames"):
        models.VideoPreprocessor(8, 60)
    with pytest.raises(ValueError, match="`frame_rate` must be a positive number"):
        models.VideoPreprocessor(8, 64, frame_rate=0)
    with pytest.raises(ValueError, match=r"Received: float64 of shape \(2, 4, 4, 3\)"):
        models.VideoPreprocessor(2, 2)(np.zeros((2, 4, 4, 3)))


def test_decoding():
    values = np.zeros((2, 174), "float32")
    values[0, [5, 173]] = 4, 5
    (first, second) = models.decode_predictions(values, top=2)
    assert [name for name, _ in first] == ["Wiping something off of something", "Closing something"]
    np.testing.assert_allclose(first[0][1], np.exp(5) / (np.exp(5) + np.exp(4) + 172))
    assert second[0][0] == "Approaching something with your camera"
    assert models.decode_predictions([[0.0, 2.0]], names="ab")[0][0][0] == "b"
    for wrong, options, message in (
        (values[0], {}, r"Received: shape=\(174,\)"),
        (np.full((1, 4), 0.25), {"names": "abcd"}, "probabilities"),
        (np.zeros((1, 7)), {}, "must be given for a network of 7 classes"),
        (np.zeros((1, 7)), {"names": "ab"}, "2 names for 7 classes"),
    ):
        with pytest.raises(ValueError, match=message):
            models.decode_predictions(wrong, **options)
    with pytest.raises(ValueError, match="`dataset` must be one of"):
        presets.class_names("ucf101")
