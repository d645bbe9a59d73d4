"""Models from models and from texts: copies with new weights, and networks described in JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from .. import layers as layers_module
from .. import tree
from ..layers.input import Input, InputLayer
from ..layers.layer import Layer
from ..layers.tensor import KerasTensor
from ..registry import custom_object_scope
from .functional import Functional
from .model import Model
from .sequential import Sequential

__all__ = ["clone_model", "model_from_json"]


def clone_model(model: Model, input_tensors: Any = None,
                clone_function: Callable[[Layer], Layer] | None = None,
                call_function: Callable | None = None, recursive: bool = False) -> Model:
    """A model of the same layers with new weights, compiled as the first one is.

    Parameters
    ----------
    model : Model
        A `Sequential`, a model of a graph, or one whose class has ``get_config``.
    input_tensors : symbolic tensor, or structure of such, optional
        Where the copy begins, in place of new Inputs; of the structure of the model's inputs.
    clone_function : callable (layer) -> layer, optional
        Makes the layer that takes a layer's place; by default an equal one from its config.  A
        layer that is called several times is cloned once.
    call_function : callable (layer, *args, **kwargs) -> outputs, optional
        Calls a new layer, for models of a graph.
    recursive : bool
        Whether models among the layers are cloned with the same functions, instead of by
        `clone_function`.

    Raises
    ------
    TypeError
        If `model` is no model, or a function is none.
    ValueError
        If an argument doesn't apply to such a model, or `input_tensors` have another structure.

    References
    ----------
    Keras 3, keras.models.clone_model.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> model = fm.Sequential([fm.Input((4,)), fm.layers.Dense(3, name="d")])
    >>> again = clone_model(model)
    >>> again.get_layer("d").kernel.shape, again.get_layer("d") is model.get_layer("d")
    ((4, 3), False)
    """
    if not isinstance(model, Model):
        raise TypeError(
            f"Argument `model` must be a model. Received: {model!r} of type {type(model).__name__}"
        )
    for name, function in (("clone_function", clone_function), ("call_function", call_function)):
        if function is not None and not callable(function):
            raise TypeError(f"Argument `{name}` must be a function. Received: {function!r}")
    if call_function is not None and not isinstance(model, Functional):
        raise ValueError(
            "Argument `call_function` is for models of a graph, whose layers are called when they "
            f"are made. Received: call_function={call_function!r} for {model!r}"
        )
    if not isinstance(model, (Functional, Sequential)):
        if clone_function is not None or input_tensors is not None:
            raise ValueError(
                "Arguments `clone_function` and `input_tensors` are for models whose layers are "
                f"known without a call, Sequential or of a graph. Received: {model!r}"
            )
        return type(model).from_config(model.get_config())
    made: dict[int, Layer] = {}

    def clone(layer):
        if id(layer) not in made:
            if recursive and isinstance(layer, (Functional, Sequential)):
                inner = call_function if isinstance(layer, Functional) else None
                made[id(layer)] = clone_model(layer, None, clone_function, inner, True)
            elif clone_function is None or not layer._is_part:
                made[id(layer)] = _equal(layer)
            else:
                made[id(layer)] = clone_function(layer)
        return made[id(layer)]

    if isinstance(model, Sequential):
        copy = _clone_sequential(model, input_tensors, clone)
    else:
        copy = _clone_functional(model, input_tensors, clone, call_function)
    if model.compiled:
        copy.compile_from_config(model.get_compile_config())
    return copy


def _equal(layer):
    return type(layer).from_config(layer.get_config())


def _checked(input_tensors, inputs):
    """`input_tensors`, which must be symbolic and in the same places as `inputs`."""
    if (tree.paths(input_tensors) != tree.paths(inputs)
            or not all(isinstance(t, KerasTensor) for t in tree.leaves(input_tensors))):
        raise ValueError(
            "Argument `input_tensors` must hold symbolic tensors in the structure of the model's "
            f"inputs, {inputs!r}. Received: {input_tensors!r}"
        )
    return input_tensors


def _clone_sequential(model, input_tensors, clone):
    stack = [_equal(layer) if isinstance(layer, InputLayer) else clone(layer)
             for layer in model._stack]
    if input_tensors is not None:
        if isinstance(input_tensors, (list, tuple)) and len(input_tensors) == 1:
            (input_tensors,) = input_tensors
        tensor = _checked(input_tensors, "one tensor")
        first = Input(tensor.shape[1:], dtype=tensor.dtype)
        stack = [first, *(layer for layer in stack if not isinstance(layer, InputLayer))]
    return Sequential(stack, trainable=model._trainable, name=model.name)


def _clone_functional(model, input_tensors, clone, call_function):
    graph = model._graph
    if input_tensors is None:
        inputs = tree.map_leaves(
            lambda t: Input(batch_shape=t.shape, dtype=t.dtype, name=t.name), graph.inputs)
    else:
        inputs = _checked(input_tensors, graph.inputs)

    def call(node, args, kwargs):
        layer = clone(node.operation)
        return (call_function or type(layer).__call__)(layer, *args, **kwargs)

    outputs = tree.pack(graph.outputs, graph.run(tree.leaves(inputs), call))
    return Functional(inputs, outputs, name=model.name, trainable=model._trainable)


def model_from_json(json_string: str, custom_objects: Mapping[str, Any] | None = None) -> Model:
    """A model from what `Model.to_json` returned, or Keras's: its weights are new.

    Parameters
    ----------
    json_string : str
    custom_objects : mapping, optional
        Classes and functions of your own by name, besides the registered ones.

    Raises
    ------
    ValueError
        If it is no JSON, or describes no model, or classes that are not known here.

    References
    ----------
    Keras 3, keras.models.model_from_json.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> model = fm.Sequential([fm.Input((4,)), fm.layers.Dense(3)])
    >>> model_from_json(model.to_json()).count_params()
    15
    """
    from ..saving.keras_config import translate

    try:
        config = json.loads(json_string)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Argument `json_string` must be JSON, but {error}. Received: {json_string!r:.80}"
        ) from None
    with custom_object_scope(custom_objects or {}):
        model = layers_module.deserialize(translate(config))
    if not isinstance(model, Model):
        raise ValueError(
            f"Argument `json_string` must describe a model. Received: that of {model!r}"
        )
    return model
