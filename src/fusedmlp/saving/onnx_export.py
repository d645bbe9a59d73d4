"""ONNX graphs of models: the plan that predicts, operation by operation.

A model is lowered as for prediction, and each operation of its plan becomes the nodes of its form
in `fusedmlp.saving.onnx_forms`.  So every layer can be exported that lowers to operations, and
this module knows none.  onnx is imported on use.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .. import checks, spec
from .._version import __version__
from ..models import Model
from ..training.execution import lower
from .files import check_target, optional, write_bytes
from .onnx_forms import ACTIVATIONS, LAYERS, OPERATIONS, GraphWriter, chosen
from .weights import check_built

__all__ = ["export_onnx", "to_onnx"]

OPSET = 17  # of May 2022, the first with LayerNormalization
_LOWEST = 13
_KINDS = {"float32": 1, "float64": 11, "int64": 7}  # onnx.TensorProto.DataType


def to_onnx(model: Model, opset: int = OPSET) -> Any:
    """The ONNX graph of a model as it predicts.

    Parameters
    ----------
    model : Model
        Built.  Its dtype becomes that of the graph; the number of rows stays open.
    opset : int
        Version of the operators, from 13 up to the latest that the installed onnx knows.  With
        later ones some activations become a single node (Gelu from 20 on).

    Returns
    -------
    onnx.ModelProto
        Checked by `onnx.checker`.  Dropout and the like are absent.  Inputs, outputs and weights
        carry the model's names.

    Raises
    ------
    ValueError
        If the model is not built, computes something in Python, or `opset` is out of range.
    TypeError
        If `model` is no model.
    ImportError
        If onnx is missing.

    References
    ----------
    https://onnx.ai/onnx/operators

    Examples
    --------
    >>> import fusedmlp as fm
    >>> model = fm.Sequential([fm.Input((4,)), fm.layers.Dense(3, activation="relu")])
    >>> graph = fm.saving.to_onnx(model).graph  # doctest: +SKIP
    >>> [node.op_type for node in graph.node]  # doctest: +SKIP
    ['Gemm', 'Relu']
    """
    check_built(model)
    onnx = optional("onnx", "An ONNX graph", "onnx")
    opset = checks.integer(opset, "opset", _LOWEST)
    latest = onnx.defs.onnx_opset_version()
    if opset > latest:
        raise ValueError(
            f"Argument `opset` must be from {_LOWEST} to {latest}, the latest that onnx "
            f"{onnx.__version__} knows. Received: {opset}"
        )
    proto = _graph(model, opset)
    result = onnx.helper.make_model(
        proto, opset_imports=[onnx.helper.make_opsetid("", opset)], producer_name="fusedmlp",
        producer_version=__version__,
    )
    result.ir_version = onnx.helper.find_min_ir_version_for(result.opset_import)
    onnx.checker.check_model(result, full_check=True)
    return result


def export_onnx(model: Model, filepath: str | Path, opset: int = OPSET,
                overwrite: bool = True) -> None:
    """Write a model to an ONNX file, which other programs run.

    Parameters
    ----------
    model : Model
    filepath : str or Path
    opset : int
        See `to_onnx`.
    overwrite : bool
        Whether a file that exists may be replaced.  It is replaced as a whole or not at all.

    Raises
    ------
    ValueError, TypeError, ImportError
        See `to_onnx`; if the file exists and may not be replaced.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> model = fm.Sequential([fm.Input((4,)), fm.layers.Dense(3, activation="relu")])
    >>> fm.saving.export_onnx(model, "model.onnx")  # doctest: +SKIP
    """
    path = check_target(filepath, overwrite)
    write_bytes(path, to_onnx(model, opset).SerializeToString(), overwrite)


def _graph(model, opset):
    from onnx import helper

    if model.front is not None:
        raise ValueError(
            f"A model that is exported must take numbers: {', '.join(map(repr, model.front.names))}"
            " works on data before it gets to a network. Export a model of what lies behind, and "
            f"call the layer on the data first. Received: model {model.name!r}"
        )
    model.place()
    plan, _ = lower(model, 1)
    ports, results = model.ports()
    variables = {v.offset: v for v in model.variables}
    writer = GraphWriter(opset, plan.dtype)
    tensors, inputs, outputs = {}, [], []
    for index, port in zip(plan.inputs, ports, strict=True):
        given = writer.unique(port.name)
        inputs.append(helper.make_tensor_value_info(
            given, _KINDS[plan.buffers[index].dtype], ("rows", *port.shape[1:])))
        tensors[index] = _reshaped(writer, given, port.shape, (plan.buffers[index].columns,))
    for buffer in plan.buffers:
        if buffer.role == "parameter":
            variable = variables[buffer.offset]
            tensors[buffer.index] = writer.array(variable.numpy(), variable.path)
    writer.parameters = dict(tensors)
    names = {}  # what the outputs are to be called, where the operation can call them so
    for index, port in zip(plan.outputs, results, strict=True):
        if len(port.shape) == 2:
            names.setdefault(index, writer.reserve(port.name))
    for op in plan.ops:
        if op.op != "gather":
            made = _operation(writer, plan, op, tensors, names)
            tensors.update(dict.fromkeys(op.outputs, made))
    for index, port in zip(plan.outputs, results, strict=True):
        own = names.pop(index, None)
        name = tensors[index]
        if len(port.shape) > 2:
            name = _reshaped(writer, name, (None, port.columns), port.shape[1:], port.name)
        elif name != own:  # an input, or the same output again
            name = writer.write("Identity(x)", {"x": name}, own or port.name)
        outputs.append(helper.make_tensor_value_info(
            name, _KINDS[plan.dtype], ("rows", *port.shape[1:])))
    return helper.make_graph(writer.nodes, model.name, inputs, outputs,
                             list(writer.initializers.values()))


def _reshaped(writer, name, shape, wanted, output=None):
    """A tensor whose rows have the shape `wanted`, or the tensor itself if they have."""
    if tuple(shape[1:]) == tuple(wanted):
        return name
    return writer.write("Reshape(x, shape)", {"x": name, "shape": [-1, *wanted]},
                        output or f"{name}.rows")


def _operation(writer, plan, op, tensors, outputs):
    """Write one operation of a plan; the name of the tensor that holds its output."""
    index = op.outputs[0]
    output = outputs.get(index)
    if output is None:
        output = plan.buffers[index].name
        if output in outputs.values():  # a softmax has its layer's name, what it reads has, too
            output = f"{output}.before"
    inputs = [tensors[i] for i in op.inputs]
    columns = plan.buffers[op.inputs[0]].columns
    if op.op == "activation":
        return _activation(writer, op, inputs[0], columns, output)
    if op.op in _SPECIAL:
        return _SPECIAL[op.op](writer, plan, op, inputs, output)
    if op.op not in OPERATIONS:
        raise ValueError(
            "A model that is exported must consist of operations with an ONNX form: "
            f"{', '.join(sorted((*OPERATIONS, *_SPECIAL, 'activation')))}. "
            f"Received: {op.op!r} at {output!r}"
        )
    names = {**op.attributes, **dict(zip(("x", "a", "b"), inputs, strict=False)),
             "width": plan.buffers[index].columns}
    if "index" in names:
        names["index"] = list(names["index"])
    return writer.write(OPERATIONS[op.op], names, output)


def _activation(writer, op, x, columns, output):
    name, params = op.attributes["activation"], op.attributes["params"]
    form = chosen(ACTIVATIONS[name], writer.opset, writer.dtype)
    names = {key: value for (key, _), value in
             zip(spec.ACTIVATIONS[name].params, params, strict=False)}  # none for plain relu
    ranks = np.arange(1, columns + 1, dtype=writer.dtype)
    return writer.write(form, {**names, "x": x, "columns": columns, "half": columns // 2,
                               "ranks": ranks}, output)


def _dense(writer, plan, op, inputs, output):
    form = "Gemm(x, a, b)" if len(inputs) == 3 else "MatMul(x, a)"
    names = dict(zip(("x", "a", "b"), inputs, strict=False))
    if op.attributes["activation"] == "linear":
        return writer.write(form, names, output)
    before = writer.write(form, names, f"{output}.before")
    return _activation(writer, op, before, plan.buffers[op.outputs[0]].columns, output)


def _affine(writer, plan, op, inputs, output):
    factor, shift = op.attributes["factor"], op.attributes["shift"]
    form = "x + shift" if factor == 1 else "x * factor" if shift == 0 else "x * factor + shift"
    return writer.write(form, {"x": inputs[0], "factor": factor, "shift": shift}, output)


def _row_sum(writer, plan, op, inputs, output):
    factor = op.attributes["factor"]
    form = "ReduceSum(x, [1], keepdims=1)" + (" * factor" if factor != 1 else "")
    return writer.write(form, {"x": inputs[0], "factor": factor}, output)


def _repeat(writer, plan, op, inputs, output):
    return inputs[0]  # only arithmetic reads it, and ONNX repeats the row on its own


def _broadcast(writer, plan, op, inputs, output):
    factor, index = op.attributes["factor"], op.outputs[0]
    readers = [other for other in plan.ops if index in other.inputs]
    if factor == 1 and index not in plan.outputs and all(r.op in _BROADCAST for r in readers):
        return inputs[0]  # ONNX does it on its own
    form = "Tile(x, [1, width])" + (" * factor" if factor != 1 else "")
    width = plan.buffers[index].columns
    return writer.write(form, {"x": inputs[0], "width": width, "factor": factor}, output)


def _ones_and_zeros(writer, plan, op, inputs):
    """gamma and beta, of which an operation may lack one or both; plain constants then."""
    more, columns = list(inputs), plan.buffers[op.outputs[0]].columns
    gamma = more.pop(0) if op.attributes["scale"] else np.ones(columns, plan.dtype)
    beta = more.pop(0) if op.attributes["center"] else np.zeros(columns, plan.dtype)
    return {"gamma": gamma, "beta": beta, "epsilon": op.attributes["epsilon"]}


def _row_norm(writer, plan, op, inputs, output):
    names = _ones_and_zeros(writer, plan, op, inputs[1:])
    form = chosen(LAYERS[op.attributes["kind"]], writer.opset, writer.dtype)
    return writer.write(form, {"x": inputs[0], **names}, output)


def _fold_statistics(writer, plan, op, inputs, output):
    return output  # the operation that reads it takes care of it


def _scale_shift(writer, plan, op, inputs, output):
    """With moving statistics that were folded into factor and summand: batch normalization."""
    fold = next((other for other in plan.ops if other.op == "fold_statistics"
                 and other.outputs == op.inputs[1:]), None)
    if fold is None:
        return writer.write(OPERATIONS["scale_shift"],
                            dict(zip(("x", "a", "b"), inputs, strict=True)), output)
    mean, variance, *more = (writer.parameters[i] for i in fold.inputs)
    names = {"x": inputs[0], "mean": mean, "variance": variance,
             **_ones_and_zeros(writer, plan, fold, more)}
    return writer.write(chosen(LAYERS["batch"], writer.opset, writer.dtype), names, output)


def _prelu(writer, plan, op, inputs, output):
    form = chosen(LAYERS["prelu"], writer.opset, writer.dtype)
    return writer.write(form, {"x": inputs[0], "alpha": inputs[1]}, output)


def _concatenate(writer, plan, op, inputs, output):
    groups = op.attributes["groups"]
    if groups > 1:
        inputs = [writer.write("Reshape(x, [0, groups, -1])", {"x": x, "groups": groups}, output)
                  for x in inputs]
    names = {f"x{i}": x for i, x in enumerate(inputs)}
    if groups == 1:
        return writer.write(f"Concat({', '.join(names)}, axis=1)", names, output)
    return writer.write(f"Reshape(Concat({', '.join(names)}, axis=2), [0, -1])", names, output)


def _slice(writer, plan, op, inputs, output):
    start, groups = op.attributes["start"], op.attributes["groups"]
    stop = start + plan.buffers[op.outputs[0]].columns // groups
    form = "Slice(x, [start], [stop], [1])"
    if groups > 1:
        form = "Reshape(Slice(Reshape(x, [0, groups, -1]), [start], [stop], [2]), [0, -1])"
    return writer.write(form, {"x": inputs[0], "groups": groups, "start": start, "stop": stop},
                        output)


def _column_affine(writer, plan, op, inputs, output):
    names, form = {"x": inputs[0]}, "x"
    for key, neutral, more in (("before", 0.0, "({} - before)"), ("scale", 1.0, "{} * scale"),
                               ("after", 0.0, "{} + after")):
        values = np.array(op.attributes[key], plan.dtype)
        if (values != neutral).any():
            names[key], form = values, more.format(form)
    return writer.write(form if form != "x" else "Identity(x)", names, output)


def _feature_norm(writer, plan, op, inputs, output):
    form = "x * s + mean" if op.attributes["invert"] else "(x - mean) / s"
    names = dict(zip(("x", "mean", "variance"), inputs, strict=True))
    return writer.write(f"s = Max(Sqrt(variance), least)\n{form}",
                        {**names, "least": op.attributes["least"]}, output)


def _digitize(writer, plan, op, inputs, output):
    boundaries = np.array(op.attributes["boundaries"], plan.dtype)
    return writer.write(
        "ReduceSum(Where(Reshape(x, [0, -1, 1]) < boundaries, 0.0, 1.0), [2], keepdims=0)",
        {"x": inputs[0], "boundaries": boundaries}, output)


def _encode(writer, plan, op, inputs, output):
    hits = "Where(Equal(Floor(Reshape(x, [0, -1, 1])), places), 1.0, 0.0)"
    form = {"one_hot": "Reshape({}, [0, -1])", "multi_hot": "ReduceMax({}, [1], keepdims=0)",
            "count": "ReduceSum({}, [1], keepdims=0)"}[op.attributes["kind"]]
    places = np.arange(op.attributes["depth"], dtype=plan.dtype)
    return writer.write(form.format(hits), {"x": inputs[0], "places": places}, output)


_BROADCAST = ("add", "subtract", "multiply", "divide", "maximum", "minimum")
def _steps(writer, plan, op, inputs, output):
    """An operation on the steps of samples, which are an axis of their own here."""
    steps = op.attributes["steps"]
    buffer = plan.buffers[op.inputs[0]]
    width = buffer.columns * buffer.repeat // steps
    names = {"x": inputs[0], "shape": [-1, steps, width], "last": [-1, steps, 1],
             "width": plan.buffers[op.outputs[0]].columns, "value": op.attributes.get("value")}
    if len(inputs) == 2:
        names["mask"] = inputs[1]
    kind = {"float32": 1, "float64": 11}[writer.dtype]
    kept = "Where(Cast(Reshape(mask, last), to=9), Reshape(x, shape), 0.0)"
    if op.op == "step_mask":
        form = (f"ReduceMax(Cast(Not(Equal(Reshape(x, shape), value)), to={kind}), [2], "
                "keepdims=0)")
    elif op.op == "keep_steps":
        form = f"Reshape({kept}, [-1, width])"
    elif len(inputs) == 2:
        form = f"ReduceSum({kept}, [1], keepdims=0) / ReduceSum(Reshape(mask, last), [1], " \
               "keepdims=0)"
    else:
        reduce = {"mean": "ReduceMean", "max": "ReduceMax"}[op.attributes["kind"]]
        form = f"{reduce}(Reshape(x, shape), [1], keepdims=0)"
    return writer.write(form, names, output)


_SPECIAL = {
    "affine": _affine, "broadcast": _broadcast, "column_affine": _column_affine,
    "concatenate": _concatenate, "dense": _dense, "digitize": _digitize, "encode": _encode,
    "feature_norm": _feature_norm, "fold_statistics": _fold_statistics, "prelu": _prelu,
    "repeat": _repeat, "row_norm": _row_norm, "row_sum": _row_sum, "scale_shift": _scale_shift,
    "slice": _slice, "step_mask": _steps, "keep_steps": _steps, "pool": _steps,
}
