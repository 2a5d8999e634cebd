"""What a network takes in: clips, or images."""

from typing import Any

import keras


def as_inputs(model: keras.Model, clips: Any) -> Any:
    """Clips as a network takes them: images, where it takes these and clips have one frame.

    Args:
        model: On (batch, time, height, width, channels), or on images, without time.
        clips: (batch, time, height, width, channels), or what the network takes.
    """
    if len(clips.shape) > len(model.input_shape):
        return clips[:, 0]
    return clips
