"""The frames of a video -> the uint8 clips that a network takes."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_rms.arguments import positive_integer, validate_positive


@keras.saving.register_keras_serializable(package="keras_rms")
class VideoPreprocessor:
    """Chooses frames of a video, scales them and cuts their centre.

    Nothing is normalised: networks of `from_preset` take uint8 and do it themselves.

    Example:

    >>> preprocess = keras_rms.models.VideoPreprocessor(num_frames=8, span=64, crop_size=64)
    >>> preprocess(np.zeros((100, 90, 120, 3), "uint8")).shape
    (1, 8, 64, 64, 3)

    Args:
        num_frames: Frames of a clip.
        span: Frames of the video that a clip covers, a multiple of `num_frames`; None for all of
            it, from which each clip takes the middle frames of equal parts.
        crop_size: Height and width of the clips, and of the short side before, in pixels.
        num_clips: Clips of a video: the first begins at its start, the last ends at its end; one
            alone is its middle. They are the views of `keras-rms evaluate` with one crop.
        frame_rate: Frames a second of the videos that `span` counts in; None if it is not known.
            Nothing is resampled here: it tells the commands, and who reads the frames.

    Call arguments:
        frames: uint8 RGB (frames, height, width, 3), at least one frame. Behind the last one it is
            repeated.

    Returns:
        uint8 (num_clips, num_frames, crop_size, crop_size, 3), as a NumPy array.

    Raises:
        ValueError: If an argument or the frames have another form than said here.
    """

    def __init__(
        self,
        num_frames: int,
        span: int | None,
        crop_size: int = 256,
        num_clips: int = 1,
        frame_rate: float | None = None,
    ) -> None:
        self.num_frames = positive_integer("num_frames", num_frames)
        self.crop_size = positive_integer("crop_size", crop_size)
        self.num_clips = positive_integer("num_clips", num_clips)
        if span is not None and positive_integer("span", span) % num_frames:
            raise ValueError(
                "`span` must be a multiple of num_frames, or None. "
                f"Received: span={span}, num_frames={num_frames}"
            )
        self.span = span
        if frame_rate is not None:
            validate_positive("frame_rate", frame_rate)
        self.frame_rate = frame_rate

    @classmethod
    def from_preset(cls, preset: str, num_clips: int = 1) -> VideoPreprocessor:
        """That of a preset's network; see `keras_rms.models.from_preset`."""
        from keras_rms.models.presets.loading import preprocessor_config

        return cls(**{**preprocessor_config(preset), "num_clips": num_clips})

    def __call__(self, frames: Any) -> np.ndarray:
        frames = np.asarray(frames)
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not frames.size:
            raise ValueError(
                "`frames` must be uint8 RGB of shape (frames, height, width, 3). "
                f"Received: {frames.dtype} of shape {frames.shape}"
            )
        chosen, place = np.unique(self._indices(len(frames)), return_inverse=True)
        return self._centre(frames[chosen])[place.reshape(self.num_clips, self.num_frames)]

    def get_config(self) -> dict[str, Any]:
        names = ("num_frames", "span", "crop_size", "num_clips", "frame_rate")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> VideoPreprocessor:
        return cls(**config)

    def _indices(self, length: int) -> np.ndarray:
        """The numbers of the frames, (num_clips, num_frames)."""
        if self.span is None:
            ends = np.round((length - 1) / self.num_frames * np.arange(self.num_frames + 1))
            middles = (ends[:-1] + ends[1:]) // 2
            return np.tile(middles.astype(int), (self.num_clips, 1))
        last = max(length - self.span, 0)
        clips = np.arange(self.num_clips)
        starts = last * clips // (self.num_clips - 1) if self.num_clips > 1 else clips + last // 2
        offsets = np.arange(self.num_frames) * (self.span // self.num_frames)
        return np.minimum(starts[:, None] + offsets, length - 1)

    def _centre(self, frames: np.ndarray) -> np.ndarray:
        shortest, size = min(frames.shape[1:3]), self.crop_size
        height, width = ((2 * n * size + shortest) // (2 * shortest) for n in frames.shape[1:3])
        if (height, width) != frames.shape[1:3]:
            scaled = keras.ops.image.resize(
                frames.astype("float32"),
                (height, width),
                interpolation="bilinear",
                antialias=True,
                data_format="channels_last",
            )
            frames = np.clip(np.round(keras.ops.convert_to_numpy(scaled)), 0, 255).astype("uint8")
        top, left = (height - size) // 2, (width - size) // 2
        return frames[:, top : top + size, left : left + size]
