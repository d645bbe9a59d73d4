"""Adjoints of the operations that combine, cut and join buffers."""

from __future__ import annotations


def add(builder, op, gradients, needed):
    """y = a + b: both gradients are dy."""
    for x in op.inputs:
        if x in needed:
            builder._accumulate(gradients, x, gradients[op.outputs[0]])


def subtract(builder, op, gradients, needed):
    """y = a - b: da = dy, db = -dy."""
    dy, (a, b) = gradients[op.outputs[0]], op.inputs
    if b in needed:
        db = builder._emit_backward("affine", (dy,), b, factor=-1.0, shift=0.0)
        builder._accumulate(gradients, b, db)
    if a in needed:
        builder._accumulate(gradients, a, dy)


def multiply(builder, op, gradients, needed):
    """y = a b: da = dy b, db = dy a."""
    _of_each(builder, op, gradients, needed, "multiply", lambda dy, x, other: (dy, other))


def _of_each(builder, op, gradients, needed, name, read):
    """The gradient of each of two inputs: an op of what it reads of dy, the input and the other."""
    dy, (a, b) = gradients[op.outputs[0]], op.inputs
    for x, other in ((a, b), (b, a)):
        if x in needed:
            builder._accumulate(gradients, x,
                                builder._emit_backward(name, read(dy, x, other), x))


def divide(builder, op, gradients, needed):
    """y = a / b: da = dy / b, db = -da y."""
    dy, (a, b), y = gradients[op.outputs[0]], op.inputs, op.outputs[0]
    da = builder._emit_backward("divide", (dy, b), a)
    if b in needed:
        product = builder._emit_backward("multiply", (da, y), b)
        builder._emit("affine", (product,), (product,), "backward", factor=-1.0, shift=0.0)
        builder._accumulate(gradients, b, product)
    if a in needed:
        builder._accumulate(gradients, a, da)


def extreme(builder, op, gradients, needed):
    """y = max(a, b) or min(a, b): dy to the one that it is, half to each where they are equal."""
    _of_each(builder, op, gradients, needed, f"{op.op}_grad", lambda *read: read)


def affine(builder, op, gradients, needed):
    """y = factor x + shift: dx = factor dy."""
    dy = gradients[op.outputs[0]]
    if op.attributes["factor"] != 1.0:
        dx = builder._or_new(dy)
        builder._emit("affine", (dy,), (dx,), "backward", factor=op.attributes["factor"],
                      shift=0.0)
        dy = dx
    builder._accumulate(gradients, op.inputs[0], dy)


def power(builder, op, gradients, needed):
    """y = x^p: dx = p x^(p - 1) dy."""
    (x,), p = op.inputs, op.attributes["exponent"]
    slope = builder._emit_backward("power", (x,), x, exponent=p - 1.0)
    builder._emit("affine", (slope,), (slope,), "backward", factor=p, shift=0.0)
    builder._emit("multiply", (slope, gradients[op.outputs[0]]), (slope,), "backward")
    builder._accumulate(gradients, x, slope)


def log(builder, op, gradients, needed):
    """y = log x: dx = dy / x."""
    (x,) = op.inputs
    builder._accumulate(
        gradients, x, builder._emit_backward("divide", (gradients[op.outputs[0]], x), x))


def broadcast(builder, op, gradients, needed):
    """y_k = factor x: dx = factor sum_k dy_k."""
    dx = builder._emit_backward("row_sum", (gradients[op.outputs[0]],), op.inputs[0],
                                **op.attributes)
    builder._accumulate(gradients, op.inputs[0], dx)


def row_sum(builder, op, gradients, needed):
    """y = factor sum_k x_k: dx_k = factor dy."""
    dx = builder._emit_backward("broadcast", (gradients[op.outputs[0]],), op.inputs[0],
                                **op.attributes)
    builder._accumulate(gradients, op.inputs[0], dx)


def row_dot(builder, op, gradients, needed):
    """y = sum_k a_k b_k: da = dy b, db = dy a."""
    dy, (a, b) = gradients[op.outputs[0]], op.inputs
    for x, other in ((a, b), (b, a)):
        if x in needed:
            builder._accumulate(gradients, x, builder._emit_backward("scale_rows", (other, dy), x))


def scale_rows(builder, op, gradients, needed):
    """y = s x: dx = s dy, ds = sum_k dy_k x_k."""
    dy, (x, s) = gradients[op.outputs[0]], op.inputs
    if x in needed:
        builder._accumulate(gradients, x, builder._emit_backward("scale_rows", (dy, s), x))
    if s in needed:
        builder._accumulate(gradients, s, builder._emit_backward("row_dot", (dy, x), s))


def concatenate(builder, op, gradients, needed):
    """Each part gets its columns of dy."""
    dy, start, groups = gradients[op.outputs[0]], 0, op.attributes["groups"]
    for x in op.inputs:
        if x in needed:
            dx = builder._emit_backward("slice", (dy,), x, start=start, groups=groups)
            builder._accumulate(gradients, x, dx)
        start += builder.columns(x) // groups


def repeat(builder, op, gradients, needed):
    """y = p in each row: dp is the sum of dy over the rows."""
    dy, (parameter,) = gradients[op.outputs[0]], op.inputs
    builder._emit("dense_db", (dy,), (builder._gradient_like(parameter),), "backward")
    builder._kept.add(dy)


def slice(builder, op, gradients, needed):
    """The columns that were taken get dy, the others 0."""
    dx = builder._emit_backward("place", (gradients[op.outputs[0]],), op.inputs[0],
                                **op.attributes)
    builder._accumulate(gradients, op.inputs[0], dx)
