"""ONNX Runtime: prediction only, from a graph of Gemm, activation and Softmax nodes."""

from __future__ import annotations

import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from . import Unsupported

NAME = "ONNX Runtime"
DISTRIBUTIONS = ("onnxruntime", "onnx")

_ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh"}


def _graph(work, layers):
    if work.activation not in _ACTIVATIONS:
        raise Unsupported(f"{work.activation} is not adapted")
    nodes, constants, last = [], [], "x"
    for number, pair in enumerate(layers):
        names = [f"kernel{number}", f"bias{number}"]
        constants += [
            numpy_helper.from_array(array, name) for array, name in zip(pair, names, strict=True)
        ]
        nodes.append(helper.make_node("Gemm", [last, *names], [f"z{number}"]))
        last = f"z{number}"
        if number < len(layers) - 1:
            nodes.append(helper.make_node(_ACTIVATIONS[work.activation], [last], [f"h{number}"]))
            last = f"h{number}"
    if work.loss == "softmax_cross_entropy":
        nodes.append(helper.make_node("Softmax", [last], ["probabilities"], axis=1))
        last = "probabilities"
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "mlp", [value("x", TensorProto.FLOAT, [None, work.widths[0]])],
        [value(last, TensorProto.FLOAT, [None, work.widths[-1]])], constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def predictor(work, layers):
    session = onnxruntime.InferenceSession(
        _graph(work, layers).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return lambda x: session.run(None, {"x": x})[0]
