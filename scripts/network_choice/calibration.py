"""Clips of its own data for a trained network that is to compute in 8-bit integers."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from keras_rms.inference.inputs import as_inputs
from keras_rms.inference.trained_network import TrainedNetwork
from pipelines.input.evaluation import validation_dataset
from pipelines.input.splits import check_conversion, open_split

BATCH_SIZE = 8
# At most: the 95 % interval of an accuracy is then 6 points or narrower.
COMPARED_VIDEOS = 1000


class CalibrationClips:
    """The clip in the middle of each video that a network was trained and validated on.

    Args:
        network: Of uint8 clips or images.
        shape: Of a clip as the network will get it.
        data: A folder that `keras-rms convert` wrote; None for the training's own.
        videos: How many of the training split are used.
        allow_other_conversion: Whether to take videos that were converted otherwise; None for what
            the training allowed.

    Raises:
        ValueError: If the data cannot be read or is another network's, or clips are not square.
    """

    def __init__(
        self,
        network: TrainedNetwork,
        shape: tuple,
        data: str | None,
        videos: int,
        allow_other_conversion: bool | None = None,
    ) -> None:
        settings = network.settings
        data = data or settings.get("data")
        if not data:
            raise ValueError(
                "--int8 needs clips of the data that the network was trained on: give "
                "--calibration, a folder that keras-rms convert wrote."
            )
        if shape[-3] != shape[-2]:
            raise ValueError(f"--int8 needs square clips. Received: --input_shape={shape}")
        self._network = network
        self._clips_of = {
            "data_dir": data,
            "batch_size": BATCH_SIZE,
            "num_frames": settings["num_frames"],
            "span": settings["span"],
            "crop_size": shape[-2],
            "short_side": settings.get("evaluation_short_side"),
            "format": settings.get("format", "records"),
        }
        self._videos = videos
        if allow_other_conversion is None:
            allow_other_conversion = settings.get("allow_other_conversion", False)
        self._allowed = allow_other_conversion
        self._training = self._split(settings.get("train_split", "train"), videos)
        validation = settings.get("validation_split", "validation")
        self._validation = self._split(validation, COMPARED_VIDEOS)

    def of_training(self) -> np.ndarray:
        """Inputs of the network, `videos` of them or all that there are."""
        batches = [self._inputs(clips) for clips, _ in self._training]
        return np.concatenate(batches)[: self._videos]

    def comparison(self, outputs: Callable[[np.ndarray], np.ndarray]) -> str:
        """A sentence with the top-1 of both.

        Args:
            outputs: What the network of integers gives for a batch of inputs.
        """
        rows = []
        for clips, labels in self._validation:
            inputs = self._inputs(clips)
            logits = (self._network.model(inputs, training=False), outputs(inputs))
            rows.append(np.stack([labels, *(np.argmax(each, axis=-1) for each in logits)]))
        labels, exact, integers = np.concatenate(rows, axis=1)
        return (
            f"Top-1 of one clip of each of {len(labels)} validation videos: Keras "
            f"{np.mean(exact == labels):.1%}, 8-bit integers {np.mean(integers == labels):.1%}. "
            f"Both give the same answer for {np.mean(exact == integers):.1%}."
        )

    def _split(self, name: str, videos: int) -> tf.data.Dataset:
        data, settings = self._clips_of["data_dir"], self._network.settings
        index = open_split(data, name, self._clips_of["format"])
        self._network.check_classes(index.class_names, data)
        conversion = settings.get("conversion", {})
        check_conversion(index, conversion, "the training's videos", self._allowed)
        return validation_dataset(split=name, **self._clips_of).take(-(-videos // BATCH_SIZE))

    def _inputs(self, clips: tf.Tensor) -> np.ndarray:
        return as_inputs(self._network.model, clips.numpy())
