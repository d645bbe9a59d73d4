"""Arithmetic on symbolic tensors: ``x + y``, ``2 * x``, ``x @ w + b``, ``abs(x)``, ``x[:, :3]``.

Each is a call of an `Operation`, a layer that emits what is asked of it; models don't list them
among their layers.  With numbers they are one pass over the data, as with tensors.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from ..variable import Variable
from .layer import Layer
from .merging import joined_shape
from .naming import auto_name
from .tensor import KerasTensor

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
            return (shape[0], self._variables[0].shape[-1])
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


def apply_activation(x: KerasTensor, name: str, params: tuple) -> KerasTensor:
    """An activation of the table, its parameters in the row's order."""
    return apply("activation", x, name=name, params=list(params))


def combine(function: str, a, b):
    """``a function b`` for tensors, of which one may be a number; SymbolicError for other things.

    >>> combine("add", KerasTensor((None, 2)), 1.0).shape
    (None, 2)
    """
    if isinstance(a, KerasTensor) and isinstance(b, KerasTensor):
        return apply(function, [a, b])
    x, number = (a, b) if isinstance(a, KerasTensor) else (b, a)
    if isinstance(number, Variable) and (number.ndim == 1 or number.shape[0] == 1):
        row = Operation("parameter", variable=number)(x)
        return combine(function, x, row) if x is a else combine(function, row, x)
    if not isinstance(number, (int, float, np.number, np.ndarray)) or np.ndim(number):
        x._refuse(f"{type(number).__name__} can't be combined with it")
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


def product(x, variable):
    """``x @ variable`` for a variable of two dimensions.

    Raises
    ------
    ValueError
        If its rows are not as many as the columns of x.
    """
    if not isinstance(x, KerasTensor) or not isinstance(variable, Variable) or variable.ndim != 2:
        tensor = x if isinstance(x, KerasTensor) else variable
        tensor._refuse("it can be multiplied by a variable of two dimensions alone")
    if x.ndim != 2 or x.shape[1] != variable.shape[0]:
        raise ValueError(
            f"A product needs as many columns as the variable {variable.path!r} has rows, "
            f"{variable.shape[0]}. Received: shape {x.shape}"
        )
    return Operation("product", variable=variable)(x)


def power(x, exponent):
    """``x ** exponent`` for a number."""
    if not isinstance(exponent, (int, float, np.number)):
        x._refuse("only a number can be its exponent")
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
    wanted = (f"A symbolic tensor of shape {x.shape} takes an index [:, start:stop] of "
              f"neighbouring columns, or [:, i]. Received: {index!r}")
    if not isinstance(index, tuple) or len(index) != 2 or x.ndim != 2 or index[0] != slice(None):
        raise IndexError(wanted)
    columns = x.shape[1]
    if isinstance(index[1], (int, np.integer)) and -columns <= index[1] < columns:
        return apply("column", x, start=int(index[1]) % columns)
    if isinstance(index[1], slice):
        start, stop, step = index[1].indices(columns)
        if step != 1 or stop <= start:
            raise IndexError(wanted)
        return apply("slice", x, start=start, columns=stop - start)
    raise IndexError(wanted)


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


def ufunc(tensor, function, method, inputs, kwargs):
    """``np.exp(x)`` and the like; SymbolicError for what has no operation."""
    known = _UFUNCS.get(function)
    if known is None or method != "__call__" or kwargs:
        tensor._refuse(f"`numpy.{function.__name__}` has no operation for it")
    return known(*inputs)


def array_function(tensor, function, args, kwargs):
    """Sums and means over columns, concatenations, shapes; SymbolicError for anything else."""
    if function in (np.sum, np.mean) and args and isinstance(args[0], KerasTensor):
        axis = kwargs.get("axis", args[1] if len(args) > 1 else None)
        if args[0].ndim == 2 and axis in (1, -1) and kwargs.get("keepdims") and len(args) < 3 \
                and set(kwargs) <= {"axis", "keepdims"}:
            return row_total(args[0], function is np.mean)
    if function is np.split and args[0] is tensor and tensor.ndim == 2:
        return _split(tensor, *args[1:], **kwargs)
    if function is np.concatenate and set(kwargs) <= {"axis"}:
        from .merging import concatenate

        axis = kwargs.get("axis", args[1] if len(args) > 1 else 0)
        if axis and all(isinstance(part, KerasTensor) for part in args[0]):
            return concatenate(list(args[0]), axis=axis)
    if function in _SHAPING and args and args[0] is tensor and len(args) + len(kwargs) == 2:
        found = _SHAPING[function](tensor, *args[1:], *kwargs.values())
        if found is not None:
            return found
    tensor._refuse(f"`numpy.{function.__name__}` has no operation for it")


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
del _name, _function, _method, _reflected
