"""Arithmetic on symbolic tensors: ``x + y``, ``2 * x``, ``x @ w + b``, ``abs(x)``, ``x[:, :3]``.

Each is a call of an `Operation`, a layer that emits what is asked of it; models don't list them
among their layers.  With numbers they are one pass over the data, as with tensors.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from .. import tree
from ..tracing import latest
from ..variable import Variable
from .layer import Layer
from .merging import joined_shape
from .naming import auto_name
from .tensor import KerasTensor, PlanTensor

__all__ = ["Operation", "apply", "apply_activation", "combine", "part", "row_total"]

_COMBINE = ("add", "subtract", "multiply", "divide", "maximum", "minimum")


class Operation(Layer):
    """One step of arithmetic.

    Parameters
    ----------
    function : str
        One of "add", "subtract", "multiply", "divide", "maximum", "minimum" (of two tensors),
        "affine", "power", "log", "activation", "row_sum", "slice" and "column" (of one).
    variable : Variable, optional
        Of "product" (``x @ variable``) and "parameter" (its row for each row of x).
    params : dict
        Constants: ``factor`` and ``shift``, ``exponent``, ``name`` and ``params`` of an activation,
        ``factor``, ``start`` and ``columns``.
    """

    _is_part = _loses_masks = False

    def __init__(self, function: str, params: dict[str, Any] | None = None,
                 variable: Variable | None = None, **kwargs):
        if kwargs.get("name") is None:
            kwargs["name"] = auto_name(function)
        super().__init__(**kwargs)
        self.function, self.params = function, dict(params or {})
        if variable is not None:
            self._variables.append(variable)

    def compute_output_shape(self, input_shape):
        if self.function in _COMBINE:
            return joined_shape([tuple(shape) for shape in input_shape], self.name)
        shape = tuple(input_shape)
        if self._variables:
            return (shape[0], self._variables[0].matrix_shape[1])
        if self.function == "activation":
            from .activation import activated_columns

            row = (self.params["name"], tuple(self.params["params"]))
            return (*shape[:-1], activated_columns(row, shape[-1], self.name))
        if self.function == "row_sum":
            return (shape[0], 1)
        if self.function == "slice":
            return (shape[0], self.params["columns"])
        if self.function == "column":
            return (shape[0],)
        return shape

    def lower(self, builder, x):
        if self.function in _COMBINE:
            return builder.combine(self.function, *x, self.name)
        if self._variables:
            parameter = self.parameter(builder, self._variables[0])
            if self.function == "product":
                return builder.dense(x, parameter, name=self.name)
            return builder.repeat(parameter, self.name)
        if self.function == "activation":
            return builder.activation(x, self.params["name"], tuple(self.params["params"]))
        if self.function == "column":
            return builder.slice(x, self.params["start"], 1, name=self.name)
        return getattr(builder, self.function)(x, **self.params, name=self.name)

    def get_config(self):
        if self._variables:
            raise ValueError(
                f"{self.name!r} reads the variable {self._variables[0].path!r}, which a config "
                "can't hold: put it in a layer of your own. Received: arithmetic with a variable"
            )
        return {**super().get_config(), "function": self.function, "params": self.params}


def apply(function: str, x, **params):
    """An operation on one tensor, or a list of two."""
    return Operation(function, params)(x)


def apply_activation(x: KerasTensor, name: str, params: tuple, axis: int = -1) -> KerasTensor:
    """An activation of the table, its parameters in the row's order."""
    last = axis in (-1, x.ndim - 1)
    if not _operable(x) or not last or x.ndim == 1:
        from .deferred import activated

        return _deferred(activated, x, name, list(params), *(() if last else (axis,)))
    return apply("activation", x, name=name, params=list(params))


def combine(function: str, a, b):
    """``a function b`` for tensors, of which one may be a number; SymbolicError for other things.

    >>> combine("add", KerasTensor((None, 2)), 1.0).shape
    (None, 2)
    """
    a, b = latest(a), latest(b)
    x, number = (a, b) if isinstance(a, KerasTensor) else (b, a)
    if not isinstance(number, (int, float, np.number, np.ndarray, KerasTensor, Variable)):
        x._refuse(f"{type(number).__name__} can't be combined with it")
    if not (_operable(a) and _operable(b)):
        return _deferred(getattr(np, function), a, b)
    if isinstance(number, KerasTensor):
        if not _fit(a, b):
            return _deferred(getattr(np, function), a, b)
        return apply(function, [a, b])
    if isinstance(number, Variable):
        rows, columns = number.matrix_shape
        if x.ndim == 2 and rows == 1 and number.ndim < 3 and (
                columns in (1, x.shape[1]) or x.shape[1] == 1):
            row = Operation("parameter", variable=number)(x)
            return combine(function, x, row) if x is a else combine(function, row, x)
        return _deferred(getattr(np, function), a, b)
    if np.ndim(number):
        return _deferred(getattr(np, function), a, b)
    c = float(number)
    if function == "add":
        return apply("affine", x, factor=1.0, shift=c)
    if function == "multiply":
        return apply("affine", x, factor=c, shift=0.0)
    if function == "subtract":
        factor, shift = (1.0, -c) if x is a else (-1.0, c)
        return apply("affine", x, factor=factor, shift=shift)
    if function == "divide":
        if x is a:
            return apply("affine", x, factor=1.0 / c, shift=0.0)
        return apply("affine", apply("power", x, exponent=-1.0), factor=c, shift=0.0)
    # max(x, c) = relu(x - c) + c, min(x, c) = c - relu(c - x)
    if function == "maximum":
        above = apply_activation(apply("affine", x, factor=1.0, shift=-c), "relu", ())
        return apply("affine", above, factor=1.0, shift=c)
    below = apply_activation(apply("affine", x, factor=-1.0, shift=c), "relu", ())
    return apply("affine", below, factor=-1.0, shift=c)


def _deferred(function, *args, **kwargs):
    """The function as a step in Python."""
    from .deferred import defer

    x = next(t for t in tree.leaves(list(args)) if isinstance(t, KerasTensor))
    return defer(function, args, kwargs, x)


def _operable(x) -> bool:
    """Whether operations take it: a tensor with rows that is no step in waiting."""
    if not isinstance(x, KerasTensor):
        return True
    if getattr(x, "expression", None) is not None and x._buffer is None:
        return False
    if isinstance(x, PlanTensor):
        buffer = x.builder.buffers[x.buffer]
        if buffer.dtype == "int64" or buffer.role == "weight":  # of classes, of samples
            return False
    return bool(x.shape) and x.shape[0] is None and None not in x.shape[1:]


def _fit(a, b) -> bool:
    """Whether an operation joins two tensors: of one shape, or one of them a single column."""
    single = (a.shape[1:] == (1,)) or (b.shape[1:] == (1,))
    return a.shape == b.shape or (single and len(a.shape) == len(b.shape) == 2) or (
        1 == len(a.shape) == len(b.shape))


def product(x, variable):
    """``x @ variable`` for a variable of two dimensions.

    Raises
    ------
    ValueError
        If its rows are not as many as the columns of x.
    """
    x, variable = latest(x), latest(variable)
    if not (isinstance(x, KerasTensor) and isinstance(variable, Variable) and variable.ndim == 2
            and x.ndim == 2 and _operable(x)):
        return _deferred(np.matmul, x, variable)
    if x.shape[1] != variable.shape[0]:
        raise ValueError(
            f"A product needs as many columns as the variable {variable.path!r} has rows, "
            f"{variable.shape[0]}. Received: shape {x.shape}"
        )
    return Operation("product", variable=variable)(x)


def cast(x, dtype):
    """The tensor with another dtype: fractions are cut off, what is true is 1."""
    kind, before = np.dtype(dtype).kind, np.dtype(x.dtype).kind if x.dtype != "string" else "O"
    if kind == before or (before in "iu" and kind in "iuf" and _operable(x)):
        return x
    if before == "b" and kind in "iuf" and _operable(x):
        return apply("affine", x, factor=1.0, shift=0.0)
    from .deferred import astype

    return _deferred(astype, x, np.dtype(dtype).name)


def power(x, exponent):
    """``x ** exponent`` for a number."""
    if not isinstance(exponent, (int, float, np.number)) or not _operable(x):
        return _deferred(np.power, x, exponent)
    if exponent == 1:
        return apply("affine", x, factor=1.0, shift=0.0)
    return apply("power", x, exponent=float(exponent))


def row_total(x, mean: bool):
    """The sum or the mean over the columns, one column."""
    return apply("row_sum", x, factor=1.0 / x.shape[-1] if mean else 1.0)


def part(x, index):
    """``x[:, start:stop]``, neighbouring columns of all rows, or ``x[:, i]``, one of shape (rows,).

    Raises
    ------
    IndexError
        If it is another index.
    """
    if (isinstance(index, tuple) and len(index) == 2 and x.ndim == 2 and index[0] == slice(None)
            and _operable(x)):
        columns = x.shape[1]
        if isinstance(index[1], (int, np.integer)) and -columns <= index[1] < columns:
            return apply("column", x, start=int(index[1]) % columns)
        if isinstance(index[1], slice):
            start, stop, step = index[1].indices(columns)
            if step == 1 and stop > start:
                return apply("slice", x, start=start, columns=stop - start)
    from .deferred import _item

    return _item(x, index)


# -- what NumPy asks of tensors ------------------------------------------------------------------

_UFUNCS = {
    np.add: lambda a, b: combine("add", a, b),
    np.subtract: lambda a, b: combine("subtract", a, b),
    np.multiply: lambda a, b: combine("multiply", a, b),
    np.divide: lambda a, b: combine("divide", a, b),
    np.maximum: lambda a, b: combine("maximum", a, b),
    np.minimum: lambda a, b: combine("minimum", a, b),
    np.negative: lambda x: -x,
    np.positive: lambda x: x,
    np.absolute: abs,
    np.square: lambda x: power(x, 2.0),
    np.sqrt: lambda x: power(x, 0.5),
    np.reciprocal: lambda x: power(x, -1.0),
    np.power: lambda x, y: x**y,
    np.matmul: lambda x, w: product(x, w),
    np.exp: lambda x: apply_activation(x, "exponential", ()),
    np.tanh: lambda x: apply_activation(x, "tanh", ()),
    np.arctan: lambda x: apply_activation(x, "arctan", ()),
    np.log: lambda x: apply("log", x),
}
_JOINING = frozenset((np.add, np.subtract, np.multiply, np.divide, np.maximum, np.minimum))


def ufunc(tensor, function, method, inputs, kwargs):
    """``np.exp(x)`` and the like; SymbolicError for what has no operation."""
    if method != "__call__" or kwargs:
        tensor._refuse(f"`numpy.{function.__name__}` has no operation for it")
    known = _UFUNCS.get(function)
    if known is not None and (function in _JOINING or all(
            _operable(x) for x in inputs)) and any(
                isinstance(x, KerasTensor) for x in inputs):
        return known(*inputs)
    return _deferred(function, *inputs)


def array_function(tensor, function, args, kwargs):
    """Sums and means over columns, concatenations, shapes; SymbolicError for anything else."""
    if function in (np.sum, np.mean) and args and isinstance(args[0], KerasTensor):
        axis = kwargs.get("axis", args[1] if len(args) > 1 else None)
        if args[0].ndim == 2 and axis in (1, -1) and kwargs.get("keepdims") and len(args) < 3 \
                and set(kwargs) <= {"axis", "keepdims"} and _operable(args[0]):
            return row_total(args[0], function is np.mean)
    if function is np.split and args[0] is tensor and tensor.ndim == 2 and (
            _operable(tensor) and kwargs.get("axis", [*args, 0, 0][2]) in (1, -1)):
        return _split(tensor, *args[1:], **kwargs)
    if function is np.concatenate and set(kwargs) <= {"axis"}:
        from .merging import concatenate

        axis = kwargs.get("axis", args[1] if len(args) > 1 else 0)
        if axis and all(isinstance(part, KerasTensor) and _operable(part)
                        for part in args[0]):
            return concatenate(list(args[0]), axis=axis)
    if (function in _SHAPING and args and args[0] is tensor and len(args) + len(kwargs) == 2
            and tensor.ndim > 1 and _operable(tensor)):
        found = _SHAPING[function](tensor, *args[1:], *kwargs.values())
        if found is not None:
            return found
    kwargs = {key: value for key, value in kwargs.items() if value is not np._NoValue}
    return _deferred(function, *args, **kwargs)


def _split(x, parts, axis=0):
    """Equal parts of the columns, or parts that end at some columns."""
    columns = x.shape[1]
    if axis not in (1, -1):
        x._refuse("its rows can't be split")
    if isinstance(parts, (int, np.integer)):
        if columns % parts:
            raise ValueError(
                f"Argument `indices_or_sections` must divide {columns} columns. Received: {parts}")
        parts = range(columns // parts, columns, columns // parts)
    ends = [0, *parts, columns]
    return [part(x, (slice(None), slice(a, b))) for a, b in pairwise(ends)]


def _reshaped(x, shape):
    """The tensor with samples of another shape; None where rows would be mixed."""
    from .shapes import Reshape

    shape = tuple(shape)
    return Reshape(shape[1:])(x) if len(shape) > 1 and shape[0] in (-1, None) else None


def _expanded(x, axis):
    place = axis % (x.ndim + 1) if isinstance(axis, int) else 0
    return _reshaped(x, (None, *x.shape[1:place], 1, *x.shape[place:])) if place else None


def _squeezed(x, axis):
    place = axis % x.ndim if isinstance(axis, int) else 0
    if not place or x.ndim < 3 or x.shape[place] != 1:
        return None
    return _reshaped(x, (None, *x.shape[1:place], *x.shape[place + 1 :]))


_SHAPING = {np.reshape: _reshaped, np.expand_dims: _expanded, np.squeeze: _squeezed}


# -- operators of tensors ------------------------------------------------------------------------


def _binary(function):
    def method(self, other):
        return combine(function, self, other)

    def reflected(self, other):
        return combine(function, other, self)

    return method, reflected


for _name, _function in (("add", "add"), ("sub", "subtract"), ("mul", "multiply"),
                         ("truediv", "divide")):
    _method, _reflected = _binary(_function)
    setattr(KerasTensor, f"__{_name}__", _method)
    setattr(KerasTensor, f"__r{_name}__", _reflected)
KerasTensor.__matmul__ = product
KerasTensor.__neg__ = lambda self: combine("multiply", self, -1.0)
KerasTensor.__pos__ = lambda self: self
KerasTensor.__abs__ = lambda self: combine("maximum", self, -self)
KerasTensor.__pow__ = power
KerasTensor.__getitem__ = part
for _name, _ufunc in (("lt", np.less), ("le", np.less_equal), ("gt", np.greater),
                      ("ge", np.greater_equal), ("mod", np.mod), ("floordiv", np.floor_divide)):
    setattr(KerasTensor, f"__{_name}__",
            lambda self, other, function=_ufunc: _deferred(function, self, other))
KerasTensor.__rpow__ = lambda self, base: _deferred(np.power, base, self)
KerasTensor.__rmatmul__ = lambda self, other: _deferred(np.matmul, other, self)
del _ufunc, _name, _function, _method, _reflected
