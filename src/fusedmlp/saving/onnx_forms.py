"""What the operations of a plan are in ONNX: one line of text each, written and recognised.

A form is a Python expression whose calls are ONNX operators: ``x * Sigmoid(x)``.  Operators of
Python stand for those of ONNX (`+` for Add), keywords for attributes, lists for integers, numbers
for constants of the model's dtype; lines in front may name parts.  `GraphWriter` turns a form into
nodes; `GraphReader` finds where nodes are those of a form, and with which parameters.  So export
and import can't drift apart.  This module knows neither models nor plans.

Where a function has several forms, the first is written that the opset and the dtype allow; all are
recognised.
"""

from __future__ import annotations

import ast
import functools
import math
import operator
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .. import spec

__all__ = ["ACTIVATIONS", "ARITHMETIC", "LAYERS", "OPERATIONS", "GraphReader", "GraphWriter",
           "chosen"]

_SOFTPLUS = "Max(x, 0.0) + Log(1.0 + Exp(-Abs(x)))"


def _polynomial(coefficients: tuple[float, ...]) -> str:
    """A polynomial in u after Horner, as a form; coefficients from the constant on."""
    *lower, form = map(repr, coefficients)
    for coefficient in reversed(lower):
        form = f"({form}) * u + {coefficient}"
    return form


# (1 + 2 z) exp(z^2) erfc(z) for z >= 0 as a polynomial in u = (z - 3) / (z + 3), after Shepherd and
# Laframboise (1981), Math. Comp. 36; the Chebyshev series of 60 terms, of which all below 1e-17 are
# left out, computed with 50 digits and written as a polynomial.
_ERFCX = (
    1.2530080582697296, -0.13562110612458117, -0.0475622943534492, 0.1296451587027594,
    -0.11927366341538638, 0.0683080273440099, -0.02377051491717134, 0.0025293918156939696,
    0.0018886903449991718, -0.0007798322696543306, -0.00010515971958448065, 0.0001250993424583729,
    4.949196649968345e-06, -2.0100542268525612e-05, -7.308281468783614e-07, 3.472370944977168e-06,
    3.5576086684080595e-07, -6.166011460398726e-07, -1.4047654315428462e-07, 1.0183620603842736e-07,
    4.1064013667940355e-08, -1.3312919661038687e-08, -8.217595058711455e-09, 9.862533510345587e-10,
    8.393734858690877e-10,
)

# Rows of spec.ACTIVATIONS.  Names besides x and the row's parameters: `columns`, the columns of x;
# `half`, half of them; `ranks`, 1 to columns.
ACTIVATIONS = {
    "linear": ("Identity(x)",),
    "binary_step": ("Where(x >= 0.0, 1.0, 0.0)",),
    "unit_step": ("Sign(x) * 0.5 + 0.5",),
    "sign": ("Sign(x)",),
    "piecewise_linear": ("Clip(x + 0.5, 0.0, 1.0)",),
    "sigmoid": ("Sigmoid(x)",),
    "log_sigmoid": ("Min(x, 0.0) - Log(1.0 + Exp(-Abs(x)))", "-Softplus(-x)", "Log(Sigmoid(x))"),
    "hard_sigmoid": ("Clip(x * (1 / 6) + 0.5, 0.0, 1.0)", "HardSigmoid(x, alpha=1 / 6, beta=0.5)"),
    "sparse_sigmoid": ("Clip(x * 0.5 + 0.5, 0.0, 1.0)",),
    "tanh": ("Tanh(x)",),
    "hard_tanh": ("Clip(x, -1.0, 1.0)",),
    # Without a kernel for float64: one Newton step from float32, tan(y - y0) for y - y0.
    "arctan": ("Atan(x)",
               "z = Clip(x, -1e300, 1e300)\n"
               "y = Cast(Atan(Cast(z, to=1)), to=11)\n"
               "y + (z * Cos(y) - Sin(y)) / (Cos(y) + z * Sin(y))"),
    "relu": ("Relu(x)", "Max(x, 0.0)"),
    "clipped_relu": (
        "Where(x >= max_value, max_value, "
        "Where(x < threshold, negative_slope * (x - threshold), x))",
        "Clip(x, 0.0, max_value)",
    ),
    "relu6": ("Clip(x, 0.0, 6.0)",),
    "leaky_relu": ("LeakyRelu(x, alpha=negative_slope)",
                   "Where(x >= 0.0, x, negative_slope * x)"),
    "elu": ("Elu(x, alpha=alpha)", "Where(x > 0.0, x, alpha * (Exp(Min(x, 0.0)) - 1.0))"),
    "selu": ("Selu(x)",
             "1.0507009873554805 * "
             "Where(x > 0.0, x, 1.6732632423543772 * (Exp(Min(x, 0.0)) - 1.0))"),
    "celu": ("Celu(x, alpha=alpha)",
             "Where(x > 0.0, x, alpha * (Exp(Min(x, 0.0) / alpha) - 1.0))"),
    "gelu": ("Gelu(x)",
             "0.5 * x * (1.0 + Erf(x * 0.7071067811865476))",
             # without Erf, for float64: x Phi(x), Phi(-x) = erfc(x / sqrt 2) / 2
             "z = Abs(x) * 0.7071067811865476\n"
             "u = (z - 3.0) / (z + 3.0)\n"
             f"p = {_polynomial(_ERFCX)}\n"
             "t = Exp(-(z * z)) * p / (z * 4.0 + 2.0)\n"
             "x * Where(x < 0.0, t, 1.0 - t)",
             "0.5 * (x * (1.0 + Erf(x * 0.7071067811865476)))",
             "0.5 * (x * (1.0 + Erf(x / 1.4142135623730951)))",
             "x * (0.5 * (1.0 + Erf(x / 1.4142135623730951)))"),
    "gelu_tanh": (
        "Gelu(x, approximate='tanh')",
        "0.5 * x * (1.0 + Tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))",
        "0.5 * x * (1.0 + Tanh(0.7978845608028654 * (x + 0.044715 * Pow(x, 3.0))))",
        "0.5 * (x * (1.0 + Tanh(0.7978845608028654 * (x + 0.044715 * Pow(x, 3.0)))))",
        "0.5 * (x * (1.0 + Tanh(0.7978845608028654 * (x + 0.044715 * (x * (x * x))))))",
    ),
    "silu": ("x * Sigmoid(x)", "Swish(x)"),
    "hard_silu": ("x * Clip(x * (1 / 6) + 0.5, 0.0, 1.0)", "HardSwish(x)",
                  "x * HardSigmoid(x, alpha=1 / 6, beta=0.5)"),
    "mish": (f"s = {_SOFTPLUS}\nx * Tanh(s)", "x * Tanh(Softplus(x))", "Mish(x)"),
    "softplus": ("Softplus(x)", _SOFTPLUS),
    "sparse_plus": ("z = x + 1.0\n"
                    "Where(x <= -1.0, 0.0, Where(x >= 1.0, x, 0.25 * z * z))",),
    "softsign": ("x / (1.0 + Abs(x))", "Softsign(x)"),
    # sqrt(x^2 + b) without overflow, and below 0 the conjugate, without cancellation
    "squareplus": ("m = Max(Abs(x), 1.0)\n"
                   "r = m * Sqrt((x / m) * (x / m) + b / m / m)\n"
                   "Where(x < 0.0, 0.5 * (b / (r - x)), 0.5 * (x + r))",),
    "exponential": ("Exp(x)",),
    "threshold": ("Where(x > threshold, x, default_value)",),
    "hard_shrink": (
        "Where(Abs(x) > threshold, x, 0.0)", "Shrink(x, lambd=threshold)",
        "Where(Or(Cast(x > threshold, to=9), Cast(x < -threshold, to=9)), x, 0.0)",
    ),
    "soft_shrink": (
        "Max(x - threshold, 0.0) - Max(-x - threshold, 0.0)",
        "Shrink(x, lambd=threshold, bias=threshold)",
        "Where(x > threshold, x - threshold, 0.0) + Where(x < -threshold, x + threshold, 0.0)",
    ),
    "tanh_shrink": ("x - Tanh(x)",),
    "softmax": ("Softmax(x, axis=-1)",),
    "log_softmax": ("LogSoftmax(x, axis=-1)", "Log(Softmax(x, axis=-1))"),
    # Martins and Astudillo (2016), algorithm 1, on x - max(x)
    "sparsemax": (
        "z = x - ReduceMax(x, [-1], keepdims=1)\n"
        "s = TopK(z, [columns], axis=-1)[0]\n"
        "k = Where(1.0 + ranks * s > CumSum(s, 1), 1.0, 0.0)\n"
        "tau = (ReduceSum(k * s, [-1], keepdims=1) - 1.0) / ReduceSum(k, [-1], keepdims=1)\n"
        "Max(z - tau, 0.0)",
    ),
    "glu": ("Slice(x, [0], [half], [-1]) * Sigmoid(Slice(x, [half], [columns], [-1]))",
            "Split(x, axis=-1)[0] * Sigmoid(Split(x, axis=-1)[1])",
            "Split(x, axis=-1, num_outputs=2)[0] * Sigmoid(Split(x, axis=-1, num_outputs=2)[1])"),
    "maxout": ("ReduceMax(Reshape(x, [0, -1, pieces]), [-1], keepdims=0)",),
}

# Other operations of a plan, by their inputs in order (x, a, b) and their attributes.
OPERATIONS = {
    "add": "x + a",
    "subtract": "x - a",
    "multiply": "x * a",
    "divide": "x / a",
    "maximum": "Max(x, a)",
    "minimum": "Min(x, a)",
    "power": "Pow(x, exponent)",
    "log": "Log(x)",
    "row_dot": "ReduceSum(x * a, [1], keepdims=1)",
    "scale_rows": "x * a",
    "scale_shift": "x * a + b",
    "reshape": "Reshape(x, [-1, width])",
    "take_columns": "Gather(x, index, axis=1)",
    "embedding": "Reshape(Gather(a, Cast(x, to=7)), [-1, width])",
}

# Layers with weights beside the product, chosen and recognised as activations are.
LAYERS = {
    "prelu": ("PRelu(x, alpha)", "Max(x, 0.0) + alpha * Min(x, 0.0)"),
    "batch": ("BatchNormalization(x, gamma, beta, mean, variance, epsilon=epsilon)",
              "(x - mean) / Sqrt(variance + epsilon) * gamma + beta"),
    "layer": ("LayerNormalization(x, gamma, beta, axis=-1, epsilon=epsilon)",
              "z = x - ReduceMean(x, [-1])\n"
              "z / Sqrt(ReduceMean(z * z, [-1]) + epsilon) * gamma + beta",
              "z = x - ReduceMean(x, [-1])\n"
              "z / Sqrt(ReduceMean(Pow(z, 2.0), [-1]) + epsilon) * gamma + beta"),
    "rms": ("x / Sqrt(ReduceMean(x * x, [-1]) + epsilon) * gamma",
            "x * Reciprocal(Sqrt(ReduceMean(Pow(x, 2.0), [-1]) + epsilon)) * gamma",
            "RMSNormalization(x, gamma, axis=-1, epsilon=epsilon)"),
    "unit": ("x / Max(Sqrt(ReduceSum(x * x, [-1])), 1e-12)",),
}

# Operations on one tensor as import finds them: what they are, the form, and the constants that
# follow from those in it.
ARITHMETIC = (
    ("affine", "x * factor + shift", lambda factor, shift: {"factor": factor, "shift": shift}),
    ("affine", "x * factor", lambda factor: {"factor": factor, "shift": 0.0}),
    ("affine", "x / divisor", lambda divisor: {"factor": 1.0 / divisor, "shift": 0.0}),
    ("affine", "x + shift", lambda shift: {"factor": 1.0, "shift": shift}),
    ("affine", "x - less", lambda less: {"factor": 1.0, "shift": -less}),
    ("affine", "minuend - x", lambda minuend: {"factor": -1.0, "shift": minuend}),
    ("affine", "-x", lambda: {"factor": -1.0, "shift": 0.0}),
    ("power", "Pow(x, exponent)", lambda exponent: {"exponent": exponent}),
    ("power", "Sqrt(x)", lambda: {"exponent": 0.5}),
    ("power", "Reciprocal(x)", lambda: {"exponent": -1.0}),
    ("log", "Log(x)", lambda: {}),
    ("row_sum", "ReduceSum(x, [1], keepdims=1) * factor", lambda factor: {"factor": factor}),
    ("row_sum", "ReduceSum(x, [1], keepdims=1)", lambda: {"factor": 1.0}),
    ("row_sum", "ReduceSum(x, [-1], keepdims=1)", lambda: {"factor": 1.0}),
    ("slice", "Slice(x, [start], [stop], [1])",
     lambda start, stop: {"start": start, "columns": stop - start}),
)

# Operators since a version, and those that ONNX Runtime does not have for float64, or whose
# attributes are float32: they are written for float64 only where there is no other form.
_SINCE = {"Gelu": 20, "LayerNormalization": 17, "Mish": 18, "RMSNormalization": 23, "Swish": 24}
_FLOAT32 = {"Atan", "BatchNormalization", "Celu", "Elu", "Erf", "Gelu", "HardSigmoid", "HardSwish",
            "LayerNormalization", "LeakyRelu", "Mish", "PRelu", "RMSNormalization", "Selu",
            "Softplus", "Softsign"}
_AXES_ARE_INPUT = {"ReduceMax": 18, "ReduceMean": 18, "ReduceSum": 13}
_OUTPUTS = {"Split": 2, "TopK": 2}
_INTEGERS = {"CumSum": (1,)}  # inputs that are integers though they are no lists

_BINARY = {ast.Add: ("Add", operator.add), ast.Sub: ("Sub", operator.sub),
           ast.Mult: ("Mul", operator.mul), ast.Div: ("Div", operator.truediv)}
_COMPARE = {ast.Lt: "Less", ast.LtE: "LessOrEqual", ast.Gt: "Greater", ast.GtE: "GreaterOrEqual"}
_SYMMETRIC = {"Add", "Mul", "Max", "Min"}


# -- forms -----------------------------------------------------------------------------------------


class _Inline(ast.NodeTransformer):
    """Puts the named parts in the place of their names."""

    def __init__(self, parts):
        self.parts = parts

    def visit_Name(self, node):
        return self.parts.get(node.id, node)


@functools.cache
def parse(form: str) -> ast.expr:
    """The expression of a form."""
    *lines, last = ast.parse(form).body
    parts: dict[str, ast.expr] = {}
    for line in lines:
        parts[line.targets[0].id] = _Inline(dict(parts)).visit(line.value)
    return _Inline(parts).visit(last.value)


def _constant(node):
    """The number that an expression without names stands for; None if it is another one."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return node.value
    if isinstance(node, ast.UnaryOp):
        value = _constant(node.operand)
        return None if value is None else -value
    if isinstance(node, ast.BinOp):
        left, right = _constant(node.left), _constant(node.right)
        if left is not None and right is not None:
            return _BINARY[type(node.op)][1](left, right)
    return None


def _application(node):
    """(operator, arguments, keywords, output) of an expression that is one; None otherwise."""
    output = 0
    if isinstance(node, ast.Subscript):
        node, output = node.value, node.slice.value
    if isinstance(node, ast.Call):
        return node.func.id, node.args, {k.arg: k.value for k in node.keywords}, output
    if isinstance(node, ast.BinOp):
        return _BINARY[type(node.op)][0], [node.left, node.right], {}, 0
    if isinstance(node, ast.Compare):
        return _COMPARE[type(node.ops[0])], [node.left, node.comparators[0]], {}, 0
    if isinstance(node, ast.UnaryOp):
        return "Neg", [node.operand], {}, 0
    return None


def _operators(form):
    return {found[0] for node in ast.walk(parse(form)) if (found := _application(node))}


def chosen(forms: tuple[str, ...], opset: int, dtype: str) -> str:
    """The first form that the opset has and, if there is one, that runs in the dtype."""
    there = [form for form in forms
             if all(_SINCE.get(name, 0) <= opset for name in _operators(form))]
    if dtype == "float64":
        runs = [form for form in there
                if not (_operators(form) & _FLOAT32) or "Cast" in _operators(form)]
        there = runs or there
    return there[0]


@functools.cache
def _most_specific_first():
    """All (row, form) but that of the identity; what is part of another form comes behind it."""
    pairs = [(name, form) for name, forms in ACTIVATIONS.items() for form in forms
             if name != "linear"]

    def size(pair):
        nodes = list(ast.walk(parse(pair[1])))
        return -sum(_application(n) is not None for n in nodes), len(
            {n.id for n in nodes if isinstance(n, ast.Name)})

    return sorted(pairs, key=size)


# -- writing ---------------------------------------------------------------------------------------


class GraphWriter:
    """Collects the nodes and initializers of a graph.

    Parameters
    ----------
    opset : int
    dtype : {"float32", "float64"}
    """

    def __init__(self, opset: int, dtype: str):
        from onnx import helper, numpy_helper

        self._helper, self._numpy_helper = helper, numpy_helper
        self.opset, self.dtype = opset, dtype
        self.nodes: list = []
        self.initializers: dict[str, Any] = {}
        self._known: dict[tuple, tuple] = {}
        self._taken: set[str] = set()
        self._reserved: set[str] = set()

    def unique(self, name: str) -> str:
        """`name`, or where it is taken the name with a number."""
        found, number = name, 0
        while found in self._taken:
            number += 1
            found = f"{name}_{number}"
        self._taken.add(found)
        return found

    def reserve(self, name: str) -> str:
        """A name of its own for the output of a later `write`."""
        own = self.unique(name)
        self._reserved.add(own)
        return own

    def constant(self, value) -> str:
        """The initializer that holds a number, integers, or an array; equal ones are shared."""
        if isinstance(value, (int, float)):
            array = np.array(value, self.dtype)
        elif isinstance(value, list):
            array = np.array(value, np.int64)
        else:
            array = np.asarray(value)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = (self.array(array, f"constant_{len(self.initializers)}"),)
        return self._known[key][0]

    def array(self, array: np.ndarray, name: str) -> str:
        """A new initializer; its name, which is `name` if that is free."""
        own = self.unique(name)
        contiguous = np.ascontiguousarray(array).reshape(array.shape)  # the former adds an axis
        self.initializers[own] = self._numpy_helper.from_array(contiguous, own)
        return own

    def write(self, form: str, names: Mapping[str, Any], output: str) -> str:
        """Add the nodes of a form; the name of its output.

        Parameters
        ----------
        form : str
        names : mapping
            What the names in it stand for: tensors (str), numbers, lists of integers, arrays.
        output : str
            What the output is called, if the name is free or reserved for it.
        """
        return self._write(parse(form), names, output, last=True)

    def _write(self, node, names, output, last=False):
        """The value of an expression: a tensor's name, a number, or a list."""
        number = _constant(node)
        if number is not None:
            return number
        if isinstance(node, ast.Name):
            return names[node.id]
        if isinstance(node, ast.List):
            return [int(self._write(item, names, output)) for item in node.elts]
        operation, arguments, keywords, place = _application(node)
        values = [self._write(argument, names, output) for argument in arguments]
        if operation == "Neg" and not isinstance(values[0], str):
            return -values[0]
        attributes = {
            key: value.value if isinstance(value, ast.Constant) else
            self._write(value, names, output) for key, value in keywords.items()
        }
        if self.opset < _AXES_ARE_INPUT.get(operation, 0):
            attributes["axes"] = values.pop()
        for i in _INTEGERS.get(operation, ()):
            values[i] = np.array(values[i], np.int64)
        inputs = [v if isinstance(v, str) else self.constant(v) for v in values]
        return self._node(operation, inputs, attributes, output, last)[place]

    def _node(self, operation, inputs, attributes, output, last):
        key = (operation, *inputs, *sorted((k, str(v)) for k, v in attributes.items()))
        if key in self._known and not last:
            return self._known[key]
        count = _OUTPUTS.get(operation, 1)
        if last and output in self._reserved:
            self._reserved.remove(output)
            own = output
        else:
            own = self.unique(output if last else f"{output}/{operation}")
        outputs = (own, *(self.unique(f"{own}/{i}") for i in range(1, count)))
        self.nodes.append(self._helper.make_node(operation, inputs, outputs, name=own,
                                                 **attributes))
        self._known[key] = outputs
        return outputs


# -- reading ---------------------------------------------------------------------------------------


class GraphReader:
    """Looks up who makes a tensor, and whether nodes are those of a form.

    Parameters
    ----------
    graph : onnx.GraphProto
    opset : int
    """

    def __init__(self, graph, opset: int):
        from onnx import defs, helper, numpy_helper

        self._defs, self._helper, self.opset = defs, helper, opset
        self.constants: dict[str, np.ndarray] = {
            item.name: numpy_helper.to_array(item) for item in graph.initializer}
        self.makers: dict[str, tuple] = {}
        self.readers: dict[str, int] = {}
        for node in graph.node:
            if node.op_type == "Constant" and len(node.attribute) == 1:
                value = helper.get_attribute_value(node.attribute[0])
                self.constants[node.output[0]] = (
                    numpy_helper.to_array(value) if node.attribute[0].name == "value"
                    else np.asarray(value))
                continue
            if node.op_type == "Identity" and node.input[0] in self.constants:
                self.constants[node.output[0]] = self.constants[node.input[0]]
                continue
            for place, name in enumerate(node.output):
                self.makers[name] = (node, place)
            for name in node.input:
                self.readers[name] = self.readers.get(name, 0) + 1
        for output in graph.output:
            self.readers[output.name] = self.readers.get(output.name, 0) + 1

    def attribute(self, node, name: str):
        """The value of an attribute, or its default; None if it has none."""
        for attribute in node.attribute:
            if attribute.name == name:
                return self._value(attribute)
        return self._default(node, name)

    def _default(self, node, name):
        known = self._defs.get_schema(node.op_type, self.opset, node.domain).attributes
        default = known[name].default_value if name in known else None
        return self._value(default) if default is not None and default.type else None

    def _value(self, attribute):
        value = self._helper.get_attribute_value(attribute)
        return value.decode() if isinstance(value, bytes) else value

    def _is_default(self, node, attribute):
        return self._value(attribute) == self._default(node, attribute.name)

    def activation(self, tensor: str) -> tuple[str, dict[str, float], str] | None:
        """(row, parameters, input) if the tensor is an activation of another one."""
        for name, form in _most_specific_first():
            for found in self.match(form, tensor):
                source = found.get("x")
                if isinstance(source, str) and self._plausible(found):
                    params = {key: float(found.get(key, default))
                              for key, default in spec.ACTIVATIONS[name].params}
                    return name, params, source
        return None

    @staticmethod
    def _plausible(found):
        """Whether what is fixed by the columns of the input is so."""
        ranks, columns, half = (found.get(key) for key in ("ranks", "columns", "half"))
        return ((ranks is None or np.array_equal(np.ravel(ranks), np.arange(1, columns + 1)))
                and (half is None or columns is None or 2 * half == columns or columns > 2**31))

    def match(self, form: str, tensor: str) -> Iterator[dict[str, Any]]:
        """What the names of a form stand for where it makes the tensor, for each way it does."""
        yield from self._match(parse(form), tensor, {})

    def _match(self, node, tensor, bound):
        number = _constant(node)
        if number is not None:
            value = self.constants.get(tensor)
            if value is not None and value.size == 1 and _close(value.item(), number):
                yield bound
        elif isinstance(node, ast.Name):
            value = self.constants.get(tensor, tensor)
            if isinstance(value, np.ndarray) and value.size == 1:
                value = value.item()
            yield from _bind(bound, node.id, value)
        elif (isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Name)
              and tensor in self.constants):
            value = self.constants[tensor]
            if value.size == 1:
                yield from _bind(bound, node.operand.id, -value.item())
        elif isinstance(node, ast.List):
            value = self.constants.get(tensor)
            if value is not None and value.size == len(node.elts):
                yield from self._match_values(node.elts, np.ravel(value).tolist(), bound)
        else:
            yield from self._match_application(node, tensor, bound)

    def _match_application(self, node, tensor, bound):
        operation, arguments, keywords, output = _application(node)
        maker, place = self.makers.get(tensor, (None, 0))
        if (maker is None or maker.op_type != operation or place != output
                or maker.domain not in ("", "ai.onnx")):
            return
        inputs = list(maker.input)
        stated = {a.name for a in maker.attribute if not self._is_default(maker, a)}
        if self.opset < _AXES_ARE_INPUT.get(operation, 0):
            stated.discard("axes")
            key = f"axes of {maker.output[0]}"
            self.constants[key] = np.asarray(self.attribute(maker, "axes"))
            inputs.append(key)
        if len(inputs) != len(arguments) or not stated <= keywords.keys():
            return
        orders = [inputs, inputs[::-1]] if operation in _SYMMETRIC else [inputs]
        values = [self.attribute(maker, key) for key in keywords]
        for given in self._match_values(list(keywords.values()), values, bound):
            for order in orders:
                yield from self._match_all(arguments, order, given)

    def _match_all(self, nodes, tensors, bound):
        if not nodes:
            yield bound
            return
        for found in self._match(nodes[0], tensors[0], bound):
            yield from self._match_all(nodes[1:], tensors[1:], found)

    def _match_values(self, nodes, values, bound):
        """The same for numbers and texts instead of tensors."""
        if not nodes:
            yield bound
            return
        node, value = nodes[0], values[0]
        number = _constant(node)
        if isinstance(node, ast.Name):
            ways = _bind(bound, node.id, value)
        elif number is not None:
            ways = [bound] if value is not None and _close(value, number) else []
        else:
            ways = [bound] if node.value == value else []
        for found in ways:
            yield from self._match_values(nodes[1:], values[1:], found)


def _bind(bound, name, value):
    if name not in bound:
        yield {**bound, name: value}
    elif type(bound[name]) is type(value) and (
            value == bound[name] if isinstance(value, str) else _close(value, bound[name])):
        yield bound


def _close(a, b):
    """Equal but for rounding to float32."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    return a == b or math.isclose(a, b, rel_tol=1e-6)
