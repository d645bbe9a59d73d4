"""`model.summary`: the layers of a model as a table."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np

from .. import tree
from ..layers.preprocessing.base import HostLayer
from ..layers.tensor import KerasTensor, PlanTensor, columns_of
from ..plan import Builder, Plan

__all__ = ["layer_costs", "summary_lines"]


def layer_costs(layer, inputs, dtype: str) -> tuple[int, int]:
    """Work and traffic of one layer in prediction, for one row.

    Parameters
    ----------
    layer : Layer
        Built, its variables in their arena.
    inputs : structure of KerasTensor
        What it is called on.
    dtype : str

    Returns
    -------
    flops, bytes : int
        As `fusedmlp.plan.Plan` counts them: a multiply-add is two operations; each array that is
        read or written counts once, parameters included.
    """
    builder = Builder(1, dtype)

    def placed(tensor):
        if not isinstance(tensor, KerasTensor):
            return tensor
        buffer = builder.input(columns_of(tensor.shape), "x")
        return PlanTensor(tensor.shape, dtype, builder, buffer)

    result = layer._emitted(builder, tree.map_leaves(placed, inputs), {}, None)
    plan: Plan = builder.finish([t.buffer for t in tree.leaves(result)])
    ops = [op for op in plan.ops if op.phase == "forward"]
    return sum(map(plan.flops, ops)), sum(map(plan.bytes, ops))


def summary_lines(model, line_length: int | None = None, positions=None,
                  expand_nested: bool = False, show_trainable: bool = False,
                  layer_range=None) -> list[str]:
    """The lines that `model.summary` prints; its arguments and errors are those of that method."""
    if not model.built:
        return _unbuilt_lines(model)
    model.place()
    calls = _calls(model)
    connected = any(len(call[3]) != 1 for call in calls) or _branches(model)
    shown_calls = _within(calls, layer_range)
    rows = [("Layer (type)", "Output", "Params", "Flops/row", "Bytes/row", "Trainable",
             "Connected to")]
    totals = np.zeros(3, dtype=np.int64)
    seen: set[int] = set()
    for layer, inputs, output, sources in calls:
        costs = _costs(layer, inputs, model.dtype)
        parameters = 0 if id(layer) in seen else sum(v.size for v in layer.variables)
        seen.add(id(layer))
        numbers = (parameters, *costs)
        totals += numbers
        if any(call[0] is layer for call in shown_calls):
            rows.append((_named(layer), _shapes(output), *(f"{n:,}" for n in numbers),
                         _mark(layer), ", ".join(sources) or "-"))
            if expand_nested:
                rows += _nested(layer, model.dtype, 1)
    rows.append(("Total", "", *(f"{n:,}" for n in totals.tolist()), "", ""))
    columns = [0, 1, 2, 3, 4, *([5] if show_trainable else []), *([6] if connected else [])]
    rows = [[row[i] for i in columns] for row in rows]
    widths = _widths(rows, line_length, positions)
    lines = [
        "  ".join(cell.rjust(width) if 2 <= i < 5 else cell.ljust(width)
                  for i, (cell, width) in enumerate(
                      (_cut(c, w), w) for c, w in zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    trainable = sum(v.size for v in model.trainable_variables)
    other = sum(v.size for v in model.variables) - trainable
    itemsize = np.dtype(model.dtype).itemsize
    lines = [f"Model: {model.name} ({model.dtype})", lines[0], rule, *lines[1:-1], rule, lines[-1],
             f"Trainable: {trainable:,} parameters ({_memory(trainable * itemsize)}), "
             f"other: {other:,}"]
    if model.optimizer is not None and model.optimizer.built:
        state = sum(slot.nbytes for slot in model.optimizer.slots)
        lines.append(f"Optimizer: {model.optimizer.name}, {_memory(state)} of state, "
                     f"{model.optimizer.iterations:,} updates made")
    return lines


def _unbuilt_lines(model):
    """A table of what is known of a model that is not built: its layers."""
    names = ["Layer (type)", *(_named(layer) for layer in model.layers)]
    width = max(map(len, names))
    rows = [f"{name.ljust(width)}  {'Output' if i == 0 else '?'}" for i, name in enumerate(names)]
    return [f"Model: {model.name} (not built)", rows[0], "-" * (width + 8), *rows[1:],
            "Shapes and parameters are known once there is an Input, data, or `build(input_shape)`"]


def _costs(layer, inputs, dtype):
    """Work and traffic; none where it is not known, or no part of a plan."""
    if inputs is None or isinstance(layer, HostLayer):
        return 0, 0
    return layer_costs(layer, inputs, dtype)


def _named(layer):
    return f"{layer.name} ({type(layer).__name__})"


def _shapes(output):
    return ", ".join(str(t.shape) for t in tree.leaves(output))


def _mark(layer):
    return "-" if not layer.variables else "yes" if layer.trainable else "no"


def _nested(layer, dtype, depth):
    """The rows of the layers within a model that is a layer; their costs are counted with it."""
    if not hasattr(layer, "_signature"):
        return []
    rows = []
    for inner, inputs, output, sources in _calls(layer):
        costs = _costs(inner, inputs, dtype)
        numbers = (sum(v.size for v in inner.variables), *costs)
        rows.append(("  " * depth + _named(inner), _shapes(output),
                     *(f"{n:,}" for n in numbers), _mark(inner), ", ".join(sources) or "-"))
        rows += _nested(inner, dtype, depth + 1)
    return rows


def _within(calls, layer_range):
    """The calls from the first to the last layer that are asked for."""
    if layer_range is None:
        return calls
    if not isinstance(layer_range, (list, tuple)) or len(layer_range) != 2:
        raise ValueError(
            "Argument `layer_range` must be a pair of names, or regular expressions. "
            f"Received: {layer_range!r}"
        )
    found = []
    for pattern in layer_range:
        places = [i for i, call in enumerate(calls) if re.match(pattern, call[0].name)]
        if not places:
            raise ValueError(
                f"Argument `layer_range` must name layers of the model. Received: {pattern!r}, "
                f"which is none of {', '.join(repr(call[0].name) for call in calls)}"
            )
        found.append(places)
    first, last = min(found[0] + found[1]), max(found[0] + found[1])
    return calls[first : last + 1]


def _widths(rows, line_length, positions):
    """How wide columns are: as their longest cell, unless something else is asked for."""
    count = len(rows[0])
    widths = [max(len(row[i]) for row in rows) for i in range(count)]
    if positions is not None:
        if len(positions) != count:
            raise ValueError(
                f"Argument `positions` must have one number for each of {count} columns. "
                f"Received: {positions!r}"
            )
        whole = 1 if positions[-1] > 1 else line_length or 80
        ends = [0, *(int(p * whole) for p in positions)]
        return [max(3, b - a - 2) for a, b in pairwise(ends)]
    if line_length is not None:
        excess = sum(widths) + 2 * (count - 1) - line_length
        for i in (0, 1, *range(5, count)):  # names and shapes; numbers stay whole
            taken = min(max(excess, 0), max(widths[i] - 12, 0))
            widths[i] -= taken
            excess -= taken
    return widths


def _cut(cell, width):
    """
    >>> _cut("dense_1 (Dense)", 10)
    'dense_1 (…'
    """
    return cell if len(cell) <= width else cell[: width - 1] + "…"


def _branches(model):
    """Whether a graph is more than a chain of layers."""
    graph = model._graph
    return graph is not None and (
        len(graph.flat_inputs) > 1 or any(len(n.input_tensors) > 1 for n in graph.nodes)
        or len(graph.nodes) > len(graph.operations) or len(graph.flat_outputs) > 1)


def _calls(model):
    """(layer, what it is called on, what it gives, names of what is connected) in order.

    What a layer is called on is None where it is not known: it counts with its parameters alone.
    """
    if model._graph is not None:
        return [(node.operation, None if node.is_input else node.args, node.outputs,
                 [t._keras_history.operation.name for t in node.input_tensors])
                for node in model._graph.nodes]
    if getattr(model, "_chain", None):
        return [(layer, (given,), output, [given._keras_history.operation.name])
                for layer, given, output in model._chain]
    return [(layer, None, [], [""]) for layer in model.layers]


def _memory(size):
    """
    >>> _memory(60), _memory(30040)
    ('60 B', '29.3 KiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.4g} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return ""
