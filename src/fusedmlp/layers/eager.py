"""Calling a layer on arrays: a small plan, made once for each shape and kept with the layer."""

from __future__ import annotations

import numpy as np

from .. import backend, checks, random, tree
from ..plan import Builder
from ..variable import aligned_zeros, place_together
from .tensor import KerasTensor, PlanTensor, columns_of

__all__ = ["call_on_arrays"]

_KEPT = 8
_BLOCK_ROWS = 96


def call_on_arrays(layer, args: tuple, kwargs: dict):
    """What the layer makes of arrays, as arrays.

    Parameters
    ----------
    layer : Layer
        Built by this call where it is not.
    args, kwargs
        As its `call` takes them; every leaf that is an array, a number or a list of numbers is an
        input, whose first axis counts the rows.

    Raises
    ------
    ValueError, TypeError
        If there is no input, the numbers of rows differ, or shapes don't fit.
    """
    kwargs = dict(kwargs)
    training = bool(layer._asked_training(kwargs))
    args = tuple(_with_arrays(arg, f"inputs[{i}]" if i else "inputs") for i, arg in enumerate(args))
    kwargs = {name: _with_arrays(arg, name) for name, arg in kwargs.items()}
    layer._check_inputs(args, kwargs)
    given = [leaf for leaf in tree.leaves([list(args), kwargs]) if isinstance(leaf, np.ndarray)]
    if not given:
        raise ValueError(
            f"Layer {layer.name!r} must be called on an array or a symbolic tensor. Received: "
            f"{args!r}"
        )
    rows = {len(array) for array in given}
    if len(rows) > 1:
        raise ValueError(
            f"All inputs of {layer.name!r} must have the same number of rows. Received: shapes "
            f"{', '.join(str(array.shape) for array in given)}"
        )
    kinds = {id(a): "bool" if a.dtype == bool else layer.dtype for a in given}
    symbolic = {id(a): KerasTensor((None, *a.shape[1:]), kinds[id(a)], "input") for a in given}

    def filled(values):
        def fill(leaf):
            return values[id(leaf)] if isinstance(leaf, np.ndarray) else leaf

        return tree.map_leaves(fill, args), tree.map_leaves(fill, kwargs)

    filled_in = filled(symbolic)
    if not layer.built:
        layer._build_for(*filled_in)
        layer._check_inputs(args, kwargs)  # against what `build` says of them
    if any(not part.built for part in layer._sublayers):
        layer._traced(*filled_in, training)  # which builds what it calls
    training = training and layer.differs_in_training
    arena, size = _arena(layer)
    whole = rows.pop()
    key = (whole if training else None, backend.key(), layer.dtype, id(arena),
           tuple(array.shape[1:] for array in given), repr(sorted(kwargs)))
    # what looks at the batch as a whole, or counts batches, takes all rows at once
    key = next((k for k in (key, (*key, whole)) if k in layer._eager), key)
    kept = layer._eager.get(key)
    if kept is None or kept[0] is not arena:
        if len(layer._eager) >= _KEPT:
            layer._eager.clear()
        *made, mixes = _prepared(layer, given, filled, key[0], arena, size, _BLOCK_ROWS)
        if mixes and not training:
            key = (*key, whole)
            *made, _ = _prepared(layer, given, filled, key[0], arena, size, whole)
        kept = layer._eager[key] = (arena, *made)
    _, executor, outputs, added, values = kept
    arrays = tuple(
        np.ascontiguousarray(array.reshape(len(array), -1), dtype=layer.dtype) for array in given)
    results = _trained(executor, arrays) if training else _predicted(executor, arrays)
    count = len(results) - len(added)
    layer._called_losses = [_penalty(y, **factors) for y, factors in
                            zip(results[count:], added, strict=True)]
    found = iter(results)
    return tree.pack(outputs, (
        values[i][0].copy() if i in values else _reshaped(next(found), t.shape)
        for i, t in enumerate(tree.leaves(outputs))))


def _reshaped(array, shape):
    return array.reshape(len(array), *shape[1:])


def _penalty(y, linear, l1, l2):
    """What a layer added to the loss by an activation, the mean over the rows."""
    y = y.astype(np.float64)
    return float((linear * y + l1 * np.abs(y) + l2 * np.square(y)).sum() / max(len(y), 1))


def _with_arrays(argument, name):
    """An argument with its data as arrays: a list of numbers is one, a list of arrays several."""
    if argument is None or isinstance(argument, (str, bool, np.ndarray)):
        return argument
    if isinstance(argument, dict):
        return {key: _with_arrays(part, f"{name}[{key!r}]") for key, part in argument.items()}
    if isinstance(argument, (list, tuple)) and any(hasattr(part, "shape") for part in argument):
        return type(argument)(_with_arrays(p, f"{name}[{i}]") for i, p in enumerate(argument))
    array = checks.real_array(argument, name)
    return array if array.ndim else argument


def _arena(layer):
    """The arena that all variables of the layer lie in, which is made where there is none."""
    variables = layer.variables
    if not variables:
        return _NOTHING[layer.dtype], 0
    arena = variables[0].arena
    if arena is None or any(v.arena is not arena for v in variables):
        arena, _ = place_together(variables, set(), layer.dtype, None)
    return arena, arena.size


_NOTHING = {dtype: aligned_zeros(64, dtype) for dtype in ("float32", "float64")}


def _prepared(layer, given, filled, rows, arena, size, block):
    """The executor of the layer's plan, the tensors of its outputs, what adds to a loss, the
    values of outputs that have no rows, and whether a row's depends on the others.

    The plan is a step of training of so many `rows`, or with None a prediction in blocks.
    """
    builder = Builder(rows or block, layer.dtype, training=rows is not None)
    builder.arena = arena
    inputs = {id(a): PlanTensor((None, *a.shape[1:]), "bool" if a.dtype == bool else layer.dtype,
                                builder, builder.input(columns_of((None, *a.shape[1:])), "x"))
              for a in given}
    args, kwargs = filled(inputs)
    outputs = layer._emitted(builder, args, kwargs, None)
    if rows is not None:
        builder.totals.append("")  # runs as a step of training does
    from .deferred import value_of

    leaves = tree.leaves(outputs)
    # what has no row for each row, such as a variable or a number, is made of all rows at once
    whole = {i: value_of(t) for i, t in enumerate(leaves) if not getattr(t, "by_rows", True)}
    builder.mixes_rows |= bool(whole)
    results = [t.buffer for i, t in enumerate(leaves) if i not in whole]
    added = builder.added_losses
    results += [builder.packed(y) for y, _ in added]
    plan = builder.finish(results, parameter_size=size)
    executor = backend.executor(plan, arena, (), random.next_seed())
    return executor, outputs, [factors for _, factors in added], whole, builder.mixes_rows


def _predicted(executor, arrays):
    buffers = executor.plan.buffers
    results = tuple(np.empty((len(arrays[0]), buffers[i].columns * buffers[i].repeat),
                             arrays[0].dtype) for i in executor.plan.outputs)
    executor.forward(arrays, results)
    return results


def _trained(executor, arrays):
    """One step as in training, which draws other random numbers each time."""
    rows = len(arrays[0])
    iteration = random.next_seed() & 0x7FFFFFFF
    executor.run(arrays, np.arange(rows), rows, 0, 1, np.zeros(1), iteration, np.inf)
    return [executor.buffer(index) for index in executor.plan.outputs]
