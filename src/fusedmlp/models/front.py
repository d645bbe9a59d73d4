"""What of a model is computed on the data before it gets to a plan: lookups of words and the like.

Layers that no plan computes (`HostLayer`) stand in front of all others.  A model with such layers
takes the data that its Inputs say, words included, lets these layers transform it once, and feeds
its plan with what comes out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import tree
from ..layers import tensor as tensors
from ..layers.preprocessing.base import HostLayer, values
from ..layers.tensor import KerasTensor, Node, PlanTensor
from ..plan import Builder
from ..training.data import features
from ..training.ports import Port, spread

__all__ = ["Front", "opened"]


class Front:
    """The calls of `HostLayer` in a graph, and the tensors that a plan begins with.

    Parameters
    ----------
    inputs : sequence of Port
        What people pass.
    tensors_ : sequence of KerasTensor
        The tensors of these.
    nodes : sequence of Node
        Of the whole graph, parents before children.
    outputs : sequence of KerasTensor

    Attributes
    ----------
    ports : list of Port
        What the plan takes: the inputs that others than host layers read, then what these give.
    """

    def __init__(self, inputs: Sequence[Port], tensors_: Sequence[KerasTensor],
                 nodes: Sequence[Node], outputs: Sequence[KerasTensor]):
        self._inputs, self._tensors, self._outputs = list(inputs), list(tensors_), list(outputs)
        known = {id(t) for t in tensors_}
        self._calls: list[Node] = []
        self._others: list[Node] = []
        for node in nodes:
            if node.is_input:
                continue
            if isinstance(node.operation, HostLayer) and all(
                    id(t) in known for t in node.input_tensors):
                self._calls.append(node)
                known.update(id(t) for t in node.output_tensors)
            else:
                self._others.append(node)
        read = {id(t) for node in self._others for t in node.input_tensors}
        read.update(id(t) for t in outputs)
        self._raw = {id(t) for node in self._calls for t in node.input_tensors}
        found = [(port.name, t) for port, t in zip(inputs, tensors_, strict=True) if id(t) in read]
        found += [(node.operation.name, t) for node in self._calls for t in node.output_tensors
                  if id(t) in read]
        self._feeds = [t for _, t in found]
        self.ports = [Port(name, tuple(t.shape) if len(t.shape) > 1 else (None, 1))
                      for name, t in found]

    @property
    def names(self) -> list[str]:
        """Names of the host layers."""
        return [node.operation.name for node in self._calls]

    @property
    def needed(self) -> bool:
        """Whether there is any such call."""
        return bool(self._calls)

    def feed(self, x: Any, name: str, dtype: np.dtype) -> tuple[np.ndarray, ...]:
        """Arrays for the plan's inputs from what people pass.

        Raises
        ------
        ValueError, TypeError
            If there are others than the inputs, or shapes or kinds don't fit.
        """
        known, first = {}, None
        read = {id(t) for t in self._feeds}
        for (label, value), port, tensor in zip(spread(x, self._inputs, name), self._inputs,
                                                self._tensors, strict=True):
            if id(tensor) in self._raw:
                array = known[id(tensor)] = _shaped(values(value, label), label, port)
            if id(tensor) in read:
                array = features(value, label, port.columns, dtype, port.shape)
                if id(tensor) in self._raw:
                    known[id(tensor), "feed"] = array
                else:
                    known[id(tensor)] = array
            if first is not None and len(array) != first[1]:
                raise ValueError(
                    f"Arguments `{first[0]}` and `{label}` must have the same number of rows. "
                    f"Received: {first[1]} and {len(array)}"
                )
            first = first or (label, len(array))
        for node in self._calls:
            args, kwargs = node.filled(known)
            kwargs.pop("training", None)
            known[id(node.output_tensors[0])] = node.operation.transform(*args, **kwargs)
        return tuple(
            features(known.get((id(t), "feed"), known[id(t)]), port.name, port.columns, dtype,
                     port.shape)
            for t, port in zip(self._feeds, self.ports, strict=True))

    def lower(self, builder: Builder, inputs: Sequence[int]) -> list[PlanTensor]:
        """Emit the operations behind these layers for buffers of the `ports`; the outputs."""
        known = {id(t): PlanTensor(t.shape, builder.dtype, builder, buffer)
                 for t, buffer in zip(self._feeds, inputs, strict=True)}
        with tensors.unrecorded():
            for node in self._others:
                args, kwargs = node.filled(known)
                result = tree.leaves(node.operation(*args, **kwargs))
                known.update((id(t), v) for t, v in zip(node.output_tensors, result, strict=True))
        return [known[id(t)] for t in self._outputs]


def opened(nodes: Sequence[Node]) -> list[Node]:
    """Calls of layers with those of the models among them that hold host layers in their place.

    Parameters
    ----------
    nodes : sequence of Node
        Parents before children.
    """
    found = []
    for node in nodes:
        model = node.operation
        inside = [] if node.is_input or node.kwargs else getattr(model, "_nodes", list)()
        if not _hold_host_layers(inside):
            found.append(node)
            continue
        given, made = (tree.leaves(part) for part in model._signature)
        places = {**dict(zip(map(id, made), node.output_tensors, strict=True)),
                  **dict(zip(map(id, given), node.input_tensors, strict=True))}
        if any(id(t) in map(id, given) for t in made):  # an output that is an input
            found.append(node)
            continue
        found += opened([_replaced(inner, places) for inner in inside if not inner.is_input])
    return found


def _hold_host_layers(nodes):
    return any(isinstance(node.operation, HostLayer)
               or _hold_host_layers(getattr(node.operation, "_nodes", list)())
               for node in nodes if not node.is_input)


def _replaced(node, places):
    """The same call between other tensors; those that it makes are put into `places`."""
    args, kwargs = node.filled(places)
    for tensor in node.output_tensors:
        places.setdefault(id(tensor), KerasTensor(tensor.shape, tensor.dtype))
    other = Node.__new__(Node)
    other.operation, other.args, other.kwargs = node.operation, args, kwargs
    other.outputs = tree.map_leaves(lambda t: places[id(t)], node.outputs)
    other.input_tensors = [leaf for leaf in tree.leaves([list(args), kwargs])
                           if isinstance(leaf, KerasTensor)]
    other.output_tensors = tree.leaves(other.outputs)
    return other


def _shaped(array, label, port):
    """Raw data as (rows, ...) of the port's shape; a single column may come without its axis."""
    if array.ndim == 1 and tuple(port.shape[1:]) == (1,):
        array = array.reshape(-1, 1)
    if array.shape[1:] != tuple(port.shape[1:]) or not len(array):
        wanted = ", ".join(map(str, ("rows", *port.shape[1:])))
        raise ValueError(
            f"Argument `{label}` must have shape ({wanted}). Received: shape {array.shape}"
        )
    return array
