"""`model.explain_plan`: a plan in sentences, with what was fused and what it costs."""

from __future__ import annotations

from .. import backend, config, spec
from ..plan import Op, Plan
from .summary import _memory

__all__ = ["explain_lines", "fused"]

_PHASES = {
    "gather": "Data",
    "prepare": "Before the step",
    "forward": "Forward",
    "effect": "Kept for variables and metrics",
    "loss": "Loss and metrics",
    "backward": "Backward",
    "update": "Update",
    "end": "Behind the step",
}
_SAYS = {
    "gather": "take the rows of the batch from the data",
    "dense": "product with {1}",
    "sparse_dense": "product of compressed rows with {1}",
    "dense_dw": "gradient of the kernel",
    "sparse_dw": "gradient of the kernel, from compressed rows",
    "dense_db": "gradient of the bias: sums of columns",
    "dense_dx": "gradient back through {1}",
    "activation_grad": "times the derivative",
    "reduce": "sum over the batch",
    "batch_statistics": "mean and variance of the batch",
    "standardize": "standardize the columns by the batch",
    "fold_statistics": "moving statistics as a factor and a summand",
    "scale_shift": "factor and summand of each column",
    "update": "the optimizer's step",
    "accumulate": "add the gradient of a further use",
    "softmax_cross_entropy": "softmax, cross-entropy and gradient in one pass",
}
_DETAILS = ("activation", "optimizer", "loss", "score", "tally", "kind")


def fused(plan: Plan) -> list[str]:
    """What became part of another operation, a sentence each.

    >>> import fusedmlp as fm
    >>> model = fm.Sequential([fm.Input((4,)), fm.layers.Dense(3, "relu", name="hidden")])
    >>> fused(model.plan())
    ['relu into the product that gives hidden.relu']
    """
    found = []
    for op in plan.ops:
        name = op.attributes.get("activation", "linear")
        if op.op in ("dense", "sparse_dense") and name != "linear":
            found.append(f"{name} into the product that gives {_name(plan, op.outputs[0])}")
        if op.op == "dense_dx" and len(op.inputs) == 3:
            found.append(f"the derivative of {name} into the product that gives "
                         f"{_name(plan, op.outputs[0])}")
        loss = op.attributes.get("loss", op.op)
        if op.phase == "loss" and loss in spec.LOSSES and spec.LOSSES[loss].logits_of:
            parts = f"{spec.LOSSES[loss].logits_of} into its loss {loss}"
            if len(op.outputs) > 1:
                parts += ", with the gradient"
            if len(op.outputs) > 2:
                parts += " and the hits of the accuracy"
            found.append(parts)
    return found


def explain_lines(model, plan: Plan) -> list[str]:
    """The lines of `Model.explain_plan`."""
    trains = any(op.phase == "update" for op in plan.ops)
    what = "A step of training" if trains else "A prediction"
    lines = [f"{what} of {model.name!r}: {plan.batch_size} rows, {plan.dtype}, "
             f"{len(plan.ops)} operations"]
    flops, traffic = 0, 0
    for phase, title in _PHASES.items():
        ops = [op for op in plan.ops if op.phase == phase]
        if not ops:
            continue
        work, moved = sum(map(plan.flops, ops)), sum(map(plan.bytes, ops))
        flops, traffic = flops + work, traffic + moved
        lines += ["", f"{title}: {work:,} flops, {_memory(moved)}"]
        rows = [(_name(plan, op.outputs[0]) if op.outputs else "", _sentence(plan, op),
                 f"{plan.flops(op):,}", _memory(plan.bytes(op))) for op in ops]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        lines += [f"  {made.ljust(widths[0])}  {says.ljust(widths[1])}  {a.rjust(widths[2])} flops"
                  f"  {b.rjust(widths[3])}" for made, says, a, b in rows]
    lines += ["", "Fused:"] + [f"  {sentence}" for sentence in fused(plan) or ["nothing"]]
    itemsize = 4 if plan.dtype == "float32" else 8
    held = sum((plan.batch_size * b.repeat if b.rows is None else b.rows) * b.pitch
               * (8 if b.dtype == "int64" else itemsize)
               for b in plan.buffers if b.offset is None)
    lines += [
        "",
        f"In all {flops:,} flops and {_memory(traffic)}, {flops / max(traffic, 1):.1f} flops a "
        f"byte; {_memory(held)} of workspace, {_memory(plan.parameter_size * itemsize)} of "
        "parameters",
        f"Backend {backend.current()!r}: {_threads()}",
    ]
    return lines


def _threads():
    if backend.kernels().native is None:
        return "threads are those of NumPy's BLAS"
    count = config.threads()
    if count == 1:
        return "1 thread"
    return (f"1 to {count} threads, whichever is measured to be faster while it runs; the result "
            "has the same bits")


def _name(plan, index):
    return plan.buffers[index].name


def _sentence(plan: Plan, op: Op) -> str:
    """What an operation does, and of which shape its result is."""
    names = [_name(plan, i) for i in op.inputs]
    says = _SAYS.get(op.op, op.op.replace("_", " ")).format(*names)
    if op.op in ("dense", "sparse_dense") and len(op.inputs) == 3:
        says += f" + {names[2]}"
    details = [str(op.attributes[key]) for key in _DETAILS if key in op.attributes]
    details = [detail for detail in details if detail not in ("linear", says)]
    if details:
        says += f", {' '.join(details)}"
    shown = op.outputs or op.inputs
    if shown:
        says += f" ({' x '.join(map(str, plan.shape(shown[0])))})"
    return says
