"""Training on two devices of JAX: what one device computes, continued bit for bit.

JAX makes its logical devices once in a process: these tests run in one of their own, which the
first starts.
"""

import importlib.util
import json
import os
import shutil
from pathlib import Path

import command_runner
import keras
import numpy as np
import pytest
import small_dataset
import small_training
from small_training import training

import keras_rms
from keras_rms.training.devices import take_devices
from keras_rms.training.errors import NotFinite
from keras_rms.training.running import Running
from keras_rms.training.work_dir.work_folder import WorkFolder
from keras_rms.training.workers import jax_devices

_INSIDE = "KERAS_RMS_TEST_OF_JAX_DEVICES"
inside = pytest.mark.skipif(_INSIDE not in os.environ, reason="runs in a process of its own")
SHAPE = (4, 3, 4, 5, 2)
OPTIONS = {
    "epochs": 1,
    "steps_per_call": 1,
    "accumulation": 2,
    "mixing": "cutmix",
    "average_decay": 0.9,
}
OPTIONS |= {
    "clip_norm": 0.5,
    "validation_seconds": 0.001,
}  # of three videos, which two cannot share


@pytest.mark.slow(30)
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="started from TensorFlow's run")
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs JAX")
def test_in_a_process_of_its_own():
    program = "import pytest, sys; sys.exit(pytest.main(sys.argv[1:]))"
    options = ["-q", "-x", "--durations=5", "-p", "no:cacheprovider", "-p", "no:xdist"]
    folders = [str(command_runner.ROOT / "tests" / "support"), os.environ.get("PYTHONPATH", "")]
    variables = {
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join(filter(None, folders)),
        _INSIDE: "1",
    }
    result = command_runner.run("-c", program, *options, __file__, variables=variables)
    assert "8 passed, 1 skipped" in result.stdout, result.stdout


@pytest.fixture(scope="module")
def two():
    return jax_devices.data_parallel(2)


@pytest.fixture(scope="module")
def whole(two, tmp_path_factory):
    """A run on two devices that nothing disturbed."""
    return trained(tmp_path_factory.mktemp("whole"), replicas=2)


def trained(folder, **options):
    each = training(folder, **{**OPTIONS, **options})
    small_training.train(each)
    return each


def killed(whole, folder):
    """The folder of a run that was killed after its checkpoint of step 8."""
    shutil.copytree(whole.running.work_dir, folder)
    WorkFolder(folder).model.unlink()
    (WorkFolder(folder).checkpoints / "step_0000000010.npz").unlink()
    return folder


def lines(each):
    logged = small_dataset.read_lines(Path(each.running.work_dir) / "log.jsonl")
    names = ("step", "loss", "top1", "validation_loss")
    return [[line[name] for name in names if name in line] for line in logged]


def check_equal(mine, other, **tolerances):
    """The same losses, weights and random states; bit for bit without `tolerances`."""
    for line, expected in zip(lines(mine), lines(other), strict=True):
        np.testing.assert_allclose(line, expected, **tolerances or {"rtol": 0})
    state, expected = small_training.final(mine), small_training.final(other)
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        exact = {"rtol": 0, "atol": 0} if "random/" in name else tolerances
        np.testing.assert_allclose(state[name], value, err_msg=name, **exact or {"rtol": 0})
    assert any("random/" in name for name in state)


@inside
def test_devices_are_taken_as_asked(two, tmp_path):
    taken = [take_devices(Running(tmp_path, replicas=count)) for count in (0, 1, 2)]
    assert [devices.replicas for devices in taken] == [1, 1, 2]
    assert [devices.distribution is None for devices in taken] == [True, True, False]
    message = r"replicas=3 .* JAX has 2 .*XLA_FLAGS=--xla_force_host_platform_device_count=3"
    with pytest.raises(ValueError, match=message):
        take_devices(Running(tmp_path, replicas=3))


@inside
def test_two_devices_train_as_one(whole, tmp_path):
    one = trained(tmp_path, replicas=1)
    check_equal(whole, one, rtol=2e-4, atol=2e-5)
    settings = json.loads(WorkFolder(whole.running.work_dir).settings.read_text())
    assert (settings["num_replicas"], settings["batch_norm_over"]) == (2, "all devices")


@inside
def test_every_variable_is_whole_on_both_devices(whole, two):
    with two.scope():
        model = small_training.small_model()
    assert all(len(v.value.sharding.device_set) == 2 for v in model.variables)
    assert all(v.value.sharding.is_fully_replicated for v in model.variables)


@inside
def test_a_killed_run_goes_on_bit_for_bit(whole, tmp_path):
    check_equal(trained(killed(whole, tmp_path / "killed"), replicas=2), whole)


@inside
def test_a_run_goes_on_with_another_number_of_devices(whole, tmp_path):
    each = trained(killed(whole, tmp_path / "killed"), replicas=1)
    check_equal(each, whole, rtol=2e-4, atol=2e-5)


@inside
def test_a_loss_that_is_not_finite_ends_the_run(two, tmp_path):
    with pytest.raises(NotFinite, match="Its batch is saved in") as stop:
        trained(tmp_path, replicas=2, learning_rate=1e38, warmup_epochs=0.0, mixing="none")
    with np.load(WorkFolder(tmp_path).not_finite(stop.value.step, 0)) as batch:
        assert batch["clips"].shape == (8, 4, 5, 6, 3)
    assert keras.distribution.distribution() is None


LAYERS = {
    "RandomMeanScaling": lambda: keras_rms.RandomMeanScaling(
        component="input", granularity="sample", seed=3
    ),
    "Dropout": lambda: keras_rms.Dropout(0.5, seed=3),
}


def drawing(name, steps=3):
    """A function of clips and a layer's state, and that state."""
    layer = LAYERS[name]()
    layer.build(SHAPE)

    def call(state, x):
        outputs = []
        for _ in range(steps):
            y, state = layer.stateless_call([], state, x, training=True)
            outputs.append(y)
        return keras.ops.stack(outputs, 1), state

    return call, [variable.value for variable in layer.non_trainable_variables]


@inside
def test_two_devices_draw_for_each_clip_what_one_draws(two):
    import jax

    x = np.ones(SHAPE, "float32")
    for name in LAYERS:
        call, state = drawing(name)
        expected, _ = jax.jit(call)(state, x)
        with two.scope():
            call, state = drawing(name)
            shared = keras.distribution.distribute_tensor(x, two.get_data_layout(SHAPE))
            actual, _ = jax.jit(call)(state, shared)
        assert len(actual.sharding.device_set) == 2
        np.testing.assert_array_equal(actual, expected, err_msg=name)
        drawn = np.asarray(actual).reshape(SHAPE[0], -1)
        assert len({row.tobytes() for row in drawn}) == SHAPE[0]


@inside
def test_the_parts_of_a_map_draw_other_numbers(two):
    import jax
    from jax.sharding import PartitionSpec

    x, mesh = np.ones(SHAPE, "float32"), two.device_mesh.backend_mesh
    whole, cut = PartitionSpec(), PartitionSpec("batch")
    for name in LAYERS:
        call, state = drawing(name)
        alone, expected_state = jax.jit(call)(state, x[:2])
        specs = {"mesh": mesh, "in_specs": (whole, cut), "out_specs": (cut, whole)}
        mapped, moved = jax.jit(jax.shard_map(call, **specs))(state, x)
        by_pmap, _ = jax.pmap(call, in_axes=(None, 0))(state, x.reshape(2, 2, *SHAPE[1:]))
        # The first device draws what one device draws; the state is that of one, too.
        np.testing.assert_array_equal(mapped[:2], alone, err_msg=name)
        np.testing.assert_array_equal(by_pmap.reshape(mapped.shape), mapped, err_msg=name)
        np.testing.assert_array_equal(moved[0], expected_state[0])
        steps = np.asarray(mapped).reshape(2, -1)
        for step in range(3):
            first, second = np.asarray(mapped)[:2, step], np.asarray(mapped)[2:, step]
            assert (first != second).any(), (name, step)
        assert len({row.tobytes() for row in steps}) == 2
