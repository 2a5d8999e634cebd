"""Folders of small runs that are finished, with weights from a seed instead of trained ones."""

import json

import numpy as np
import small_dataset

from keras_rms.training.networks import build_network

SETTINGS = {
    "model": "slow_only_18",
    "width": 4,
    "num_frames": 2,
    "span": 8,
    "evaluation_crop_size": 32,
    "class_names": list(small_dataset.CLASSES),
    "conversion": {"fps": 25, "short_side": 36, "quality": 4},
}


def make(folder, data, rms=None, seed=0):
    """Writes the run's files and returns its network.

    Args:
        folder: Which is made.
        data: A folder of `small_dataset.make_dataset`.
        rms: None, "mean" or "gaussian".
        seed: Of the weights.
    """
    folder.mkdir(parents=True)
    network = build_network("slow_only_18", 3, 2, width=4, seed=seed, rms=rms)
    for layer in network.layers:
        if hasattr(layer, "gamma"):  # zero at first in the last BN of a block, which does nothing
            layer.gamma.assign(np.ones(layer.gamma.shape))
    network.save(folder / "model.keras")
    settings = {**SETTINGS, "data": str(data), "rms": rms or "none"}
    (folder / "settings.json").write_text(json.dumps(settings))
    return network
