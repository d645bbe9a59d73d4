"""`model.summary`: the layers of a model as a table."""

from __future__ import annotations

import numpy as np

from .. import tree
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


def summary_lines(model) -> list[str]:
    """The lines that `model.summary` prints; ValueError if the model is not built."""
    if not model.built:
        raise ValueError(
            f"Model {model.name!r} has nothing to show before it is built: give it an Input, or "
            "call `build(input_shape)`"
        )
    model.place()
    calls = _calls(model)
    connected = any(len(call[3]) != 1 for call in calls) or _branches(model)
    rows = [("Layer (type)", "Output", "Params", "Flops/row", "Bytes/row", "Connected to")]
    totals = np.zeros(3, dtype=np.int64)
    seen: set[int] = set()
    for layer, inputs, output, sources in calls:
        costs = (0, 0) if inputs is None else layer_costs(layer, inputs, model.dtype)
        parameters = 0 if id(layer) in seen else sum(v.size for v in layer.variables)
        seen.add(id(layer))
        numbers = (parameters, *costs)
        totals += numbers
        shown = [str(t.shape) for t in tree.leaves(output)]
        rows.append((f"{layer.name} ({type(layer).__name__})", ", ".join(shown),
                     *(f"{n:,}" for n in numbers), ", ".join(sources) or "-"))
    rows.append(("Total", "", *(f"{n:,}" for n in totals.tolist()), ""))
    count = 6 if connected else 5
    widths = [max(len(row[i]) for row in rows) for i in range(count)]
    lines = [
        "  ".join(cell.rjust(width) if 2 <= i < 5 else cell.ljust(width)
                  for i, (cell, width) in enumerate(zip(row, widths, strict=False))).rstrip()
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
