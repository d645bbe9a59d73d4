"""A list of calls that was noted down, as something that can be run, forwards and backwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import tree
from .derivatives import CONSTANT, RULES

__all__ = ["Program"]


class Program:
    """The calls that one result takes, each once, in an order in which they can be made.

    Parameters
    ----------
    output : node
        Something with an attribute `expression`, a triple (function, args, kwargs).
    leaves : sequence
        What arrays will be given for, told by identity.  Everything else is constant.

    Attributes
    ----------
    nodes : list
        Those that are computed, in their order.

    Examples
    --------
    >>> class Node:
    ...     def __init__(self, *expression):
    ...         self.expression = expression
    >>> x = object()
    >>> program = Program(Node(np.sum, (Node(np.square, (x,), {}),), {}), [x])
    >>> float(program.run([np.array([1.0, 2.0])]))
    5.0
    >>> program.gradients([np.array([1.0, 2.0])], np.float64(1.0), [True])
    [array([2., 4.])]
    """

    def __init__(self, output: Any, leaves: Sequence):
        self._output, self._leaves = output, list(leaves)
        self._known = {id(leaf) for leaf in leaves}
        self.nodes: list = []
        self._kept = [output, *leaves]  # an `id` is that of one object as long as it is there
        seen = set(self._known)
        stack = [(output, False)]
        while stack:
            node, ready = stack.pop()
            if ready:
                self.nodes.append(node)
            elif id(node) not in seen:
                seen.add(id(node))
                stack.append((node, True))
                stack += [(part, False) for part in tree.leaves(list(node.expression[1]))
                          if _is_node(part)]

    def run(self, arrays: Sequence[np.ndarray]) -> Any:
        """The result for the leaves' arrays."""
        return self._values(arrays)[id(self._output)]

    def _values(self, arrays):
        values = dict(zip(map(id, self._leaves), arrays, strict=True))
        with np.errstate(all="ignore"):
            for node in self.nodes:
                function, args, kwargs = node.expression
                values[id(node)] = function(*self._filled(args, values), **kwargs)
        return values

    def _filled(self, args, values):
        return [tree.map_leaves(lambda part: values.get(id(part), part), list(arg))
                if isinstance(arg, (list, tuple)) else values.get(id(arg), arg) for arg in args]

    def without_derivative(self, wanted: Sequence[bool]) -> str | None:
        """The name of a function on the way from wanted leaves that has no rule; None if all do."""
        for node in self._on_the_way(wanted)[0]:
            if node.expression[0] not in RULES:
                return node.expression[0].__name__
        return None

    def _on_the_way(self, wanted):
        """Nodes that depend on the wanted leaves, and the identities of these and of the leaves."""
        reached = {id(leaf) for leaf, asked in zip(self._leaves, wanted, strict=True) if asked}
        nodes = []
        for node in self.nodes:
            if node.expression[0] not in CONSTANT and any(
                    id(part) in reached for part in tree.leaves(list(node.expression[1]))):
                reached.add(id(node))
                nodes.append(node)
        return nodes, reached

    def gradients(self, arrays: Sequence[np.ndarray], g: Any, wanted: Sequence[bool]) -> list:
        """Gradients at the leaves, from the gradient `g` at the result.

        Parameters
        ----------
        arrays : sequence of ndarray
        g : array_like
            Of the shape of the result.
        wanted : sequence of bool
            For which leaves; the others get None.
        """
        values = self._values(arrays)
        nodes, reached = self._on_the_way(wanted)
        found = {id(self._output): g}
        with np.errstate(all="ignore"):
            for node in reversed(nodes):
                g = found.pop(id(node), None)
                if g is None:
                    continue
                function, args, kwargs = node.expression
                y, given = values[id(node)], self._filled(args, values)
                if isinstance(y, (list, tuple)):
                    g = [np.zeros_like(part) if one is None else one
                         for part, one in zip(y, g, strict=True)]
                parts = RULES[function](g, y, *given, **kwargs)
                for arg, part in zip(args, parts, strict=False):
                    if isinstance(arg, (list, tuple)):
                        for one, its in zip(arg, part, strict=True):
                            _add(found, one, its, values, reached)
                    elif part is not None:
                        _add(found, arg, part, values, reached)
        return [self._of_leaf(leaf, asked, found, values)
                for leaf, asked in zip(self._leaves, wanted, strict=True)]

    @staticmethod
    def _of_leaf(leaf, asked, found, values):
        if not asked:
            return None
        g = found.get(id(leaf))
        return np.zeros_like(values[id(leaf)]) if g is None else g


def _is_node(part):
    return getattr(part, "expression", None) is not None


def _add(found, arg, g, values, reached):
    """Add a gradient to what an argument has got so far."""
    if id(arg) not in reached:
        return
    before = found.get(id(arg))
    value = values[id(arg)]
    if isinstance(value, (list, tuple)):
        found[id(arg)] = [a if b is None else b if a is None else a + b for a, b in
                          zip(before or [None] * len(value), g, strict=True)]
        return
    g = summed_to(np.asarray(g), np.shape(value))
    found[id(arg)] = g if before is None else before + g


def summed_to(g: np.ndarray, shape: tuple) -> np.ndarray:
    """The gradient at an array of `shape` that was broadcast, from that at what it became.

    >>> summed_to(np.ones((3, 2)), (1, 2))
    array([[3., 3.]])
    """
    if g.shape == tuple(shape):
        return g
    front = g.ndim - len(shape)
    if front < 0:  # a number that stands for every element
        return np.broadcast_to(g, shape)
    if front:
        g = g.sum(axis=tuple(range(front)))
    wide = tuple(i for i, n in enumerate(shape) if n == 1 and g.shape[i] != 1)
    if wide:
        g = g.sum(axis=wide, keepdims=True)
    return g if g.shape == tuple(shape) else np.broadcast_to(g, shape)
