"""Recipes that the devices at hand cannot carry out."""

import dataclasses

import pytest
import tensorflow as tf

from keras_rms.training.devices import Devices
from keras_rms.training.recipe import Recipe

CPU = Devices(tf.distribute.get_strategy(), "tensorflow", "CPU", 0, 1, 1, onednn=True)
TWO_CPUS = dataclasses.replace(CPU, replicas=2)
GPU = dataclasses.replace(CPU, kind="GPU")
JAX = dataclasses.replace(CPU, backend="jax")
TWO_OF_JAX = dataclasses.replace(JAX, replicas=2)
SAFE = dataclasses.replace(CPU, onednn=False)


@pytest.mark.parametrize(
    ("devices", "options", "message"),
    [
        (TWO_CPUS, {"batch_size": 7}, "multiple of the 2 replicas"),
        (TWO_CPUS, {"batch_size": 12, "accumulation": 4}, "divide the 6 clips.*accumulation=4"),
        (JAX, {"precise_bn_steps": 3}, "needs KERAS_BACKEND=tensorflow.*precise_bn_steps=3"),
        (TWO_OF_JAX, {"batch_size": 7}, "multiple of the 2 replicas"),
        (CPU, {"precision": "mixed_float16"}, "in float16 many times slower.*precision=mixed"),
        (CPU, {"precision": "mixed_bfloat16"}, "NaN.*precision=mixed_bfloat16, TF_ENABLE_ONEDNN"),
    ],
)
def test_what_cannot_be_carried_out_is_named(devices, options, message):
    with pytest.raises(ValueError, match=message):
        devices.check(Recipe(**options), jit_compile=False)


def test_xla_runs_on_one_cpu_of_tensorflow_only():
    CPU.check(Recipe(), jit_compile=True)
    TWO_OF_JAX.check(Recipe(), jit_compile=True)  # it always does
    with pytest.raises(ValueError, match="Leave `jit_compile` out"):
        TWO_CPUS.check(Recipe(), jit_compile=True)


@pytest.mark.parametrize(
    ("devices", "options"),
    [
        (GPU, {"precision": "mixed_float16"}),
        (GPU, {"precision": "mixed_bfloat16"}),
        (JAX, {"precision": "mixed_float16"}),
        (TWO_OF_JAX, {"sync_bn": True}),
        (SAFE, {"precision": "mixed_bfloat16"}),
        (TWO_CPUS, {"batch_size": 12, "accumulation": 3, "sync_bn": True, "precise_bn_steps": 1}),
    ],
)
def test_what_can_be_carried_out_is_accepted(devices, options):
    devices.check(Recipe(**options), jit_compile=False)


def test_what_jax_repeats_bit_by_bit():
    TWO_OF_JAX.check(Recipe(), jit_compile=False, deterministic=True)
    on_gpus = dataclasses.replace(TWO_OF_JAX, kind="GPU")
    with pytest.raises(ValueError, match=r"On a GPU `deterministic` needs.*deterministic=True"):
        on_gpus.check(Recipe(), jit_compile=False, deterministic=True)


def test_one_worker_writes():
    assert CPU.is_first and not dataclasses.replace(CPU, worker=1, workers=2).is_first
