"""`model.summary`: the layers of a model as a table."""

from __future__ import annotations

import numpy as np

from ..plan import Builder, Plan

__all__ = ["layer_costs", "summary_lines"]


def layer_costs(layer, columns: int, dtype: str) -> tuple[int, int]:
    """Work and traffic of one layer in prediction, for one row.

    Parameters
    ----------
    layer : Layer
        Built, its variables in their arena.
    columns : int
        Of its input.

    Returns
    -------
    flops, bytes : int
        As `fusedmlp.plan.Plan` counts them: a multiply-add is two operations; each array that is
        read or written counts once, parameters included.
    """
    builder = Builder(1, dtype)
    output = layer.lower(builder, builder.input(columns))
    plan: Plan = builder.finish((output,))
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
    rows = [("Layer (type)", "Output", "Params", "Flops/row", "Bytes/row")]
    totals = np.zeros(3, dtype=np.int64)
    shape = model.input_shape
    for layer in model.layers:
        costs = layer_costs(layer, shape[1], model.dtype)
        shape = layer.compute_output_shape(shape)
        numbers = (layer.count_params(), *costs)
        totals += numbers
        rows.append((f"{layer.name} ({type(layer).__name__})", str(shape),
                     *(f"{n:,}" for n in numbers)))
    rows.append(("Total", "", *(f"{n:,}" for n in totals.tolist())))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    lines = [
        "  ".join(cell.ljust(width) if i < 2 else cell.rjust(width)
                  for i, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    trainable = sum(v.size for v in model.trainable_variables)
    other = int(totals[0]) - trainable
    itemsize = np.dtype(model.dtype).itemsize
    lines = [f"Model: {model.name} ({model.dtype})", lines[0], rule, *lines[1:-1], rule, lines[-1],
             f"Trainable: {trainable:,} parameters ({_memory(trainable * itemsize)}), "
             f"other: {other:,}"]
    if model.optimizer is not None and model.optimizer.built:
        state = sum(slot.nbytes for slot in model.optimizer.slots)
        lines.append(f"Optimizer: {model.optimizer.name}, {_memory(state)} of state, "
                     f"{model.optimizer.iterations:,} updates made")
    return lines


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
