"""Nested structures of lists, tuples and dicts: what models with several inputs and outputs take.

Leaves come in the order of the places; those of a dict in the order of its sorted keys, as Keras
has it.  This module knows nothing of what the leaves are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

__all__ = ["leaves", "map_leaves", "pack", "paths"]


def leaves(structure: Any) -> list:
    """All leaves of a structure, in order.

    >>> leaves([1, {"b": 2, "a": (3, 4)}])
    [1, 3, 4, 2]
    """
    if isinstance(structure, Mapping):
        return [leaf for key in sorted(structure) for leaf in leaves(structure[key])]
    if isinstance(structure, (list, tuple)):
        return [leaf for part in structure for leaf in leaves(part)]
    return [structure]


def map_leaves(function: Callable, structure: Any) -> Any:
    """The same structure with `function` applied to each leaf.

    >>> map_leaves(lambda x: x + 1, {"a": [1, 2], "b": (3,)})
    {'a': [2, 3], 'b': (4,)}
    """
    if isinstance(structure, Mapping):
        done = {key: map_leaves(function, structure[key]) for key in sorted(structure)}
        return {key: done[key] for key in structure}
    if isinstance(structure, tuple) and hasattr(structure, "_fields"):
        return type(structure)(*(map_leaves(function, part) for part in structure))
    if isinstance(structure, (list, tuple)):
        return type(structure)(map_leaves(function, part) for part in structure)
    return function(structure)


def pack(structure: Any, values: Iterable) -> Any:
    """`values` in the places of the leaves of `structure`.

    >>> pack({"b": 0, "a": [0, 0]}, "xyz")
    {'b': 'z', 'a': ['x', 'y']}
    """
    values = iter(values)
    return map_leaves(lambda _: next(values), structure)


def paths(structure: Any, prefix: tuple = ()) -> list[tuple]:
    """The keys and places that lead to each leaf, in the order of `leaves`.

    >>> paths({"a": [1, 2], "b": 3})
    [('a', 0), ('a', 1), ('b',)]
    """
    if isinstance(structure, Mapping):
        return [p for key in sorted(structure) for p in paths(structure[key], (*prefix, key))]
    if isinstance(structure, (list, tuple)):
        return [p for i, part in enumerate(structure) for p in paths(part, (*prefix, i))]
    return [prefix]
