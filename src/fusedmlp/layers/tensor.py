"""Symbolic tensors, and the nodes that record which call of a layer made them.

A `KerasTensor` stands for an array that is not there yet: a shape whose rows are open, and a dtype.
Calling a layer on tensors gives tensors, and leaves a `Node` behind; models are made from these
records.  A `PlanTensor` is a tensor that already has a buffer in a plan under construction: calling
a layer on it emits the layer's operations.  So one and the same code, a layer's own `call`, gives
shapes, graphs and plans.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from math import prod
from typing import Any, NamedTuple

import numpy as np

from .. import tracing, tree
from ..plan import Builder
from ..tracing import SymbolicError
from .naming import auto_name

__all__ = ["History", "KerasTensor", "Node", "PlanTensor", "SymbolicError", "columns_of",
           "node_of", "recording", "unrecorded"]

_recording: contextvars.ContextVar[bool] = contextvars.ContextVar("recording", default=True)


def recording() -> bool:
    """Whether calls of layers leave nodes behind; not so within a layer's own `call`."""
    return _recording.get()


@contextlib.contextmanager
def unrecorded() -> Iterator[None]:
    """Within this block calls of layers leave no nodes behind."""
    token = _recording.set(False)
    try:
        yield
    finally:
        _recording.reset(token)


def columns_of(shape: tuple) -> int:
    """Columns of the buffer that holds one row of this shape.

    >>> columns_of((None, 4, 3))
    12
    """
    return prod(shape[1:])


class History(NamedTuple):
    """Which output of which call of which layer a tensor is."""

    operation: Any
    node_index: int
    tensor_index: int


class KerasTensor:
    """An array that is not there yet.

    Parameters
    ----------
    shape : tuple
        The rows first, which may be None.
    dtype : str
    name : str, optional

    Attributes
    ----------
    shape : tuple
    dtype : str
    name : str

    Examples
    --------
    >>> KerasTensor((None, 4), name="x")
    <KerasTensor shape=(None, 4), dtype=float32, name=x>
    """

    __array_priority__ = 1000.0
    def __init__(self, shape, dtype: str = "float32", name: str | None = None):
        self.shape = tuple(shape)
        self.dtype = str(dtype)
        self.name = auto_name("keras_tensor") if name is None else name
        self._keras_history = History(None, 0, 0)
        self._keras_mask: KerasTensor | None = None

    @property
    def ndim(self) -> int:
        """Number of axes, with that of the rows."""
        return len(self.shape)

    def _refuse(self, what="this can be done with arrays alone"):
        raise SymbolicError(
            f"{self!r} has no values before data is passed to a model, and {what}. It can be "
            "combined by +, -, *, /, ** and passed to layers and activations; the `call` of a "
            "layer of one's own, or the function of a `layers.Lambda`, may use all of NumPy"
        )

    def activated(self, name: str, params: dict) -> KerasTensor:
        """An activation of it, by name and parameters."""
        from .. import activations

        return getattr(activations, name)(self, **params)

    def astype(self, dtype) -> KerasTensor:
        """The numbers of another dtype."""
        from .arithmetic import cast

        return cast(self, dtype)

    def halted(self) -> KerasTensor:
        """The same numbers, which let no gradient through."""
        from .deferred import halted

        return self.given_to(halted)

    def given_to(self, function, *args) -> KerasTensor:
        """What a function of arrays makes of it and of constants."""
        from .deferred import defer

        return defer(function, (self, *args), {}, self)

    def __array__(self, *args, **kwargs):
        self._refuse()

    def __array_ufunc__(self, function, method, *inputs, **kwargs):
        from .arithmetic import ufunc

        return ufunc(self, function, method, inputs, kwargs)

    def __array_function__(self, function, types, args, kwargs):
        from .arithmetic import array_function

        return array_function(self, function, args, kwargs)

    def __getattr__(self, name):
        if not name.startswith("_") and hasattr(np.ndarray, name):
            self._refuse(f"`{name}` is an attribute of arrays")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __eq__(self, other):
        if tracing.current() is None or other is None or isinstance(other, str):
            return NotImplemented  # the tensor itself is meant
        from .arithmetic import _deferred

        return _deferred(np.equal, self, other)

    def __ne__(self, other):
        if tracing.current() is None or other is None or isinstance(other, str):
            return NotImplemented
        from .arithmetic import _deferred

        return _deferred(np.not_equal, self, other)

    __hash__ = object.__hash__

    def __float__(self):
        self._refuse("it is no number")

    def __int__(self):
        self._refuse("it is no number")

    def __bool__(self):
        self._refuse("it has no truth value")

    def __iter__(self):
        self._refuse("it can't be iterated over")

    def __len__(self):
        self._refuse("it has no length")

    def __repr__(self):
        return f"<KerasTensor shape={self.shape}, dtype={self.dtype}, name={self.name}>"


class PlanTensor(KerasTensor):
    """A tensor that is a buffer of a plan under construction.

    Attributes
    ----------
    builder : fusedmlp.plan.Builder
    buffer : int
    """

    def __init__(self, shape, dtype: str, builder: Builder, buffer: int):
        self.shape, self.dtype, self.name = tuple(shape), dtype, builder.buffers[buffer].name
        self._keras_history = History(None, 0, 0)
        self._keras_mask = None
        self.builder, self.buffer = builder, buffer


class Node:
    """One call of a layer: what it was called with, and the tensors that came out.

    Parameters
    ----------
    operation : Layer
    args, kwargs
        Of the call.
    outputs
        A tensor, or a structure of tensors; each gets its history.
    """

    def __init__(self, operation, args: tuple, kwargs: dict, outputs: Any):
        self.operation, self.args, self.kwargs, self.outputs = operation, args, kwargs, outputs
        self.input_tensors = [leaf for leaf in tree.leaves([list(args), kwargs])
                              if isinstance(leaf, KerasTensor)]
        self.output_tensors = tree.leaves(outputs)
        number = len(operation._inbound_nodes)
        for place, tensor in enumerate(self.output_tensors):
            tensor._keras_history = History(operation, number, place)
        operation._inbound_nodes.append(self)

    @classmethod
    def unrecorded(cls, operation, x, outputs) -> Node:
        """A node of a call on one tensor that nobody is told of."""
        node = cls.__new__(cls)
        node.operation, node.args, node.kwargs, node.outputs = operation, (x,), {}, outputs
        node.input_tensors, node.output_tensors = [x], tree.leaves(outputs)
        return node

    @property
    def is_input(self) -> bool:
        """Whether it is where data comes in."""
        return not self.input_tensors

    @property
    def parents(self) -> list[Node]:
        """The nodes that made the input tensors, each once."""
        found = {id(node): node for node in map(node_of, self.input_tensors)}
        return list(found.values())

    def filled(self, values: dict[int, Any]) -> tuple[tuple, dict]:
        """The arguments of the call with tensors replaced by `values`, which go by their `id`."""
        def replaced(leaf):
            return values[id(leaf)] if isinstance(leaf, KerasTensor) else leaf

        return tree.map_leaves(replaced, self.args), tree.map_leaves(replaced, self.kwargs)


def node_of(tensor: KerasTensor) -> Node:
    """The node that made a tensor."""
    operation, index, _ = tensor._keras_history
    return operation._inbound_nodes[index]
