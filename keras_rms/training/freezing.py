"""Stages of a network that are not trained, for a while or at all."""

from collections.abc import Sequence

import keras

from keras_rms.models.stages import stage_of
from keras_rms.training.work_dir.checkpoints import leaves


class FrozenStages:
    """Keeps stages of a network as they are, in inference mode.

    No gradient moves their weights, and nothing else does. Their batch normalisation computes with
    its moving statistics, and Random Mean Scaling and the other random layers of this package are
    inactive there.

    Example:

    >>> model = keras_rms.models.build("slow_only_18", num_classes=3)
    >>> FrozenStages(model, ("stem", "res2")).freeze()
    >>> len(model.trainable_variables)
    47

    Args:
        model: A network whose layers are named after their stages; see `stage_of`.
        names: The stages, in any order; none of them is a network trained whole.

    Raises:
        ValueError: If the network has no such stage, or nothing would be left to train.
    """

    def __init__(self, model: keras.Model, names: Sequence[str]) -> None:
        self._model = model
        by_stage: dict[str, list[keras.Layer]] = {}
        for layer in leaves(model):
            by_stage.setdefault(stage_of(layer.name), []).append(layer)
        known = [name for name, layers in by_stage.items() if any(x.weights for x in layers)]
        if unknown := [name for name in names if name not in known]:
            raise ValueError(
                f"`freeze` must name stages of the network, which are {', '.join(known)}. "
                f"{model.name} has no {', '.join(unknown)}. Received: freeze={tuple(names)}"
            )
        self._layers = [x for name in names for x in by_stage[name] if x.trainable]
        kept = {id(weight) for layer in self._layers for weight in layer.weights}
        if names and all(id(weight) in kept for weight in model.trainable_variables):
            raise ValueError(
                f"`freeze` must leave a stage to train; the stages are {', '.join(known)}. "
                f"Received: freeze={tuple(names)}"
            )

    def freeze(self) -> None:
        """From now on they stay as they are; what was traced before does not know of it."""
        self._set_trainable(False)

    def unfreeze(self) -> None:
        """From now on they are trained, too."""
        self._set_trainable(True)

    def _set_trainable(self, trainable: bool) -> None:
        for layer in self._layers:
            layer.trainable = trainable
        # On several devices of JAX Keras compiled it for as many trained variables as there were.
        self._model.predict_function = None
