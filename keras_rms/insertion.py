"""Puts a layer into an existing network."""

from collections.abc import Callable
from typing import Any

import keras


def insert_before(
    model: keras.Model,
    layer_type_or_predicate: type | tuple[type, ...] | Callable[[keras.layers.Layer], bool],
    layer: keras.layers.Layer,
) -> keras.Model:
    """Rebuilds a functional model with a fresh copy of a layer before each of the chosen places.

    The weights are copied; the given model is left as it is. Functional models inside the model are
    searched too. The new model has to be compiled before it is trained.

    Example:

    >>> resnet = keras.applications.ResNet50(weights=None)
    >>> regularized = keras_rms.insert_before(
    ...     resnet,
    ...     lambda layer: layer.name.startswith(("conv4", "conv5")) and layer.name.endswith("3_bn"),
    ...     keras_rms.RandomMeanScaling(seed=0),
    ... )

    Args:
        model: Functional or built sequential model.
        layer_type_or_predicate: A layer class, a tuple of them, or a function that takes a layer
            and returns whether to insert before it.
        layer: The layer to copy. Each copy is named after the layer that follows it; where the
            given layer has a seed, each copy has one of its own that derives from it.

    Returns:
        A functional model with the weights of `model`.

    Raises:
        ValueError: If the model is neither functional nor a built sequential one, if an argument is
            of another type, if no layer is chosen, or if a chosen layer has several inputs.
    """
    chosen = _as_predicate(layer_type_or_predicate)
    if not isinstance(layer, keras.layers.Layer):
        raise ValueError(f"`layer` should be a Keras layer. Received: layer={layer!r}")
    return _Insertion(chosen, layer).rebuild(_as_functional(model))


class _Insertion:
    """One rebuilding: what was copied, and how many copies were inserted."""

    def __init__(self, chosen: Callable, template: keras.layers.Layer) -> None:
        self.chosen = chosen
        self.template = template
        self.copied: list[tuple[keras.layers.Layer, keras.layers.Layer]] = []
        self.names: set[str] = set()

    def rebuild(self, model: keras.Model) -> keras.Model:
        copy = keras.models.clone_model(
            model, clone_function=self._copy, call_function=self._call, recursive=True
        )
        if not self.names:
            raise ValueError(
                "`layer_type_or_predicate` should choose at least one layer of the model. "
                f"Received: a model without such layers, model={model.name!r}"
            )
        for old, new in self.copied:
            new.set_weights(old.get_weights())
        return copy

    def _copy(self, layer: keras.layers.Layer) -> keras.layers.Layer:
        copy = type(layer).from_config(layer.get_config())
        self.copied.append((layer, copy))
        return copy

    def _call(self, layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(layer, keras.layers.InputLayer) and self.chosen(layer):
            if not args or not keras.backend.is_keras_tensor(args[0]):
                raise ValueError(
                    "`layer_type_or_predicate` should choose layers with a single input. "
                    f"Received: the layer {layer.name!r}"
                )
            args = (self._fresh(layer.name)(args[0]), *args[1:])
        return layer(*args, **kwargs)

    def _fresh(self, follower: str) -> keras.layers.Layer:
        name = base = f"{follower}_{self.template.name}"
        while name in self.names:
            name = f"{base}_{len(self.names)}"
        config = {**self.template.get_config(), "name": name}
        if config.get("seed") is not None:
            config["seed"] += len(self.names)
        self.names.add(name)
        return type(self.template).from_config(config)


def _as_predicate(value: Any) -> Callable[[keras.layers.Layer], bool]:
    types = value if isinstance(value, tuple) else (value,)
    if types and all(isinstance(entry, type) for entry in types):
        return lambda layer: isinstance(layer, types)
    if not callable(value):
        raise ValueError(
            "`layer_type_or_predicate` should be a layer class, a tuple of them or a function. "
            f"Received: layer_type_or_predicate={value!r}"
        )
    return value


def _as_functional(model: Any) -> keras.Model:
    if isinstance(model, keras.Sequential) and model.built:
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    # Only functional models list the operations of their graph.
    if not isinstance(model, keras.Model) or not hasattr(model, "operations"):
        raise ValueError(
            "`model` should be a functional or a built sequential Keras model. "
            f"Received: model={model!r}"
        )
    return model
