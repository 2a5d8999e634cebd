"""The devices of a training on the JAX backend, which compute one batch together.

Keras's `DataParallel` gives every device a copy of the variables and its share of each batch. XLA
compiles one program for all of them, and adds what they have to tell each other. So a step on
several devices is that of one device: batch normalisation sees the clips of all, and random layers
draw for the whole batch, for each clip what one device would draw for it.
"""

import contextlib

import keras


def data_parallel(replicas: int = 0) -> keras.distribution.DataParallel | None:
    """Distributes over devices of this process; before JAX runs its first operation.

    Args:
        replicas: Devices to use. 0 means every accelerator, or one CPU device where there is none;
            without an accelerator, a number above 1 makes as many logical CPU devices.

    Returns:
        None for one device, JAX's default one.

    Raises:
        ValueError: If there are not as many devices.
    """
    import jax  # need not be installed for TensorFlow

    if replicas > 1:
        # Has to come before JAX looks for accelerators. Once it has, or where the option is not
        # known, XLA_FLAGS may have made the devices.
        with contextlib.suppress(RuntimeError, AttributeError):
            jax.config.update("jax_num_cpu_devices", replicas)
    devices = jax.local_devices()
    on_cpus = devices[0].platform == "cpu"
    count = replicas or (1 if on_cpus else len(devices))
    if count > len(devices):
        remedy = (
            "JAX had run before and makes no more: set "
            f"XLA_FLAGS=--xla_force_host_platform_device_count={count} before Python starts"
            if on_cpus
            else "Give at most as many, or set JAX_PLATFORMS=cpu to try several on the CPU"
        )
        raise ValueError(
            f"replicas={replicas} devices were asked for, and JAX has {len(devices)} of the kind "
            f"{devices[0].platform}. {remedy}."
        )
    if count == 1:
        return None
    names = [f"{device.platform}:{device.id}" for device in devices[:count]]
    return keras.distribution.DataParallel(devices=names, auto_shard_dataset=False)
