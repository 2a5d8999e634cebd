"""What a run trains on."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """Makers of datasets for one worker; the package knows no format of files.

    Example:

    >>> data = TrainingData(names, len(videos), lambda step: batches_from(step))

    Attributes:
        class_names: What the network tells apart; their order gives the labels.
        num_videos: To train on, over all workers.
        training: First step -> infinite dataset of (clips, labels) from then on, those of this
            worker: (batch_size / workers, time, height, width, channels) uint8 and (batch_size /
            workers,) int. The batch of a step depends on nothing but the step, so that a run can
            be continued.
        validation: Takes nothing -> dataset as `ViewScorer.scores` takes it, of this worker's part
            of the videos, each once; None for no validation.
        videos_per_class: How many of the videos to train on each class has; None where it is not
            known.
        clip_shape: (time, height, width, channels) of a clip, for a check that memory will do; None
            for no check.
        settings: What decides which clips come, plain data as in JSON. A work folder is continued
            with the same only.
        defaults: What of `settings` a work folder was made with whose version did not know it.
        free_settings: What else settings.json has to hold of the data.

    Raises:
        ValueError: If there are fewer than two classes.
    """

    class_names: Sequence[str]
    num_videos: int
    training: Callable[[int], tf.data.Dataset]
    validation: Callable[[], tf.data.Dataset] | None = None
    videos_per_class: Sequence[int] | None = None
    clip_shape: tuple[int, int, int, int] | None = None
    settings: Mapping[str, object] = dataclasses.field(default_factory=dict)
    defaults: Mapping[str, object] = dataclasses.field(default_factory=dict)
    free_settings: Mapping[str, object] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.class_names) < 2:
            raise ValueError(
                "`class_names` must be two classes or more: a network that can give one answer "
                "only has nothing to learn, and its loss is 0 from the beginning. Add videos of "
                f"another class. Received: class_names={list(self.class_names)}"
            )
