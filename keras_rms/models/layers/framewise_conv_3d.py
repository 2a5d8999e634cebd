"""3D convolution by 2D operations, where these are faster."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_rms.compilation import is_compiled_by_xla


@keras.saving.register_keras_serializable(package="keras_rms")
class FramewiseConv3D(keras.layers.Conv3D):
    """`keras.layers.Conv3D`, channels last, by a 2D convolution under XLA.

    XLA computes 2D convolutions faster than 3D ones: on CPUs it has a library for them, and GPUs
    get them in the order of axes that their matrix units take. The results are the same but for
    rounding.

    - A kernel over frames alone is a 2D one of all frames.
    - One over time alone is a 2D one of images, whose rows are times and whose columns positions.
    - Any other is a 2D one of frames whose channels are those of all the frames that it sees.

    JAX is always compiled by XLA, TensorFlow where `jit_compile` asks for it. Elsewhere this is
    Keras's layer.

    Example:

    >>> FramewiseConv3D(5, 3, padding="same")(np.ones((2, 4, 8, 6, 3), "float32")).shape
    (2, 4, 8, 6, 5)
    """

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        if not (self._is_plain() and is_compiled_by_xla() and self._fits(inputs)):
            return super().convolution_op(inputs, kernel)
        (length, *size), (step, *strides) = self.kernel_size, self.strides
        batch, time, height, width, channels = ops.shape(inputs)
        if (*size, *strides) == (1, 1, 1, 1) and length > 1:
            x = ops.reshape(inputs, (batch, time, height * width, channels))
            x = ops.conv(x, kernel[:, 0], (step, 1), self.padding, "channels_last")
            return ops.reshape(x, (batch, -1, height, width, self.filters))
        if length > 1 or step > 1:
            inputs = ops.concatenate(self._windows(inputs, time), axis=-1)
        kernel = ops.reshape(ops.moveaxis(kernel, 0, 2), (*size, length * channels, self.filters))
        x = ops.reshape(inputs, (-1, height, width, length * channels))
        x = ops.conv(x, kernel, strides, self.padding, "channels_last")
        return ops.reshape(x, (batch, -1, *ops.shape(x)[1:]))

    def _is_plain(self) -> bool:
        no_dilation = set(self.dilation_rate) == {1}
        # What "same" adds to the time would depend on its length otherwise.
        is_even = self.padding == "valid" or 1 in (self.kernel_size[0], self.strides[0])
        return self.data_format == "channels_last" and self.groups == 1 and no_dilation and is_even

    def _fits(self, inputs: Any) -> bool:
        """Whether the kernel fits into the frames of the result: else XLA's CPUs are slow in 2D."""
        sizes = zip(inputs.shape[2:4], self.kernel_size[1:], self.strides[1:])
        return all(size is None or size // step >= kernel for size, kernel, step in sizes)

    def _windows(self, x: Any, time: Any) -> list[Any]:
        """For each element of the kernel over time, the frames that it sees."""
        length, step = self.kernel_size[0], self.strides[0]
        if self.padding == "same":
            before = (length - 1) // 2
            x = ops.pad(x, [(0, 0), (before, length - 1 - before), (0, 0), (0, 0), (0, 0)])
            time = time + length - 1
        return time_windows(x, time, length, step)


def time_windows(x: Any, time: Any, length: int, step: int) -> list[Any]:
    """For each element of a kernel over time, without padding, the frames that it sees.

    Args:
        x: Of shape (batch, time, ...).
        time: The number of frames.
        length: Of the kernel, in frames.
        step: Its stride, in frames.
    """
    end = time - length + 1
    return [x[:, element : element + end : step] for element in range(length)]
