"""Converted videos as `tf.data` datasets: training, validation, and the views of evaluation."""

from pipelines.input.evaluation import evaluation_dataset, validation_dataset
from pipelines.input.splits import open_split
from pipelines.input.training import training_dataset, training_stream
from pipelines.input.views import views_of_frames

__all__ = [
    "evaluation_dataset",
    "open_split",
    "training_dataset",
    "training_stream",
    "validation_dataset",
    "views_of_frames",
]
