"""Models of ONNX graphs whose nodes are those of dense networks.

The graph is read from its outputs towards its inputs: what makes a tensor is recognised as a layer
of certain other tensors, these in turn, until the inputs are reached.  What is no layer here is
collected, and all of it is named in one error.  onnx is imported on use.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import activations, layers, spec
from ..layers.arithmetic import Operation
from ..models import Model, Sequential
from .files import optional, read_bytes
from .onnx_forms import ARITHMETIC, LAYERS, OPERATIONS, GraphReader

__all__ = ["from_onnx", "import_onnx"]

_DTYPES = {1: "float32", 11: "float64"}
_LOWEST = 7  # opset; earlier ones broadcast by attributes
_MERGES = {"Add": "Add", "Sub": "Subtract", "Mul": "Multiply", "Max": "Maximum", "Min": "Minimum",
           "Sum": "Add", "Mean": "Average"}


class _Step(NamedTuple):
    """A layer to be made, the tensors that it is called on, and its weights."""

    kind: str
    inputs: tuple[str, ...]
    arguments: dict[str, Any]
    weights: tuple[np.ndarray, ...] = ()


def import_onnx(filepath: str | Path) -> Model:
    """Make a model from an ONNX file.

    Parameters
    ----------
    filepath : str or Path
        Of a dense network: Gemm or MatMul and Add, every activation of this package (also as the
        nodes that others make of it), batch and layer normalization, PRelu, and what joins tensors
        (Add, Sub, Mul, Div, Max, Min, Sum, Mean, Concat), and arithmetic with single numbers.
        Dropout and Identity are passed over.

    Returns
    -------
    Model
        A `Sequential` where each layer has one input and one reader.  It predicts what the graph
        gives, to rounding; it is not compiled.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no ONNX file, or the graph has other nodes, all of which are named.
    ImportError
        If onnx is missing.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> model = fm.saving.import_onnx("model.onnx")  # doctest: +SKIP
    """
    onnx = optional("onnx", "An ONNX file", "onnx")
    content = read_bytes(filepath)
    try:
        proto = onnx.load_from_string(content)
        if not proto.graph.output:
            raise ValueError("it has no output")
        external = any(tensor.external_data for tensor in proto.graph.initializer)
        if external:  # numbers in files beside it
            proto = onnx.load(str(filepath))
    except Exception as error:  # of protobuf, whose classes depend on its version
        raise ValueError(
            f"Argument `filepath` must be an ONNX file, but {error}. "
            f"Received: filepath={str(filepath)!r}"
        ) from None
    return from_onnx(proto)


def from_onnx(proto: Any) -> Model:
    """The same from an `onnx.ModelProto`.

    Raises
    ------
    ValueError
        If the graph has nodes or inputs that are none of a dense network.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> first = fm.Sequential([fm.Input((4,)), fm.layers.Dense(3, activation="mish")])
    >>> proto = fm.saving.to_onnx(first)  # doctest: +SKIP
    >>> fm.saving.from_onnx(proto).layers  # doctest: +SKIP
    [<Dense name=dense_1, built=True>]
    """
    opset = max((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), default=1)
    if opset < _LOWEST:
        raise ValueError(
            f"The graph must have an opset from {_LOWEST} on. Received: opset {opset}"
        )
    return _Import(proto.graph, opset).model()


class _Import:
    """One graph on its way to a model: steps by the name of the tensor that each makes."""

    def __init__(self, graph, opset):
        self.graph, self.reader = graph, GraphReader(graph, opset)
        self.inputs = {item.name: item for item in graph.input
                       if item.name not in self.reader.constants}
        self.steps: dict[str, _Step] = {}  # in an order in which they can be made
        self.unknown: dict[str, None] = {}

    def model(self) -> Model:
        outputs = [self._tensor(output.name) for output in self.graph.output]
        if self.unknown:
            raise ValueError(
                "The graph must consist of the nodes of dense networks (`import_onnx` lists them). "
                f"Received: {'; '.join(self.unknown)}"
            )
        self._join_activations(outputs)
        shapes = {name: self._shape(item) for name, item in self.inputs.items()}
        dtype = self._dtype()
        made = {name: (_layer(step), step) for name, step in self.steps.items()}
        if len(shapes) == len(outputs) == 1 and self._is_chain(outputs[0]) and all(
                step.kind != "Operation" for step in self.steps.values()):
            (shape,) = shapes.values()
            model = Sequential([layers.Input(shape, dtype=dtype)], name=self._name())
            for layer, _ in made.values():
                model.add(layer)
        else:
            model = self._graph(shapes, dtype, made, outputs)
        for layer, step in made.values():
            if step.weights:
                layer.set_weights(list(step.weights))
        return model

    def _graph(self, shapes, dtype, made, outputs):
        tensors = {name: layers.Input(shape, name=_valid(name), dtype=dtype)
                   for name, shape in shapes.items()}
        begin = list(tensors.values())
        for name, (layer, step) in made.items():
            given = [tensors[source] for source in step.inputs]
            tensors[name] = layer(given if len(given) > 1 else given[0])
        end = [tensors[name] for name in outputs]
        return Model(begin if len(begin) > 1 else begin[0], end if len(end) > 1 else end[0],
                     name=self._name())

    def _name(self):
        return _valid(self.graph.name)

    def _shape(self, item):
        """Shape of one row of an input."""
        kind = item.type.tensor_type
        dims = kind.shape.dim
        if kind.elem_type not in _DTYPES or len(dims) != 2 or not dims[1].dim_value:
            shape = tuple(d.dim_value or d.dim_param or "?" for d in dims)
            raise ValueError(
                "The inputs of the graph must be float32 or float64 of shape (rows, columns). "
                f"Received: {item.name!r} of shape {shape} and element type {kind.elem_type}"
            )
        return (dims[1].dim_value,)

    def _dtype(self):
        found = {_DTYPES[item.type.tensor_type.elem_type] for item in self.inputs.values()}
        if len(found) != 1:
            raise ValueError(
                f"The inputs of the graph must have one dtype. Received: {sorted(found)}"
            )
        return found.pop()

    def _is_chain(self, output):
        """Whether each step reads the one before, the first the input, and the last is the end."""
        before = next(iter(self.inputs))
        for name, step in self.steps.items():
            if step.inputs != (before,):
                return False
            before = name
        return before == output

    def _join_activations(self, outputs):
        """Let dense layers apply the activation that follows them, where nobody else reads them."""
        readers: dict[str, int] = {}
        for step in self.steps.values():
            for name in step.inputs:
                readers[name] = readers.get(name, 0) + 1
        for name, step in list(self.steps.items()):
            before = self.steps.get(step.inputs[0])
            if (step.kind == "Activation" and before is not None and before.kind == "Dense"
                    and "activation" not in before.arguments
                    and readers[step.inputs[0]] == 1 and step.inputs[0] not in outputs):
                joined = before._replace(arguments={**before.arguments, **step.arguments})
                del self.steps[step.inputs[0]]
                self.steps[name] = joined
        self.steps = dict(self._ordered(outputs))

    def _ordered(self, outputs):
        done, result = set(), []

        def visit(name):
            if name in done or name not in self.steps:
                return
            done.add(name)
            for source in self.steps[name].inputs:
                visit(source)
            result.append((name, self.steps[name]))

        for output in outputs:
            visit(output)
        return result

    # -- tensors ---------------------------------------------------------------------------------

    def _tensor(self, name: str) -> str:
        """The tensor that `name` is equal to, once the steps that make it are noted."""
        if name in self.inputs or name in self.steps:
            return name
        maker, place = self.reader.makers.get(name, (None, 0))
        if maker is None:
            self.unknown[f"tensor {name!r}, which nothing makes"
                         if name not in self.reader.constants
                         else f"constant {name!r} where a tensor of rows was expected"] = None
            return name
        if place == 0 and self._passes(maker):
            return self._tensor(maker.input[0])
        step = self._step(name, maker)
        if step is None:
            label = f" {maker.name!r}" if maker.name else f" that makes {name!r}"
            self.unknown[f"{maker.op_type}{label}"] = None
            for source in maker.input:
                if source and source not in self.reader.constants:
                    self._tensor(source)
            return name
        step = step._replace(inputs=tuple(self._tensor(source) for source in step.inputs))
        self.steps[name] = step
        return name

    def _passes(self, node):
        """Whether the output of a node is its first input, as far as rows of numbers go."""
        if node.op_type in ("Identity", "Dropout"):
            return True
        if node.op_type == "Flatten":
            return self.reader.attribute(node, "axis") in (1, -1)
        return False

    def _step(self, name, node):
        found = self.reader.activation(name)
        if found is not None:
            row, params, source = found
            return _Step("Activation", (source,), {"activation": _activation(row, params)})
        for read in (_form, _READERS.get(node.op_type), _arithmetic):
            step = read(self.reader, node) if read is not None else None
            if step is not None:
                return step
        return None


def _layer(step):
    return (Operation if step.kind == "Operation" else getattr(layers, step.kind))(
        **step.arguments)


def _activation(row, params):
    """A row and its parameters as layers take it."""
    changed = {key: value for key, value in params.items()
               if value != dict(spec.ACTIVATIONS[row].params)[key]}
    if row == "clipped_relu":  # how Keras calls it
        row = "relu"
    if "pieces" in changed:
        changed["pieces"] = int(changed["pieces"])
    function = activations.get(row)
    return functools.partial(function, **changed) if changed else row


def _valid(name):
    """A name for a model or a layer: without the separator of paths, and not empty."""
    return name.replace("/", "_") or None


# -- nodes -----------------------------------------------------------------------------------------
#
# Each takes a GraphReader and a node, and gives the step or None.


def _dense(kernel, bias, source):
    if kernel.ndim != 2 or kernel.dtype.kind != "f":
        return None
    weights = (kernel,) if bias is None else (kernel, np.broadcast_to(bias, kernel.shape[1:]))
    return _Step("Dense", (source,), {"units": kernel.shape[1], "use_bias": bias is not None},
                 weights)


def _matmul(reader, node):
    kernel = reader.constants.get(node.input[1])
    return None if kernel is None else _dense(kernel, None, node.input[0])


def _gemm(reader, node):
    kernel = reader.constants.get(node.input[1])
    bias = reader.constants.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    missing = len(node.input) > 2 and node.input[2] and bias is None
    if kernel is None or missing or reader.attribute(node, "transA"):
        return None
    alpha, beta = (float(reader.attribute(node, key)) for key in ("alpha", "beta"))
    if reader.attribute(node, "transB"):
        kernel = kernel.T
    kernel = kernel if alpha == 1 else (alpha * kernel).astype(kernel.dtype)
    if bias is not None:
        if bias.size not in (1, kernel.shape[1]):
            return None
        bias = np.ravel(bias if beta == 1 else (beta * bias).astype(bias.dtype))
    return _dense(kernel, bias, node.input[0])


def _add(reader, node):
    """A bias where one input is a constant and the other a product, else a merge."""
    for source, other in (node.input, reversed(node.input)):
        bias = reader.constants.get(other)
        maker, _ = reader.makers.get(source, (None, 0))
        if bias is not None and maker is not None and maker.op_type == "MatMul":
            step = _matmul(reader, maker)
            if step is not None and bias.size in (1, step.arguments["units"]):
                return _dense(step.weights[0], np.ravel(bias), *step.inputs)
    return _merge(reader, node)


def _merge(reader, node):
    if any(name in reader.constants for name in node.input) or len(node.input) < 2:
        return None
    return _Step(_MERGES[node.op_type], tuple(node.input), {})


def _divide(reader, node):
    if any(name in reader.constants for name in node.input):
        return None
    return _Step("Operation", tuple(node.input), {"function": "divide"})


def _reduce_sum(reader, node):
    """A scalar product of rows."""
    for found in reader.match(OPERATIONS["row_dot"], node.output[0]):
        if isinstance(found["x"], str) and isinstance(found["a"], str):
            return _Step("Dot", (found["x"], found["a"]), {"axes": 1})
    return None


def _arithmetic(reader, node):
    """A step with numbers alone beside the tensor."""
    for function, form, params in ARITHMETIC:
        for found in reader.match(form, node.output[0]):
            source = found.pop("x")
            if isinstance(source, str) and all(
                    isinstance(value, (int, float)) for value in found.values()):
                return _Step("Operation", (source,),
                             {"function": function, "params": params(**found)})
    return None


def _concat(reader, node):
    if reader.attribute(node, "axis") not in (1, -1):
        return None
    if any(name in reader.constants for name in node.input):
        return None
    return _Step("Concatenate", tuple(node.input), {})


def _form(reader, node):
    """Normalizations and slopes, as one node or as several."""
    for kind, forms in LAYERS.items():
        for form in forms:
            for found in reader.match(form, node.output[0]):
                step = _of_form(kind, **found)
                if step is not None:
                    return step
    return None


def _of_form(kind, x, epsilon=None, **weights):
    """The step of a form, if the input is a tensor and the rest are constants."""
    if not isinstance(x, str) or any(isinstance(w, str) for w in weights.values()):
        return None
    name, order = {
        "batch": ("BatchNormalization", ("gamma", "beta", "mean", "variance")),
        "layer": ("LayerNormalization", ("gamma", "beta")), "rms": ("RMSNormalization", ("gamma",)),
        "unit": ("UnitNormalization", ()), "prelu": ("PReLU", ("alpha",)),
    }[kind]
    arguments = {} if epsilon is None else {"epsilon": float(epsilon)}
    return _Step(name, (x,), arguments, tuple(np.ravel(weights[key]) for key in order))


def _batch_normalization(reader, node):
    """With a momentum of its own, which prediction does not need."""
    weights = tuple(reader.constants.get(name) for name in node.input[1:5])
    if any(w is None for w in weights) or reader.attribute(node, "training_mode"):
        return None
    arguments = {"epsilon": float(reader.attribute(node, "epsilon")),
                 "momentum": float(reader.attribute(node, "momentum"))}
    return _Step("BatchNormalization", (node.input[0],), arguments, weights)


def _layer_normalization(reader, node):
    """Without a bias."""
    gamma = reader.constants.get(node.input[1])
    if gamma is None or len(node.input) > 2 or reader.attribute(node, "axis") not in (1, -1):
        return None
    arguments = {"epsilon": float(reader.attribute(node, "epsilon")), "center": False}
    return _Step("LayerNormalization", (node.input[0],), arguments, (gamma,))


_READERS = {
    "MatMul": _matmul, "Gemm": _gemm, "Concat": _concat, "Div": _divide, "ReduceSum": _reduce_sum,
    "BatchNormalization": _batch_normalization, "LayerNormalization": _layer_normalization,
    **dict.fromkeys(_MERGES, _merge), "Add": _add,
}
