"""Depthwise 3D convolution, which Keras has none of."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_rms.compilation import is_compiled_by_xla, is_on_cpu

IMPLEMENTATIONS = ("frames", "taps", "grouped")


@keras.saving.register_keras_serializable(package="keras_rms")
class DepthwiseConv3D(keras.layers.Layer):
    """A 3D convolution of each channel with a kernel of its own, without bias.

    It pads `kernel_size // 2` zeros on both sides of each axis, as PyTorch's networks do, and
    computes what `keras.layers.Conv3D(groups=channels)` does on a padded input, with the same
    kernel. The same sum is written in three ways, of which each platform runs another one fast:

    - `"frames"`: a 2D depthwise convolution of the frames for each time step of the kernel, the
      results shifted in time and added. For TensorFlow, and for JAX on an accelerator.
    - `"taps"`: a multiplication of the shifted input for each element of the kernel. For XLA on a
      CPU, which fuses these and has no fast grouped convolution; so for JAX on a CPU.
    - `"grouped"`: the backend's grouped 3D convolution. For PyTorch.

    Example:

    >>> layer = DepthwiseConv3D(kernel_size=3, strides=2)
    >>> layer(np.ones((1, 8, 15, 12, 4), "float32")).shape
    (1, 4, 8, 6, 4)

    Args:
        kernel_size: Odd integer, or three for time, height and width.
        strides: Integer, or three; those of height and width are equal.
        kernel_initializer: Of the kernel, of shape (time, height, width, 1, channels).
        kernel_regularizer: Optional, of the kernel.
        implementation: One of the three above, or `None` to choose by backend, device and compiler.
        **kwargs: Base layer keyword arguments.

    Input shape:
        (batch, time, height, width, channels)

    Output shape:
        (batch, ceil(time / strides[0]), ceil(height / strides[1]), ceil(width / strides[2]),
        channels)

    Raises:
        ValueError: If an argument has another value than listed.

    Reference:
        - Tran et al., "Video Classification with Channel-Separated Convolutional Networks",
          ICCV 2019.
    """

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        kernel_initializer: Any = "glorot_uniform",
        kernel_regularizer: Any = None,
        implementation: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.kernel_size = _three("kernel_size", kernel_size)
        self.strides = _three("strides", strides)
        if any(size % 2 == 0 for size in self.kernel_size):
            raise ValueError(f"`kernel_size` must be odd. Received: kernel_size={kernel_size}")
        if self.strides[1] != self.strides[2]:
            raise ValueError(
                f"`strides` must be equal for height and width. Received: strides={strides}"
            )
        if implementation not in (None, *IMPLEMENTATIONS):
            raise ValueError(
                f"`implementation` must be None or one of {IMPLEMENTATIONS}. "
                f"Received: implementation={implementation!r}"
            )
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.implementation = implementation
        self.input_spec = keras.layers.InputSpec(ndim=5)

    def build(self, input_shape: tuple) -> None:
        if input_shape[-1] is None:
            raise ValueError(
                f"The number of channels must be known. Received: input_shape={input_shape}"
            )
        self.kernel = self.add_weight(
            name="kernel",
            shape=(*self.kernel_size, 1, input_shape[-1]),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
        )
        self.input_spec = keras.layers.InputSpec(ndim=5, axes={-1: input_shape[-1]})

    def call(self, inputs: Any) -> Any:
        convolve = {"frames": _by_frames, "taps": _by_taps, "grouped": _by_groups}
        implementation = self.implementation or _fastest_implementation()
        kernel = ops.cast(self.kernel, inputs.dtype)
        return convolve[implementation](inputs, kernel, self.kernel_size, self.strides)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        sizes = [
            None if size is None else -(-size // stride)
            for size, stride in zip(input_shape[1:-1], self.strides)
        ]
        return (input_shape[0], *sizes, input_shape[-1])

    def get_config(self) -> dict:
        config = {
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "implementation": self.implementation,
        }
        return {**super().get_config(), **config}


def _fastest_implementation() -> str:
    if keras.backend.backend() == "torch":
        return "grouped"
    return "taps" if is_compiled_by_xla() and is_on_cpu() else "frames"


def _by_frames(x: Any, kernel: Any, kernel_size: tuple, strides: tuple) -> Any:
    # With a stride "same" would pad unlike on both sides. Once here, for the frames of all taps.
    if strides[1] > 1:
        x = ops.pad(x, [(0, 0), (0, 0), *[(k // 2, k // 2) for k in kernel_size[1:]], (0, 0)])
    phases = _phases_of_time(x, strides[0])
    total = None
    for tap in range(kernel_size[0]):
        # Output t needs input t * stride + tap - kernel // 2: frame t + step of this phase's video.
        step, phase = divmod(tap - kernel_size[0] // 2, strides[0])
        part = _convolve_frames(phases[phase], kernel[tap], strides[1])
        part = _shifted_in_time(part, step)
        total = part if total is None else total + part
    return total


def _phases_of_time(x: Any, stride: int) -> list[Any]:
    """The frames t with t mod stride = 0, 1, ..., each as one video of equal length."""
    # Unstacking, since the gradient of a slice with a step fills a whole tensor for each phase.
    if stride == 1:
        return [x]
    frames = ops.shape(x)[1]
    missing = -frames % stride
    x = ops.pad(x, [(0, 0), (0, missing), (0, 0), (0, 0), (0, 0)])
    groups = (frames + missing) // stride
    x = ops.reshape(x, (-1, groups, stride, *ops.shape(x)[2:]))
    return ops.unstack(x, num=stride, axis=2)


def _convolve_frames(x: Any, kernel: Any, stride: int) -> Any:
    shape = ops.shape(x)
    frames = ops.reshape(x, (-1, *shape[2:]))
    y = ops.depthwise_conv(
        frames,
        ops.swapaxes(kernel, -1, -2),
        strides=stride,
        padding="same" if stride == 1 else "valid",
        data_format="channels_last",
    )
    return ops.reshape(y, (-1, shape[1], *ops.shape(y)[1:]))


def _shifted_in_time(x: Any, step: int) -> Any:
    """y[t] = x[t + step], zeros from outside."""
    if step == 0:
        return x
    before, after = max(-step, 0), max(step, 0)
    padded = ops.pad(x, [(0, 0), (before, after), (0, 0), (0, 0), (0, 0)])
    return padded[:, after:] if step > 0 else padded[:, :-before]


def _by_taps(x: Any, kernel: Any, kernel_size: tuple, strides: tuple) -> Any:
    sizes = ops.shape(x)[1:4]
    x = _padded(x, kernel_size)
    total = None
    for tap in _taps(kernel_size):
        window = tuple(
            slice(start, start + size, stride) for start, size, stride in zip(tap, sizes, strides)
        )
        part = x[(slice(None), *window)] * kernel[(*tap, 0)]
        total = part if total is None else total + part
    return total


def _taps(kernel_size: tuple) -> list[tuple[int, int, int]]:
    time, height, width = (range(size) for size in kernel_size)
    return [(t, h, w) for t in time for h in height for w in width]


def _by_groups(x: Any, kernel: Any, kernel_size: tuple, strides: tuple) -> Any:
    padding = "same" if set(strides) == {1} else "valid"
    if padding == "valid":
        x = _padded(x, kernel_size)
    return ops.conv(x, kernel, strides, padding, data_format="channels_last")


def _padded(x: Any, kernel_size: tuple) -> Any:
    return ops.pad(x, [(0, 0), *[(size // 2, size // 2) for size in kernel_size], (0, 0)])


def _three(name: str, value: int | Sequence[int]) -> tuple[int, int, int]:
    values = (value,) * 3 if isinstance(value, int) else value
    are_three = isinstance(values, (list, tuple)) and len(values) == 3
    if not are_three or not all(type(n) is int and n > 0 for n in values):
        raise ValueError(
            f"`{name}` must be a positive integer or three of them. Received: {name}={value!r}"
        )
    time, height, width = values
    return time, height, width
