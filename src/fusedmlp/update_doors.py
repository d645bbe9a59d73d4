"""The checked functions ``fusedmlp.ops.<row>_update`` of the optimizers that need no hand-made one.

Each is made from its row of `spec.OPTIMIZERS`: arguments, limits, documentation and call.  This
module knows the kernels' contract and no optimizer by name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

from . import backend, checks, spec

__all__ = ["update_door"]

_POSITIONAL = inspect.Parameter.POSITIONAL_OR_KEYWORD
_BY_NAME = inspect.Parameter.KEYWORD_ONLY


def update_door(row: spec.Optimizer) -> Callable[..., None]:
    """The function for a row: ``f(param, grad, *slots, [step,] learning_rate, *, ...)``.

    >>> import numpy as np
    >>> lion_update = update_door(spec.OPTIMIZERS["lion"])
    >>> w, m = np.array([1.0, 1.0]), np.zeros(2)
    >>> lion_update(w, [5.0, -0.5], m, 0.1)
    >>> w
    array([0.9, 1.1])
    """
    arrays = ("param", "grad", *row.slots)
    numbers = ("learning_rate", *(name for name, _ in row.params))
    given = (*arrays, *(("step",) if row.counts else ()), "learning_rate")
    signature = inspect.Signature(
        [inspect.Parameter(name, _POSITIONAL) for name in given]
        + [inspect.Parameter(name, _BY_NAME, default=default) for name, default in row.params],
        return_annotation=None)
    name = f"{row.name}_update"

    def update(*args, **kwargs):
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{name}(): {error}") from None
        bound.apply_defaults()
        values = bound.arguments
        rest = [checks.number(values[key], key, **spec.limits(key)) for key in numbers]
        if row.counts:
            rest.insert(0, checks.integer(values["step"], "step", 1))
        kernel = getattr(backend.kernels().optimizers, name)
        found, copies = _arrays(row, [values[key] for key in arrays], arrays)
        kernel(*found, *rest)
        for array, copy in copies:
            array[...] = copy

    update.__name__ = update.__qualname__ = name
    update.__module__ = "fusedmlp.ops"
    update.__signature__ = signature
    update.__doc__ = _documentation(row, given)
    return update


def _arrays(row, given, names):
    """What the kernel takes, and the copies to bring back (see `checks.updated_arrays`)."""
    full = [i for i, name in enumerate(names) if name not in row.factored]
    flat, copies = checks.updated_arrays(
        tuple(given[i] for i in full), tuple(names[i] for i in full), "grad")
    if row.kind == "elementwise":
        return flat, copies
    param = given[0]
    matrix = row.name == "muon" and param.ndim != 2
    if matrix or param.ndim not in (1, 2):
        wanted = "(rows, columns)" if row.name == "muon" else "(rows, columns) or (columns,)"
        raise ValueError(
            f"Argument `param` must have shape {wanted}. Received: shape {param.shape}")
    found = dict(zip(full, (array.reshape(param.shape) for array in flat), strict=True))
    lengths = {"row": param.shape[:1] if param.ndim == 2 else (1,), "column": param.shape[-1:]}
    for i, name in enumerate(names):
        if name in row.factored:
            checks.output(given[i], lengths[name], param.dtype, name)
            found[i] = given[i]
    return [found[i] for i in range(len(names))], copies


def _documentation(row, given):
    shape = "(rows, columns)" if row.kind == "variable" else "any shape"
    if row.kind == "variable" and row.name != "muon":
        shape += " or (columns,)"
    slots = [f"    {name} : ndarray, {_slot_shape(row, name)}\n"
             f"        State, updated in place; {_begins(row, name)} before the first step."
             for name in row.slots]
    limits = {name: spec.limits(name) for name, _ in row.params}
    numbers = [f"    {name} : float\n        {_limit(limits[name])}" for name, _ in row.params]
    step = ["    step : int\n        t, which counts from 1."] if row.counts else []
    equations = "\n".join(f"        {line}" for line in row.equations)
    arrays = "".join(f", {name}" for name in row.slots)
    example = [
        ">>> import numpy as np", ">>> from fusedmlp import ops",
        ">>> w = np.array([[2.0, -1.0], [1.0, 3.0]])", ">>> before = w.copy()"]
    for name in row.slots:
        size = "2" if name in row.factored else "(2, 2)"
        begins = dict(row.initial).get(name)
        value = ("w.copy()" if begins == "param" else f"np.full({size}, 0.1)" if begins
                 else f"np.zeros({size})")
        example.append(f">>> {name} = {value}")
    example += [f">>> ops.{row.name}_update(w, [[1.0, -2.0], [0.5, 4.0]]{arrays}, "
                f"{'1, ' if row.counts else ''}0.1)",
                ">>> bool((np.sign(before - w) == [[1, -1], [1, 1]]).all())", "True"]
    return "\n".join([
        f"One step of the optimizer {row.name!r}, in place.", "",
        "    With gradient g and parameter w::", "", equations, "",
        "    Parameters", "    ----------",
        f"    param : ndarray of float32 or float64, {shape}", "        Updated in place.",
        "    grad : array_like, shape of `param`", *slots, *step,
        "    learning_rate : float", "        At least 0.", *numbers, "",
        "    Raises", "    ------", "    ValueError, TypeError",
        "        If an array to update is read-only, of another shape or dtype, or shares memory "
        "with",
        "        another, or if a number is out of its range.  Nothing is changed then.", "",
        "    Notes", "    -----", f"    {row.source}.", "",
        "    Examples", "    --------", *(f"    {line}" for line in example), "    "])


def _slot_shape(row, name):
    if name in row.factored:
        return {"row": "shape (rows,), of 1 for a vector", "column": "shape (columns,)"}[name]
    return "shape and dtype of `param`"


def _begins(row, name):
    begins = dict(row.initial).get(name)
    return ("zeros" if begins is None else "a copy of `param`" if begins == "param"
            else f"the optimizer's `{begins}`")


def _limit(limits):
    texts = [text for key, text in (("low", "at least {:g}"), ("high", "at most {:g}"),
                                    ("below", "below {:g}")) if key in limits
             for text in [text.format(limits[key])]]
    return f"{' and '.join(texts) or 'Any number'}.".capitalize()
