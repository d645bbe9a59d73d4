"""Where data goes in and predictions come out: names, shapes, and how people pass what belongs.

A model with one input takes one array; one with several takes a list in their order, or a dict by
their names.  This module knows of a model its ports and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

from .. import spec, tree

__all__ = ["Port", "is_several", "per_port", "spread"]


class Port(NamedTuple):
    """An input or an output of a model.

    Attributes
    ----------
    name : str
    shape : tuple
        The rows, which may be None, then the shape of a sample.
    masked : bool
        Whether an output comes with a mask of its steps.
    weighed : bool
        Whether the steps of an output have weights of their own.
    """

    name: str
    shape: tuple
    masked: bool = False
    weighed: bool = False

    @property
    def columns(self) -> int:
        """Columns of its buffer: the elements of a sample."""
        return prod(self.shape[1:])


def is_several(x: Any) -> bool:
    """Whether data is a dict, or a list or tuple of arrays, rather than rows of numbers.

    >>> import numpy as np
    >>> is_several([np.ones((2, 3))]), is_several([[1.0, 2.0]]), is_several({"x": [[1.0]]})
    (True, False, True)
    """
    if isinstance(x, Mapping):
        return True
    if not isinstance(x, (list, tuple)) or not len(x):
        return False
    if all(hasattr(part, "shape") and len(part.shape) > 1 for part in x):
        return True
    return any(isinstance(part, (dict, list, tuple)) and is_several(part) for part in x)


def spread(x: Any, ports: Sequence[Port], name: str, missing: bool = False
           ) -> list[tuple[str, Any]]:
    """What belongs to each port, with the name that messages call it by.

    Parameters
    ----------
    x
        One thing for a single port (also in a list or dict of one); a list in the order of the
        ports, or a dict by their names, or a structure with as many leaves, for several.
    ports : sequence of Port
    name : str
        Of the argument.
    missing : bool
        Whether ports may go without; they get None.

    Raises
    ------
    ValueError
        If there are others than the ports, or fewer.

    >>> spread({"b": 2, "a": 1}, [Port("a", (None, 1)), Port("b", (None, 1))], "x")
    [("x['a']", 1), ("x['b']", 2)]
    """
    names = [port.name for port in ports]
    if isinstance(x, Mapping) and not any(isinstance(part, Mapping) for part in x.values()):
        unknown = [key for key in x if key not in names]
        if unknown:
            raise ValueError(
                f"The keys of argument `{name}` must be {', '.join(map(repr, names))}. "
                f"{spec.nearest(unknown[0], names, 'key')}"
            )
        absent = [key for key in names if key not in x]
        if absent and not missing:
            raise ValueError(
                f"Argument `{name}` must have the keys {', '.join(map(repr, names))}. "
                f"Received: keys {', '.join(map(repr, x))}, without {absent[0]!r}"
            )
        if len(ports) == 1:
            return [(name, x.get(names[0]))]
        return [(f"{name}[{key!r}]", x.get(key)) for key in names]
    if len(ports) == 1:
        return [(name, x[0] if len(x) == 1 and is_several(x) else x)
                if isinstance(x, (list, tuple)) else (name, x)]
    if isinstance(x, (list, tuple, Mapping)):
        nested = any(isinstance(part, (Mapping, tuple)) for part in
                     (x.values() if isinstance(x, Mapping) else x))
        parts = tree.leaves(x) if nested or isinstance(x, Mapping) else list(x)
        if len(parts) == len(ports):
            return [(f"{name}[{i}]", part) for i, part in enumerate(parts)]
        received = f"a {type(x).__name__} of {len(x)}"
    else:
        received = f"one {type(x).__name__}"
    raise ValueError(
        f"Argument `{name}` must be a list of {len(ports)} or a dict, one for each of "
        f"{', '.join(map(repr, names))}. Received: {received}"
    )


def per_port(value: Any, ports: Sequence[Port], name: str, single=(str, dict)) -> list:
    """What was asked for of each output: one thing for all, a list or dict with one for each.

    >>> ports = [Port("a", (None, 1)), Port("b", (None, 1))]
    >>> per_port("mse", ports, "loss"), per_port({"b": "mse"}, ports, "loss")
    (['mse', 'mse'], [None, 'mse'])
    """
    names = [port.name for port in ports]
    if isinstance(value, Mapping) and "class_name" not in value:
        unknown = [key for key in value if key not in names]
        if unknown:
            raise ValueError(
                f"The keys of argument `{name}` must be names of outputs. "
                f"{spec.nearest(unknown[0], names, 'output')}"
            )
        return [value.get(key) for key in names]
    if isinstance(value, (list, tuple)):
        if len(value) != len(ports):
            wanted = ("be a single one, because the model has one output" if len(ports) == 1 else
                      f"have one element for each of the outputs {', '.join(map(repr, names))}")
            raise ValueError(f"Argument `{name}` must {wanted}. Received: {value!r}")
        return list(value)
    return [value] * len(ports)
