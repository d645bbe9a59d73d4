"""The graph between symbolic inputs and outputs: which calls of which layers lie on the way.

It knows nodes and their order; what a call computes is the business of the layers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import tree
from ..layers.input import Input
from ..layers.layer import Layer
from ..layers.tensor import History, KerasTensor, Node, node_of

__all__ = ["Graph"]


class Graph:
    """Calls of layers between inputs and outputs, in an order in which they can be made.

    Parameters
    ----------
    inputs, outputs : KerasTensor, or structure of such
        An input that is itself the output of a layer is where the graph begins all the same.
    name : str
        Of the model, for messages.

    Attributes
    ----------
    inputs, outputs : structure of KerasTensor
    nodes : list of Node
        Beginning with those of the inputs.
    operations : list of Layer
        Each once: those furthest from the outputs first, and among equals in the order in which
        they are met going back from the outputs, which is the order of Keras.

    Raises
    ------
    ValueError, TypeError
        If something is no symbolic tensor, a tensor can't be reached from the inputs, or a name
        occurs twice.
    """

    def __init__(self, inputs: Any, outputs: Any, name: str):
        for argument, structure in (("inputs", inputs), ("outputs", outputs)):
            found = tree.leaves(structure)
            wrong = [leaf for leaf in found if not isinstance(leaf, KerasTensor)]
            if wrong or not found:
                raise ValueError(
                    f"Argument `{argument}` of a model must hold symbolic tensors, as "
                    "`fusedmlp.Input` and calls of layers on such give them. "
                    f"Received: {argument}={structure!r}"
                )
        if any(not node_of(t).is_input for t in tree.leaves(inputs)):
            inputs, outputs = _from_new_inputs(inputs, outputs, name)
        self.inputs, self.outputs = inputs, outputs
        self._order(name)

    @property
    def flat_inputs(self) -> list[KerasTensor]:
        """The inputs in the order in which data is taken."""
        return tree.leaves(self.inputs)

    @property
    def flat_outputs(self) -> list[KerasTensor]:
        """The outputs in the order in which targets are taken."""
        return tree.leaves(self.outputs)

    def _order(self, name):
        inputs = {id(t): t for t in self.flat_inputs}
        if len(inputs) < len(self.flat_inputs):
            raise ValueError(
                f"Each tensor among the inputs of model {name!r} must occur once. Received: "
                f"{self.inputs!r}"
            )
        nodes, seen = _topological(self.flat_outputs, inputs, name)
        depth: dict[int, int] = {}
        deepest: dict[int, int] = {}
        for node in reversed(nodes):
            here = max(depth.get(id(node), 0), deepest.get(id(node.operation), 0))
            depth[id(node)] = deepest[id(node.operation)] = here
            for parent in [] if node.is_input else node.parents:
                depth[id(parent)] = max(here + 1, depth.get(id(parent), 0))
        for tensor in self.flat_inputs:  # also those that no output depends on
            node = node_of(tensor)
            if id(node) not in depth:
                nodes.insert(0, node)
                depth[id(node)] = deepest[id(node.operation)] = 0
                seen[id(node.operation)] = -1
        operations = {id(node.operation): node.operation for node in nodes}
        self.operations: list[Layer] = sorted(
            operations.values(), key=lambda op: (-deepest[id(op)], seen[id(op)]))
        self.nodes: list[Node] = sorted(nodes, key=lambda node: -depth[id(node)])
        names = [operation.name for operation in self.operations]
        for twice in names:
            if names.count(twice) > 1:
                raise ValueError(
                    f"All layers of model {name!r} must have names of their own. "
                    f"Received: {names.count(twice)} layers called {twice!r}"
                )

    def run(self, values: list, call: Callable | None = None) -> list:
        """What comes out of the graph for `values` of the inputs, tensors of whatever kind.

        Parameters
        ----------
        values : list
            In the order of `flat_inputs`.
        call : callable (node, args, kwargs), optional
            Makes the calls; by default the node's layer is called.
        """
        known = {id(t): v for t, v in zip(self.flat_inputs, values, strict=True)}
        for node in self.nodes:
            if node.is_input:
                continue
            args, kwargs = node.filled(known)
            result = call(node, args, kwargs) if call else node.operation(*args, **kwargs)
            known.update((id(t), v) for t, v in
                         zip(node.output_tensors, tree.leaves(result), strict=True))
        return [known[id(t)] for t in self.flat_outputs]

    def reattach(self) -> None:
        """Give the layers their nodes back, after a copy."""
        for node in self.nodes:
            if node.is_input:
                node.operation._inbound_nodes = []
        for operation in self.operations:
            operation._inbound_nodes = []
        for node in self.nodes:
            number = len(node.operation._inbound_nodes)
            for place, tensor in enumerate(node.output_tensors):
                tensor._keras_history = History(node.operation, number, place)
            node.operation._inbound_nodes.append(node)


def _topological(outputs, inputs, name, stop=()):
    """Nodes with parents before children, and the turn in which each operation was met.

    Tensors whose `id` is in `stop` are not gone back from.
    """
    done: set[int] = set()
    nodes: list[Node] = []
    seen: dict[int, int] = {}
    stack: list[tuple] = []  # one of its own: graphs may be deeper than Python's

    def enter(tensor):
        if id(tensor) in stop:
            return
        if tensor._keras_history.operation is None:
            raise ValueError(
                f"A tensor of model {name!r} was made by no call of a layer that is known. "
                f"Received: {tensor!r}"
            )
        node = node_of(tensor)
        if id(node) in done:
            return
        if node.is_input and id(tensor) not in inputs:
            raise ValueError(
                f"Argument `inputs` of model {name!r} must hold every Input that its outputs "
                f"depend on. Received: inputs without {tensor!r}"
            )
        seen.setdefault(id(node.operation), len(seen))
        stack.append((node, iter(node.input_tensors)))

    for output in outputs:
        enter(output)
        while stack:
            node, remaining = stack[-1]
            parent = next(remaining, None)
            if parent is not None:
                enter(parent)
                continue
            stack.pop()
            if id(node) not in done:  # met again while its parents were gone through
                done.add(id(node))
                nodes.append(node)
    return nodes, seen


def _from_new_inputs(inputs, outputs, name):
    """The same graph begun at new Inputs in place of tensors that layers gave.

    The layers are called once more, on the new Inputs, and so share their weights.
    """
    fresh = {}
    for tensor in tree.leaves(inputs):
        fresh[id(tensor)] = tensor if node_of(tensor).is_input else Input(
            batch_shape=tensor.shape, dtype=tensor.dtype)
    kept = {id(t): t for t in tree.leaves(inputs)}
    nodes, _ = _topological(tree.leaves(outputs), kept, name, kept)
    for node in nodes:
        args, kwargs = node.filled(fresh)
        result = node.operation(*args, **kwargs)
        fresh.update((id(t), v) for t, v in
                     zip(node.output_tensors, tree.leaves(result), strict=True))
    return (tree.map_leaves(lambda t: fresh[id(t)], inputs),
            tree.map_leaves(lambda t: fresh[id(t)], outputs))
