"""Which array of a file belongs to which variable of a model, and what to say where none does.

Formats make lists of `Match`; `assign` changes the model only once all of them fit.  This module
knows no format.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..layers.layer import Layer
from ..variable import Variable

__all__ = ["Match", "assign", "by_name", "by_order", "leaves"]

_SHOWN = 6  # misfits that a message names


class Match(NamedTuple):
    """A variable and its array; None for what the model, or the file, does not have."""

    variable: Variable | None
    name: str  # of the array in the file, or under which it was looked for
    array: np.ndarray | None


def leaves(layer: Layer) -> Iterator[Layer]:
    """The layers with variables of their own, in order, those of nested models included."""
    inner = getattr(layer, "layers", None)
    if inner is None:
        if layer.variables:
            yield layer
        return
    for part in inner:
        yield from leaves(part)


def by_order(variables: Iterable[Variable],
             arrays: Iterable[tuple[str, np.ndarray]]) -> list[Match]:
    """The first array to the first variable, and so on."""
    variables, arrays = list(variables), list(arrays)
    matches = [Match(v, name, a) for v, (name, a) in zip(variables, arrays, strict=False)]
    matches += [Match(v, v.path, None) for v in variables[len(arrays):]]
    return matches + [Match(None, name, a) for name, a in arrays[len(variables):]]


def by_name(variables: Iterable[Variable], arrays: Mapping[str, np.ndarray]) -> list[Match]:
    """The variables whose paths are names of arrays; the others are left out."""
    return [Match(v, v.path, arrays[v.path]) for v in variables if v.path in arrays]


def assign(model: Layer, matches: list[Match], filepath: str | Path,
           skip_mismatch: bool = False) -> None:
    """Overwrite the variables, once all arrays are known to fit.

    Parameters
    ----------
    model : Model
    matches : list of Match
    filepath : str or Path
        For messages.
    skip_mismatch : bool
        Leave the variables alone that share a layer with a misfit, with a warning.

    Raises
    ------
    ValueError
        If something doesn't fit and `skip_mismatch` is False.
    """
    misfits = [match for match in matches if not _fits(match)]
    if misfits:
        shown = "; ".join(_described(match) for match in misfits[:_SHOWN])
        if len(misfits) > _SHOWN:
            shown += f"; and {len(misfits) - _SHOWN} more"
        text = (f"the weights of {model.name!r}, but {len(misfits)} of them do not fit: {shown}. "
                f"Received: filepath={str(filepath)!r}")
        if not skip_mismatch:
            raise ValueError(f"Argument `filepath` must hold {text}")
        warnings.warn(f"The file was to hold {text}. Their layers are left as they were",
                      stacklevel=4)
    left = {_layer(match.variable) for match in misfits if match.variable is not None}
    for match in matches:
        if _fits(match) and _layer(match.variable) not in left:
            match.variable.assign(match.array)


def _layer(variable):
    return variable.path.rpartition("/")[0]


def _fits(match):
    return (match.variable is not None and match.array is not None
            and match.array.shape == match.variable.shape and match.array.dtype.kind in "fiub")


def _described(match):
    variable, name, array = match
    if variable is None:
        return f"the file has {name!r} {array.shape}, which the model does not"
    wanted = f"{variable.path!r} {variable.shape}"
    if array is None:
        return f"{wanted} is not there" + ("" if name == variable.path else f" as {name!r}")
    if array.shape != variable.shape:
        return f"{wanted} differs from {name!r} {array.shape}"
    return f"{wanted} differs from {name!r}, which holds {array.dtype}"
