"""Puts a layer into an existing network."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import keras


def insert_before(
    model: keras.Model,
    layer_type_or_predicate: type | tuple[type, ...] | Callable[[keras.layers.Layer], bool],
    layer: keras.layers.Layer,
) -> keras.Model:
    """Rebuilds a functional model with a fresh copy of a layer before each of the chosen places.

    The weights are copied; the given model is left as it is. Functional and built sequential models
    inside the model are searched too. The new model has to be compiled before it is trained.

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
        raise ValueError(f"`layer` must be a Keras layer. Received: layer={layer!r}")
    if not _is_graph(model):
        raise ValueError(
            "`model` must be a functional or a built sequential Keras model. "
            f"Received: model={model!r}"
        )
    return _Insertion(chosen, layer).rebuild(model)


class _Insertion:
    """One rebuilding: what was copied, and what was inserted."""

    def __init__(self, chosen: Callable, template: keras.layers.Layer) -> None:
        self.chosen = chosen
        self.template = template
        # By the original's id: a layer or model in several places stays a single one.
        self.copies: dict[int, tuple[Any, Any]] = {}
        self.taken: set[str] = set()
        self.inserted = 0

    def rebuild(self, model: keras.Model) -> keras.Model:
        self.taken = set(_names(model))
        copy = self._copy(model)
        if not self.inserted:
            raise ValueError(
                "`layer_type_or_predicate` must choose at least one layer of the model. "
                f"Received: a model without such layers, model={model.name!r}"
            )
        for old, new in self.copies.values():
            # Operations of `keras.ops` are no layers; models consist of what is copied anyway.
            if isinstance(old, keras.layers.Layer) and not _is_graph(old):
                new.set_weights(old.get_weights())
        return copy

    def _copy(self, layer: Any) -> Any:
        if id(layer) not in self.copies:
            # Keras's own recursion would leave the sequential models inside as they are.
            copy = self._rebuilt(layer) if _is_graph(layer) else _copy_of(layer)
            self.copies[id(layer)] = layer, copy
        return self.copies[id(layer)][1]

    def _rebuilt(self, model: keras.Model) -> keras.Model:
        if isinstance(model, keras.Sequential):
            model = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
        return keras.models.clone_model(model, clone_function=self._copy, call_function=self._call)

    def _call(self, layer: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(layer, keras.layers.InputLayer) and self.chosen(layer):
            tensors = [x for x in keras.tree.flatten((args, kwargs)) if _is_tensor(x)]
            if len(tensors) != 1:
                raise ValueError(
                    "`layer_type_or_predicate` must choose layers with a single input. "
                    f"Received: the layer {layer.name!r}"
                )
            new = self._fresh(layer.name)(tensors[0])
            args, kwargs = keras.tree.map_structure(
                lambda x: new if _is_tensor(x) else x, (args, kwargs)
            )
        return layer(*args, **kwargs)

    def _fresh(self, follower: str) -> keras.layers.Layer:
        base = f"{follower}_{self.template.name}"
        names = itertools.chain([base], (f"{base}_{n}" for n in itertools.count(1)))
        name = next(name for name in names if name not in self.taken)
        config = {**self.template.get_config(), "name": name}
        if isinstance(config.get("seed"), int):
            # Neighbouring seeds give unrelated numbers, see `ReplicaSeedGenerator`.
            config["seed"] += self.inserted
        self.taken.add(name)
        self.inserted += 1
        return type(self.template).from_config(config)


def _is_graph(value: Any) -> bool:
    """Whether this is a model whose graph is known, so that it can be rebuilt."""
    if isinstance(value, keras.Sequential):
        return value.built
    # Only functional models list the operations of their graph.
    return isinstance(value, keras.Model) and hasattr(value, "operations")


def _copy_of(layer: Any) -> Any:
    return type(layer).from_config(layer.get_config())


def _names(model: keras.Model) -> Iterator[str]:
    for layer in model.layers:
        yield layer.name
        if _is_graph(layer):
            yield from _names(layer)


def _is_tensor(value: Any) -> bool:
    return keras.backend.is_keras_tensor(value)


def _as_predicate(value: Any) -> Callable[[keras.layers.Layer], bool]:
    types = value if isinstance(value, tuple) else (value,)
    if types and all(isinstance(entry, type) for entry in types):
        return lambda layer: isinstance(layer, types)
    if not callable(value):
        raise ValueError(
            "`layer_type_or_predicate` must be a layer class, a tuple of them or a function. "
            f"Received: layer_type_or_predicate={value!r}"
        )
    return value
