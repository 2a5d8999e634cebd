"""What a trained network is used for: scores over views, finished runs, export."""

from keras_rms.inference.export import export_network, exported_outputs
from keras_rms.inference.finished_run import FinishedRun, load_finished_run
from keras_rms.inference.scores import Scores, top_k_accuracy
from keras_rms.inference.view_scores import ViewScorer

__all__ = [
    "FinishedRun",
    "Scores",
    "ViewScorer",
    "export_network",
    "exported_outputs",
    "load_finished_run",
    "top_k_accuracy",
]
