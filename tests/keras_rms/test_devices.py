"""Recipes that the devices at hand cannot carry out."""

import dataclasses

import pytest
import tensorflow as tf

from keras_rms.training.devices import Devices
from keras_rms.training.recipe import Recipe


class Strategy:
    num_replicas_in_sync = 2


CPU = Devices(tf.distribute.get_strategy(), "tensorflow", "CPU", 0, 1, 1, onednn=True)
TWO_CPUS = dataclasses.replace(CPU, strategy=Strategy(), replicas=2)
GPU = dataclasses.replace(CPU, kind="GPU")
JAX = dataclasses.replace(CPU, backend="jax")
SAFE = dataclasses.replace(CPU, onednn=False)


@pytest.mark.parametrize(
    ("devices", "options", "message"),
    [
        (TWO_CPUS, {"batch_size": 7}, "multiple of the 2 replicas"),
        (TWO_CPUS, {"batch_size": 12, "accumulation": 4}, "divide the 6 clips.*accumulation=4"),
        (JAX, {"sync_bn": True}, "need KERAS_BACKEND=tensorflow. Received: sync_bn=True"),
        (JAX, {"precise_bn_steps": 3}, "precise_bn_steps=3"),
        (CPU, {"precision": "mixed_float16"}, "in float16 many times slower.*precision=mixed"),
        (CPU, {"precision": "mixed_bfloat16"}, "NaN.*precision=mixed_bfloat16, TF_ENABLE_ONEDNN"),
    ],
)
def test_what_cannot_be_carried_out_is_named(devices, options, message):
    with pytest.raises(ValueError, match=message):
        devices.check(Recipe(**options), jit_compile=False)


def test_xla_runs_on_one_cpu_only():
    CPU.check(Recipe(), jit_compile=True)
    with pytest.raises(ValueError, match="Leave `jit_compile` out"):
        TWO_CPUS.check(Recipe(), jit_compile=True)


@pytest.mark.parametrize(
    ("devices", "options"),
    [
        (GPU, {"precision": "mixed_float16"}),
        (GPU, {"precision": "mixed_bfloat16"}),
        (JAX, {"precision": "mixed_float16"}),
        (SAFE, {"precision": "mixed_bfloat16"}),
        (TWO_CPUS, {"batch_size": 12, "accumulation": 3, "sync_bn": True, "precise_bn_steps": 1}),
    ],
)
def test_what_can_be_carried_out_is_accepted(devices, options):
    devices.check(Recipe(**options), jit_compile=False)


def test_one_worker_writes():
    assert CPU.is_first and not dataclasses.replace(CPU, worker=1, workers=2).is_first
