"""Puts a layer into an existing network."""

import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras

from keras_rms.residual_branch import residual_branch


def insert_before(
    model: keras.Model,
    layer_type_or_predicate: type | tuple[type, ...] | Callable[[keras.layers.Layer], bool],
    layer: keras.layers.Layer | Callable[[float], keras.layers.Layer],
) -> keras.Model:
    """Rebuilds a functional model with a fresh copy of a layer before each of the chosen places.

    Before a sum of two (`keras.layers.Add`, or `+`) the layer ends the residual branch, as
    `RandomDrop` and `ShakeDrop` do. Of what is summed, the branch is what has more layers on its
    way from where both part; the shortcut has fewer, or none.

    The weights are copied; the given model is left as it is. Functional and built sequential models
    inside the model are searched too, at any depth. What other layers hold is not, for their `call`
    cannot be rebuilt: custom blocks, subclassed models, `TimeDistributed`, `Bidirectional`. A
    warning names those that hold chosen layers. The new model has to be compiled before it is
    trained.

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
        layer: The layer to copy, or a function that makes it for a depth: of `n` places from the
            input on, `1 / n` for the first and 1 for the last. Each copy is named after the layer
            that follows it; where the given layer has a seed, each copy has one of its own that
            derives from it.

    Returns:
        A functional model with the weights of `model` and the names of its inputs. What a class of
        models adds to that, such as the preprocessing of keras_hub's tasks, is not part of it, and
        a warning says so: insert into the `backbone` of a task, and build the task anew.

    Raises:
        ValueError: If the model is neither functional nor a built sequential one, if an argument is
            of another type, if no layer is chosen, or if a chosen layer has several inputs and is
            not the sum of a shortcut and a residual branch.
    """
    chosen = _as_predicate(layer_type_or_predicate)
    if not _is_graph(model):
        raise ValueError(
            "`model` must be a functional or a built sequential Keras model. "
            f"Received: model={model!r}"
        )
    if isinstance(layer, keras.layers.Layer) or not callable(layer):
        _validate_layer(layer)
        return _Insertion(chosen, lambda place: layer).rebuild(model)
    places = _Insertion(chosen, lambda place: keras.layers.Identity())
    with warnings.catch_warnings():  # The second time says the same.
        warnings.simplefilter("ignore")
        places.rebuild(model)
    return _Insertion(chosen, lambda place: layer(place / places.inserted)).rebuild(model)


class _Insertion:
    """One rebuilding: what was copied, and what was inserted."""

    def __init__(self, chosen: Callable, template: Callable[[int], keras.layers.Layer]) -> None:
        self.chosen = chosen
        # Of the places in the order of the graph, from 1 on, what to copy there.
        self.template = template
        self.template_name: str | None = None
        # By the original's id: a layer or model in several places stays a single one.
        self.copies: dict[int, tuple[Any, Any]] = {}
        self.taken: set[str] = set()
        self.inserted = 0
        # Layers that hold chosen ones and cannot be rebuilt.
        self.closed: list[str] = []

    def rebuild(self, model: keras.Model) -> keras.Model:
        self.taken = set(_names(model))
        copy = self._copy(model)
        closed = (
            f"Layers inside of {', '.join(self.closed[:3])} are chosen too, but these are not "
            "functional models and cannot be rebuilt. "
            if self.closed
            else ""
        )
        if not self.inserted:
            raise ValueError(
                f"`layer_type_or_predicate` must choose at least one layer of the model. {closed}"
                f"Received: a model without such layers, model={model.name!r}"
            )
        if closed:
            warnings.warn(f"{closed}Nothing was inserted there.", stacklevel=3)
        if type(model) not in (type(copy), keras.Sequential):
            warnings.warn(
                f"The copy of {model.name!r} is a plain functional model, without what "
                f"{type(model).__name__} adds to one.",
                stacklevel=3,
            )
        for old, new in self.copies.values():
            # Operations of `keras.ops` are no layers; models consist of what is copied anyway.
            if isinstance(old, keras.layers.Layer) and not _is_graph(old):
                new.set_weights(old.get_weights())
        return copy

    def _copy(self, layer: Any) -> Any:
        if id(layer) not in self.copies:
            # Keras's own recursion would leave the sequential models inside as they are.
            copy = self._rebuilt(layer) if _is_graph(layer) else self._whole(layer)
            self.copies[id(layer)] = layer, copy
        return self.copies[id(layer)][1]

    def _rebuilt(self, model: keras.Model) -> keras.Model:
        if isinstance(model, keras.Sequential) or model.compiled:
            # Of a compiled model, the settings would be copied as well.
            model = keras.Model(
                _structure(model, "input"), _structure(model, "output"), name=model.name
            )
        return keras.models.clone_model(
            model,
            input_tensors=keras.tree.map_structure(_fresh_input, model.input),
            clone_function=self._copy,
            call_function=self._call,
        )

    def _whole(self, layer: Any) -> Any:
        if isinstance(layer, keras.layers.Layer):
            if any(self.chosen(held) for held in layer._flatten_layers(include_self=False)):
                self.closed.append(layer.name)
        return _copy_of(layer)

    def _call(self, layer: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(layer, keras.layers.InputLayer) and self.chosen(layer):
            tensors = [x for x in keras.tree.flatten((args, kwargs)) if _is_tensor(x)]
            old = _place(layer, tensors)
            new = self._fresh(layer.name)(old)
            args, kwargs = keras.tree.map_structure(
                lambda x: new if x is old else x, (args, kwargs)
            )
        return layer(*args, **kwargs)

    def _fresh(self, follower: str) -> keras.layers.Layer:
        template = self.template(self.inserted + 1)
        _validate_layer(template)
        # A function's layers may be numbered: all copies bear the name of the first.
        self.template_name = self.template_name or template.name
        base = f"{follower}_{self.template_name}"
        names = itertools.chain([base], (f"{base}_{n}" for n in itertools.count(1)))
        name = next(name for name in names if name not in self.taken)
        config = {**template.get_config(), "name": name}
        if isinstance(config.get("seed"), int):
            # Neighbouring seeds give unrelated numbers, see `ReplicaSeedGenerator`.
            config["seed"] += self.inserted
        self.taken.add(name)
        self.inserted += 1
        return type(template).from_config(config)


def _validate_layer(layer: Any) -> None:
    if not isinstance(layer, keras.layers.Layer):
        raise ValueError(
            "`layer` must be a Keras layer, or a function from a depth in (0, 1] to one. "
            f"Received: layer={layer!r}"
        )


def _place(layer: Any, tensors: list) -> Any:
    """Which of a layer's inputs the new layer takes."""
    if len(tensors) == 1:
        return tensors[0]
    # `+` is an operation, whose class is not public.
    is_operation = not isinstance(layer, keras.layers.Layer)
    is_sum = isinstance(layer, keras.layers.Add) or (is_operation and type(layer).__name__ == "Add")
    branch = residual_branch(*tensors) if is_sum and len(tensors) == 2 else None
    if branch is None:
        raise ValueError(
            "`layer_type_or_predicate` must choose layers with a single input, or sums of a "
            "shortcut and a longer residual branch. Choose the last layer of the branch by its "
            f"name instead. Received: the layer {layer.name!r} of {_described(tensors)}"
        )
    return branch


def _described(tensors: list) -> str:
    return " and ".join(x._keras_history.operation.name for x in tensors)


def _is_graph(value: Any) -> bool:
    """Whether this is a model whose graph is known, so that it can be rebuilt."""
    if isinstance(value, keras.Sequential):
        return value.built
    # Only functional models list the operations of their graph.
    return isinstance(value, keras.Model) and hasattr(value, "operations")


def _structure(model: keras.Model, end: str) -> Any:
    """The inputs or outputs of a model in the form that it takes or gives them."""
    sequential = isinstance(model, keras.Sequential)
    return getattr(model, f"{end}s")[0] if sequential else getattr(model, end)


def _fresh_input(tensor: Any) -> Any:
    """An input like that of another model; the tensor itself does not always bear its name."""
    layer = tensor._keras_history.operation
    return keras.Input(
        batch_shape=tensor.shape, dtype=tensor.dtype, sparse=tensor.sparse, name=layer.name
    )


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
