"""What a trained network is used for: scores over views, opened networks, export."""

from keras_rms.inference.export import export_network, exported_outputs
from keras_rms.inference.scores import Scores, top_k_accuracy
from keras_rms.inference.trained_network import TrainedNetwork, open_file, open_run
from keras_rms.inference.view_scores import ViewScorer

__all__ = [
    "Scores",
    "TrainedNetwork",
    "ViewScorer",
    "export_network",
    "exported_outputs",
    "open_file",
    "open_run",
    "top_k_accuracy",
]
