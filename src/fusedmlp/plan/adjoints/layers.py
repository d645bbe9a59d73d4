"""Adjoints of the operations that layers stand for: products, activations, norms, tables."""

from __future__ import annotations

from ... import spec


def dense(builder, op, gradients, needed):
    x, kernel = op.inputs[:2]
    bias = op.inputs[2] if len(op.inputs) == 3 else None
    dz = _through_activation(builder, op, gradients[op.outputs[0]])
    if kernel in builder._trainable:  # then it is kept
        builder._errors[op.outputs[0]] = dz
    extra = {key: op.attributes[key] for key in ("precision",) if key in op.attributes}
    if kernel in builder._trainable:
        builder._emit("dense_dw", (x, dz), (builder._gradient_like(kernel),), "backward", **extra)
        builder._kept.add(dz)
    if bias is not None and bias in builder._trainable:
        builder._emit("dense_db", (dz,), (builder._gradient_like(bias),), "backward")
        builder._kept.add(dz)
    if x in needed:
        dx = builder._gradient_like(x)
        builder._emit("dense_dx", (dz, kernel), (dx,), "backward", activation="linear", params=(),
                      **extra)
        builder._accumulate(gradients, x, dx)


def sparse_dense(builder, op, gradients, needed):
    """As that of dense, without a gradient of the data."""
    rows, kernel, *bias = op.inputs
    dz = _through_activation(builder, op, gradients[op.outputs[0]])
    if kernel in builder._trainable:
        builder._errors[op.outputs[0]] = dz
        builder._emit("sparse_dw", (rows, dz), (builder._gradient_like(kernel),), "backward",
                      source=op.attributes["source"])
        builder._kept.add(dz)
    if bias and bias[0] in builder._trainable:
        builder._emit("dense_db", (dz,), (builder._gradient_like(bias[0]),), "backward")
        builder._kept.add(dz)


def _through_activation(builder, op, dy):
    """dz of a dense with a fused activation, written over dy where it is free."""
    name = op.attributes["activation"]
    if name == "linear":
        return dy
    row = spec.ACTIVATIONS[name]
    saved = op.outputs[0] if row.reads == "y" else op.outputs[1]
    dz = builder._or_new(dy)
    builder._emit("activation_grad", (dy, saved), (dz,), "backward", activation=name,
                  params=op.attributes["params"])
    return dz


def activation(builder, op, gradients, needed):
    row = spec.ACTIVATIONS[op.attributes["activation"]]
    dy = gradients[op.outputs[0]]
    saved = op.outputs[0] if row.reads == "y" else op.inputs[0]
    same = builder.columns(op.inputs[0]) == builder.columns(op.outputs[0])
    dx = builder._or_new(dy) if same else builder._gradient_like(op.inputs[0])
    builder._emit("activation_grad", (dy, saved), (dx,), "backward", **op.attributes)
    builder._accumulate(gradients, op.inputs[0], dx)


def prelu(builder, op, gradients, needed):
    x, alpha = op.inputs
    outputs = [builder._gradient_like(x)]
    if alpha in builder._trainable:
        outputs.append(builder._gradient_like(alpha))
    builder._emit("prelu_grad", (gradients[op.outputs[0]], x, alpha), outputs, "backward")
    builder._accumulate(gradients, x, outputs[0])


def _by(builder, op, gradients, name, factor):
    """dx is an op of dy and a factor."""
    dy = gradients[op.outputs[0]]
    dx = builder._or_new(dy)
    builder._emit(name, (dy, factor), (dx,), "backward")
    builder._accumulate(gradients, op.inputs[0], dx)


def mask(builder, op, gradients, needed):
    _by(builder, op, gradients, "multiply", op.outputs[1])


def noise(builder, op, gradients, needed):
    builder._accumulate(gradients, op.inputs[0], gradients[op.outputs[0]])


def _optional(op, first):
    """gamma and beta, or None each, among the inputs from number `first` on."""
    more = list(op.inputs[first:])
    gamma = more.pop(0) if op.attributes["scale"] else None
    return gamma, more.pop(0) if op.attributes["center"] else None


def standardize(builder, op, gradients, needed):
    x, mean, inv = op.inputs[:3]
    gamma, beta = _optional(op, 3)
    dy = gradients[op.outputs[0]]
    sums = []
    for parameter, part in ((gamma, "dgamma"), (beta, "dbeta")):
        if parameter in builder._trainable:
            sums.append(builder._gradient_like(parameter))
        else:
            sums.append(builder._new(f"{builder.buffers[op.outputs[0]].name}.{part}",
                                     builder.columns(x), "statistics", rows=1))
    builder._emit("batch_norm_sums", (dy, x, mean, inv), sums, "backward")
    if x in needed:
        more = () if gamma is None else (gamma,)
        more += builder._producer(mean).inputs[3:]  # the weights of the rows
        dx = builder._or_new(dy)
        builder._emit("batch_norm_dx", (dy, x, mean, inv, *sums, *more), (dx,), "backward",
                      scale=gamma is not None)
        builder._accumulate(gradients, x, dx)


def scale_shift(builder, op, gradients, needed):
    _by(builder, op, gradients, "scale_columns", op.inputs[1])


def row_norm(builder, op, gradients, needed):
    x = op.inputs[0]
    gamma, beta = _optional(op, 1)
    dy, saved = gradients[op.outputs[0]], op.outputs[1:]
    if gamma in builder._trainable:
        builder._emit("gamma_grad", (dy, x, *saved), (builder._gradient_like(gamma),), "backward")
        builder._kept.add(dy)
    if beta in builder._trainable:
        builder._emit("dense_db", (dy,), (builder._gradient_like(beta),), "backward")
        builder._kept.add(dy)
    if x in needed:
        dx = builder._gradient_like(x)
        more = () if gamma is None else (gamma,)
        builder._emit("row_norm_grad", (dy, x, *saved, *more), (dx,), "backward",
                      kind=op.attributes["kind"], epsilon=op.attributes["epsilon"],
                      scale=gamma is not None)
        builder._accumulate(gradients, x, dx)


def embedding(builder, op, gradients, needed):
    indices, table = op.inputs
    if table in builder._trainable:
        dy = gradients[op.outputs[0]]
        builder._emit("embedding_grad", (indices, dy), (builder._gradient_like(table),), "backward")
        builder._kept.add(dy)


def moved(builder, op, gradients, needed):
    """The adjoint of an op that moves elements about moves them back, adding up copies."""
    dx = builder._gradient_like(op.inputs[0])
    name = "put_columns" if op.op == "take_columns" else op.op
    builder._emit(name, (gradients[op.outputs[0]],), (dx,), "backward", **op.attributes)
    builder._accumulate(gradients, op.inputs[0], dx)


def column_affine(builder, op, gradients, needed):
    """y = (x - before) scale + after: dx = scale dy."""
    scale = op.attributes["scale"]
    zero = (0.0,) * len(scale)
    dx = builder._emit_backward("column_affine", (gradients[op.outputs[0]],), op.inputs[0],
                                before=zero, scale=scale, after=zero)
    builder._accumulate(gradients, op.inputs[0], dx)


def feature_norm(builder, op, gradients, needed):
    """y = (x - mean) / s: dx = dy / s; inverted, dx = s dy."""
    dy, (x, *moments) = gradients[op.outputs[0]], op.inputs
    dx = builder._emit_backward("feature_norm", (dy, *moments), x,
                                **{**op.attributes, "center": False})
    builder._accumulate(gradients, x, dx)


def none(builder, op, gradients, needed):
    """Steps and codes: the derivative is 0 wherever there is one."""
