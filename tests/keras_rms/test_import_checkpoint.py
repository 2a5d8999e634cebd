"""Checkpoints of every naming come in whole, or not at all."""

import json
import sys
from functools import partial
from types import SimpleNamespace

import foreign_checkpoints as foreign
import keras
import numpy as np
import pytest
from paths import SHARED

import keras_rms.models
from keras_rms.checkpoints import import_checkpoint, mmaction2, pytorchvideo
from keras_rms.checkpoints.importing import SOURCES

torch = pytest.importorskip("torch")

SPECS = SHARED / "reference" / "specs"
# The reference's checkpoints: spec, our network, naming.
CHECKPOINTS = {
    "slow_r50": ("slow_only_50", foreign.pytorchvideo),
    "slow_r101": ("slow_only_101", foreign.pytorchvideo),
    "slowfast_r50": ("slow_fast_50_8x8", foreign.pytorchvideo),
    "slowfast_r50_4x16": ("slow_fast_50_4x16", foreign.pytorchvideo),
    "slowfast_r101": ("slow_fast_101_8x8", foreign.pytorchvideo),
    "csn_r50": ("ir_csn_50", foreign.pytorchvideo),
    "csn_r101": ("ir_csn_101", foreign.pytorchvideo),
    "mma_slowonly_r18": ("slow_only_18", foreign.mmaction2),
    "mma_slowonly_r34": ("slow_only_34", foreign.mmaction2),
    "mma_ircsn_r50": ("ir_csn_50", partial(foreign.mmaction2, interaction="ir")),
    "mma_ircsn_r152": ("ir_csn_152", partial(foreign.mmaction2, interaction="ir")),
    "mma_ipcsn_r50": ("ip_csn_50", partial(foreign.mmaction2, interaction="ip")),
    "mma_ipcsn_r101": ("ip_csn_101", partial(foreign.mmaction2, interaction="ip")),
    "mma_ipcsn_r152": ("ip_csn_152", partial(foreign.mmaction2, interaction="ip")),
    "mma_slowfast_r50": ("slow_fast_50_8x8", foreign.mmaction2),
    "sf_slow_r50": ("slow_only_50", foreign.pyslowfast),
    "sf_slowfast_r50": ("slow_fast_50_8x8", foreign.pyslowfast),
}
MMACTION2_SLOW_FAST = {"slow_frames": "stride", "lateral_norm": False, "head_order": "fast_slow"}
# What each source is known to do otherwise than our builders' defaults.
HABITS = {
    ("mmaction2", "slow_fast_50_8x8"): MMACTION2_SLOW_FAST,
    ("mmaction2", "slow_fast_101_8x8"): MMACTION2_SLOW_FAST | {"lateral_kernel": 7},
    ("mmaction2", "ir_csn_50"): {"epsilon": 1e-3},
    ("mmaction2", "ip_csn_50"): {"epsilon": 1e-3},
}
NARROW = {"width": 8, "num_classes": 7}


def network(name, source, seed=1, **arguments):
    """A narrow network as the source has it, with random weights."""
    habits = HABITS.get((source, name), {})
    model = keras_rms.models.build(
        name, rms=None, input_shape=(8, None, None, 3), **NARROW, **habits, **arguments
    )
    foreign.randomize(model, seed)
    return model


def logits(model, frames=8):
    clip = np.random.default_rng(2).normal(size=(2, frames, 34, 49, 3)).astype("float32")
    return keras.ops.convert_to_numpy(model(clip, training=False))


@pytest.fixture(scope="module")
def slow_only():
    """A narrow SlowOnly-18 and its tensors under mmaction2's names."""
    model = network("slow_only_18", "mmaction2")
    return model, foreign.tensors(model, foreign.mmaction2)


def imported(path, name="slow_only_18", **arguments):
    return import_checkpoint(name, path, input_shape=(8, None, None, 3), **arguments)


def assert_same(model, expected):
    np.testing.assert_array_equal(logits(model), logits(expected))


@pytest.mark.parametrize("spec", CHECKPOINTS)
@pytest.mark.skipif(not SPECS.is_dir(), reason="../shared/reference is not there")
def test_names_are_those_of_the_real_checkpoints(spec):
    """The names that these tests write are what the projects write, and every one is known."""
    rows = json.loads((SPECS / f"{spec}.json").read_text())["state_dict"]
    real = {name for name, _ in rows}
    name, naming = CHECKPOINTS[spec]
    source = next(source for source in SOURCES if source.recognizes(real))
    model = network(name, source.NAME)
    assert set(foreign.tensors(model, naming)) == real
    paths = source.paths(dict.fromkeys(real, np.zeros(1)))
    places = {f"{layer.name}/{w.name}" for layer in model.layers for w in layer.weights}
    assert set(paths.values()) == places
    assert set(real) - set(paths) == {n for n in real if n.endswith("num_batches_tracked")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "source", "naming"),
    [
        ("slow_only_50", "PyTorchVideo", foreign.pytorchvideo),
        ("slow_only_50", "PySlowFast", foreign.pyslowfast),
        ("slow_only_18", "mmaction2", foreign.mmaction2),
        ("slow_fast_50_4x16", "PyTorchVideo", foreign.pytorchvideo),
        ("slow_fast_50_8x8", "PySlowFast", foreign.pyslowfast),
        ("slow_fast_50_8x8", "mmaction2", foreign.mmaction2),
        ("ir_csn_50", "PyTorchVideo", foreign.pytorchvideo),
        ("ir_csn_50", "mmaction2", partial(foreign.mmaction2, interaction="ir")),
        ("ip_csn_50", "mmaction2", partial(foreign.mmaction2, interaction="ip")),
    ],
)
def test_computes_what_the_source_computes(tmp_path, name, source, naming):
    expected = network(name, source)
    key = "state_dict" if source == "mmaction2" else "model_state"
    path = foreign.write_torch(tmp_path / "x.pyth", foreign.tensors(expected, naming), key)
    result = imported(path, name)
    assert result.source == source and result.has_classifier
    assert_same(result.model, expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["slow_only_50", "slow_fast_50_8x8"])
def test_caffe2(tmp_path, name):
    expected = network(name, "PySlowFast")
    path = foreign.write_caffe2(tmp_path / "x.pkl", foreign.tensors(expected, foreign.caffe2))
    result = imported(path, name)
    assert result.source == "PySlowFast"
    assert_same(result.model, expected)


def test_lateral_kernel_of_mmaction2():
    assert mmaction2.arguments("slow_fast_101_8x8") == HABITS["mmaction2", "slow_fast_101_8x8"]
    assert "lateral_kernel" not in mmaction2.arguments("slow_fast_50_4x16")


@pytest.mark.parametrize("wrapper", ["module.", "model.", "module.model."])
def test_prefixes_of_wrappers(tmp_path, slow_only, wrapper):
    model, named = slow_only
    wrapped = {wrapper + name: value for name, value in named.items()}
    path = foreign.write_torch(tmp_path / "x.pth", wrapped, legacy=True)
    assert_same(imported(path).model, model)


@pytest.mark.slow
def test_state_dict_alone_and_beside_a_training_state(tmp_path, slow_only):
    model, named = slow_only
    state = {name: torch.from_numpy(np.array(value)) for name, value in named.items()}
    torch.save(state, tmp_path / "alone.pth")
    assert_same(imported(tmp_path / "alone.pth").model, model)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(3))], lr=0.1, momentum=0.9)
    path = foreign.write_torch(
        tmp_path / "trained.pth", named, epoch=196, optimizer_state=optimizer.state_dict(), cfg="x"
    )
    assert_same(imported(path).model, model)


@pytest.mark.slow
def test_result_serves_the_network_with_rms(tmp_path, slow_only):
    model, named = slow_only
    result = imported(foreign.write_torch(tmp_path / "x.pth", named))
    for file in ("net.keras", "net.weights.h5"):
        save = result.model.save if file.endswith(".keras") else result.model.save_weights
        save(tmp_path / file)
        twin = keras_rms.models.SlowOnly(
            depth=18, rms="mean", input_shape=(8, None, None, 3), weights=tmp_path / file, **NARROW
        )
        assert_same(twin, model)
    assert_same(keras.saving.load_model(tmp_path / "net.keras"), model)


def test_another_number_of_classes_starts_the_classifier_anew(tmp_path, slow_only):
    model, named = slow_only
    path = foreign.write_torch(tmp_path / "x.pth", named)
    result = imported(path, num_classes=5)
    assert not result.has_classifier
    assert result.model.output_shape == (None, 5)
    assert imported(path, num_classes=NARROW["num_classes"]).has_classifier
    for layer in model.layers:
        if layer.weights and layer.name != "head_dense":
            for new, old in zip(result.model.get_layer(layer.name).weights, layer.weights):
                np.testing.assert_array_equal(new.numpy(), old.numpy())


def broken(named, change):
    named = dict(named)
    change(named)
    return named


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda n: n.pop("backbone.layer2.1.conv2.bn.running_var"),
            "missing .*: res3_block1_bn2/moving_variance",
        ),
        (
            lambda n: n.update({"backbone.layer9.0.conv1.conv.weight": np.zeros(2)}),
            r"left over: backbone\.layer9\.0\.conv1\.conv\.weight",
        ),
        (
            lambda n: n.update({"backbone.layer1.0.conv1.bn.bias": np.zeros(9)}),
            r"of a wrong shape: backbone\.layer1\.0\.conv1\.bn\.bias is \(9,\), the network's \(8,",
        ),
        (
            lambda n: n.update({"backbone.conv1.bn.running_mean": np.full(8, np.nan, "float32")}),
            r"not finite: backbone\.conv1\.bn\.running_mean",
        ),
        (
            lambda n: n.update({"module.backbone.conv1.bn.bias": np.zeros(8)}),
            r"twice: backbone\.conv1\.bn\.bias and module\.backbone\.conv1\.bn\.bias",
        ),
        (lambda n: n.pop("cls_head.fc_cls.bias"), "lacks the parameter for head_dense/bias"),
        (lambda n: n.pop("backbone.conv1.conv.weight"), "lacks the parameter for stem_conv"),
    ],
)
def test_every_parameter_is_accounted_for(tmp_path, slow_only, change, message):
    path = foreign.write_torch(tmp_path / "x.pth", broken(slow_only[1], change))
    with pytest.raises(ValueError, match=message):
        imported(path)


def test_another_network(tmp_path, slow_only):
    path = foreign.write_torch(tmp_path / "x.pth", slow_only[1])
    with pytest.raises(ValueError, match=r"x\.pth \(mmaction2\) does not fit slow_only_34.*more"):
        imported(path, "slow_only_34")
    with pytest.raises(ValueError, match="Received: name='resnet_50'"):
        imported(path, "resnet_50")


def test_unknown_names(tmp_path):
    path = foreign.write_torch(tmp_path / "x.pth", {"conv1.weight": np.zeros(3)})
    with pytest.raises(ValueError, match=r"is no checkpoint of.*\(conv1\.weight"):
        imported(path)


@pytest.fixture
def reference(monkeypatch):
    """The reference's own modules, which write its files and know the originals' logits."""
    if not SPECS.is_dir():
        pytest.skip("../shared/reference is not there")
    monkeypatch.syspath_prepend(SPECS.parent)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    import check
    import make_checkpoint
    import weights

    return SimpleNamespace(check=check, weights=weights, make=make_checkpoint.make)


def clip_of(reference, spec, case):
    clip = reference.weights.case_inputs(SPECS / f"{spec}.json", case)[-1]
    return clip.transpose(0, 2, 3, 4, 1)


def assert_reference_s_logits(reference, spec, model):
    for case in ("a", "b"):
        clip = clip_of(reference, spec, case)
        logits = keras.ops.convert_to_numpy(model(clip, training=False))
        assert np.isfinite(logits).all() and logits.shape == (len(clip), 400)
        if (SPECS.parent / "logits" / f"{spec}.npz").exists():
            slow_frames = "linspace" if spec == "slowfast_r50" else "stride"
            assert reference.check.check(spec, logits, case, slow_frames)


OPEN = (None, None, None, 3)


@pytest.fixture(scope="module")
def imported_files():
    """Spec -> the network from the reference's own file, for all tests; nobody may change it."""
    return {}


@pytest.fixture
def of_the_file(imported_files, reference, tmp_path):
    def imported_from(spec):
        if spec not in imported_files:
            path = reference.make(spec, str(tmp_path / "x.pyth"))
            result = import_checkpoint(CHECKPOINTS[spec][0], path, input_shape=OPEN)
            imported_files[spec] = result.model
        return imported_files[spec]

    return imported_from


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["slow_r50", "csn_r50", "mma_slowfast_r50", "mma_ircsn_r50"])
def test_full_width_checkpoints_give_the_reference_s_logits(tmp_path, reference, of_the_file, spec):
    """The reference's own files, weights, inputs and, for the first three, stored logits."""
    of_the_file(spec).save(tmp_path / "x.keras")
    model = keras.saving.load_model(tmp_path / "x.keras")
    rows = json.loads((SPECS / f"{spec}.json").read_text())
    assert len(model.weights) == sum(not n.endswith("_tracked") for n, _ in rows["state_dict"])
    assert_reference_s_logits(reference, spec, model)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "naming"), [("slow_r50", foreign.pyslowfast), ("slowfast_r50", foreign.caffe2)]
)
def test_full_width_checkpoints_of_pyslowfast(tmp_path, reference, of_the_file, spec, naming):
    """PyTorchVideo's weights under the names of PySlowFast, which computes the same."""
    named = foreign.tensors(of_the_file(spec), naming)
    write = foreign.write_caffe2 if naming is foreign.caffe2 else foreign.write_torch
    result = import_checkpoint(
        CHECKPOINTS[spec][0], write(tmp_path / "y.pkl", named), input_shape=OPEN
    )
    assert result.source == "PySlowFast" and result.has_classifier
    assert_reference_s_logits(reference, spec, result.model)


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["slow_r50", "slowfast_r50", "csn_r50"])
def test_full_width_networks_train_as_the_originals_do(reference, of_the_file, spec):
    """The loss and the gradients' norms of a step on batch statistics, one of each family."""
    tf = pytest.importorskip("tensorflow")
    options = {"slow_frames": "stride"} if spec.startswith("slowfast") else {}
    model = keras_rms.models.build(
        CHECKPOINTS[spec][0], rms=None, dropout=0.0, input_shape=OPEN, **options
    )
    model.set_weights(of_the_file(spec).get_weights())
    expected = reference.check.load(spec)[1]["train_a"]
    paths = pytorchvideo.paths(dict.fromkeys(expected["grad_l2"]))
    variables = {f"{layer.name}/{w.name}": w for layer in model.layers for w in layer.weights}
    with tf.GradientTape() as tape:
        logits = model(clip_of(reference, spec, "a"), training=True)
        loss = tf.reduce_mean(
            keras.losses.sparse_categorical_crossentropy(
                np.array(expected["labels"]), logits, from_logits=True
            )
        )
    gradients = tape.gradient(loss, [variables[paths[name]].value for name in paths])
    assert float(loss) == pytest.approx(expected["loss"], rel=1e-4)
    for (parameter, norm), gradient in zip(expected["grad_l2"].items(), gradients):
        assert float(tf.norm(gradient)) == pytest.approx(norm, rel=1e-2), parameter


@pytest.mark.parametrize(
    "name",
    [
        "_orig_mod.backbone.conv1.bn.bias",
        "module._orig_mod.backbone.conv1.bn.bias",
        "backbone._orig_mod.conv1._checkpoint_wrapped_module.bn.bias",
        "_fsdp_wrapped_module.backbone.conv1.bn.bias",
    ],
)
def test_prefixes_of_compiled_networks(name):
    """Before the name, or, of a part that was compiled by itself, within it."""
    assert mmaction2.recognizes([name])
    assert mmaction2.paths([name]) == {name: "stem_bn/beta"}


@pytest.mark.parametrize("head", ["roi_head.bbox_head.fc_cls", "detection_head.proj", None])
def test_networks_of_detection_and_without_a_head(tmp_path, slow_only, head):
    model, named = slow_only
    named = {k: v for k, v in named.items() if not k.startswith("cls_head")}
    if head:
        named |= {f"{head}.weight": np.zeros((80, 64)), f"{head}.bias": np.zeros(80)}
    path = foreign.write_torch(tmp_path / "x.pth", {f"_orig_mod.{k}": v for k, v in named.items()})
    reason = "actions in boxes" if head else "has no classifier"
    with pytest.raises(ValueError, match=f"x.pth .*{reason}.*Give `num_classes`"):
        imported(path)
    result = imported(path, num_classes=5)
    assert not result.has_classifier and result.arguments["num_classes"] == 5
    for layer in model.layers:
        if layer.weights and layer.name != "head_dense":
            for new, old in zip(result.model.get_layer(layer.name).weights, layer.weights):
                np.testing.assert_array_equal(new.numpy(), old.numpy())
