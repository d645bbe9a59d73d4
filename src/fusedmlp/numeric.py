"""Keras's `ops` on arrays: NumPy's functions under the names and arguments of `keras.ops`.

They stand beside the kernels in `fusedmlp.ops`, for losses, metrics, layers and schedules of one's
own.  They take whatever NumPy takes, and variables; on symbolic tensors they do what arithmetic on
such can do (see `fusedmlp.layers.arithmetic`), and otherwise say so.  Names that NumPy has with the
same first arguments are NumPy's own functions; the others are defined here.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import config, tracing

# Keras's names that are NumPy's, or NumPy's under another name.
_SAME = (
    "absolute", "add", "angle", "append", "arange", "arccos", "arccosh", "arcsin", "arcsinh",
    "arctan", "arctan2", "arctanh", "argpartition", "argsort", "array", "bincount",
    "cbrt", "ceil", "concatenate", "copy", "corrcoef", "cos", "cosh", "cross",
    "deg2rad", "diag", "diagonal", "diff", "digitize", "divide", "dot", "einsum", "empty",
    "empty_like", "equal", "exp", "exp2", "expand_dims", "expm1", "eye", "flip", "floor",
    "floor_divide", "full_like", "gcd", "greater", "greater_equal", "heaviside",
    "histogram", "hstack", "hypot", "identity", "inner", "isclose", "isfinite", "isin", "isinf",
    "isnan", "isneginf", "isposinf", "isreal", "kron", "lcm", "ldexp", "less", "less_equal",
    "linspace", "log", "log10", "log1p", "log2", "logaddexp", "logaddexp2", "logical_and",
    "logical_not", "logical_or", "logical_xor", "logspace", "matmul", "maximum", "meshgrid",
    "minimum", "mod", "moveaxis", "multiply", "nan_to_num", "ndim", "negative", "nextafter",
    "nonzero", "not_equal", "ones_like", "outer", "power", "ravel", "reciprocal", "repeat",
    "roll", "rot90", "round", "searchsorted", "sign", "signbit", "sin", "sinc", "sinh", "size",
    "sort", "split", "sqrt", "square", "squeeze", "stack", "subtract", "swapaxes", "take",
    "take_along_axis", "tan", "tanh", "tensordot", "tile", "transpose", "tri", "tril", "triu",
    "true_divide", "trunc", "unravel_index", "vander", "vdot", "vectorize", "vstack", "where",
    "zeros_like",
)
_REDUCTIONS = ("all", "amax", "amin", "any", "max", "mean", "min", "prod", "std", "sum", "var",
               "nanmax", "nanmean", "nanmin", "nanprod", "nanstd", "nansum", "nanvar", "median",
               "count_nonzero", "argmax", "argmin")
_CUMULATIVE = ("cumsum", "cumprod")


def _tensor(x) -> bool:
    """Whether it is symbolic, known without knowing layers."""
    return not isinstance(x, np.ndarray) and hasattr(x, "_keras_history")


def _reduction(name):
    function = getattr(np, name)
    position = "axis" if name in ("argmax", "argmin", "count_nonzero") else "axis, keepdims"

    def reduce(x, axis=None, keepdims: bool = False):
        return function(x, axis=axis, keepdims=keepdims)

    reduce.__name__ = reduce.__qualname__ = name
    reduce.__doc__ = f"`numpy.{name}` with Keras's arguments ({position})."
    return reduce


def _cumulative(name):
    function = getattr(np, name)

    def accumulate(x, axis=None, dtype=None):
        return function(x, axis=axis, dtype=dtype)

    accumulate.__name__ = accumulate.__qualname__ = name
    accumulate.__doc__ = f"`numpy.{name}` with Keras's arguments."
    return accumulate


globals().update({name: getattr(np, name) for name in _SAME})
globals().update({name: _reduction(name) for name in _REDUCTIONS})
globals().update({name: _cumulative(name) for name in _CUMULATIVE})
abs = np.absolute


# -- arrays --------------------------------------------------------------------------------------


def convert_to_tensor(x, dtype: Any = None, sparse: bool | None = None,
                      ragged: bool | None = None) -> np.ndarray:
    """An array; numbers without a dtype of their own take `fusedmlp.config.floatx()` or int32.

    >>> convert_to_tensor([1.0, 2.0]).dtype.name, convert_to_tensor([1, 2]).dtype.name
    ('float32', 'int32')
    """
    if _tensor(x):
        return x
    array = np.asarray(x)
    if dtype is None and not hasattr(x, "dtype"):
        dtype = {"f": config.floatx(), "i": "int32"}.get(array.dtype.kind)
    return array if dtype is None else array.astype(dtype, copy=False)


def convert_to_numpy(x) -> np.ndarray:
    """An array, which tensors are here already.

    >>> convert_to_numpy([1, 2])
    array([1, 2])
    """
    return np.asarray(x)


def is_tensor(x) -> bool:
    """Whether it is an array or a symbolic tensor.

    >>> is_tensor(np.zeros(2)), is_tensor([0.0])
    (True, False)
    """
    return isinstance(x, np.ndarray) or _tensor(x)


def shape(x) -> tuple:
    """The shape; of a symbolic tensor its rows are None.

    >>> shape(np.zeros((2, 3)))
    (2, 3)
    """
    return tuple(x.shape) if hasattr(x, "shape") else np.shape(x)


def dtype(x) -> str:
    """Name of the dtype.

    >>> dtype(np.zeros(2, "float32"))
    'float32'
    """
    return str(x.dtype) if hasattr(x, "dtype") else np.asarray(x).dtype.name


def cast(x, dtype: Any):
    """The array with another dtype; of a symbolic tensor only the kind of numbers changes.

    >>> cast([1.7, -0.2], "int32")
    array([1, 0], dtype=int32)
    """
    return x.astype(dtype) if _tensor(x) else np.asarray(x).astype(dtype)


def saturate_cast(x, dtype: Any):
    """`cast` with what lies outside of an integer type's range at its ends.

    >>> saturate_cast([300.0, -5.0], "uint8")
    array([255,   0], dtype=uint8)
    """
    kind = np.dtype(dtype)
    limits = np.iinfo(kind) if kind.kind in "iu" else np.finfo(kind)
    return np.clip(x, limits.min, limits.max).astype(kind)


def stop_gradient(variable):
    """The same, as something that does not depend on anything.

    >>> stop_gradient(3.0)
    3.0
    """
    return variable.halted() if _tensor(variable) else variable


def cond(pred, true_fn, false_fn):
    """What one of two functions without arguments returns.

    >>> cond(True, lambda: 1, lambda: 2)
    1
    """
    return true_fn() if pred else false_fn()


def full(shape, fill_value, dtype: Any = None):
    """An array of one number; its rows may be None, those of the batch, within a `call`.

    >>> full((2,), 3.0)
    array([3., 3.])
    """
    if tracing.current() is not None and None in np.atleast_1d(shape):
        return tracing.current().full(tuple(shape), float(fill_value))
    return np.full(shape, fill_value, dtype)


def ones(shape, dtype: Any = None):
    """`full` of 1, of the dtype `fusedmlp.config.floatx()` by default.

    >>> ones(2)
    array([1., 1.], dtype=float32)
    """
    return full(shape, 1.0, dtype or config.floatx())


def zeros(shape, dtype: Any = None):
    """`full` of 0, of the dtype `fusedmlp.config.floatx()` by default.

    >>> zeros(2)
    array([0., 0.], dtype=float32)
    """
    return full(shape, 0.0, dtype or config.floatx())


def broadcast_to(x, shape):
    """The elements in a larger shape; its rows may be None, those of the batch, within a `call`.

    >>> broadcast_to([1.0, 2.0], (2, 2)).tolist()
    [[1.0, 2.0], [1.0, 2.0]]
    """
    if tracing.current() is not None and None in np.atleast_1d(shape):
        return x + zeros(shape)
    return np.broadcast_to(x, shape)


def reshape(x, newshape):
    """The same elements in another shape, in which one extent may be -1.

    >>> reshape([1, 2, 3, 4], (2, -1)).tolist()
    [[1, 2], [3, 4]]
    """
    if _tensor(x) and None in np.atleast_1d(newshape):  # the rows of the batch, as x has them
        known = math.prod(n for n in newshape[1:] if n != -1)
        rest = math.prod(x.shape[1:]) // (known or 1)
        newshape = (-1, *(rest if n == -1 else n for n in newshape[1:]))
    return np.reshape(x, newshape)


def clip(x, x_min, x_max):
    """Elements below `x_min` or above `x_max` put there.

    >>> clip(np.array([-1.0, 0.5]), 0.0, 1.0)
    array([0. , 0.5])
    """
    return np.minimum(np.maximum(x, x_min), x_max)


def pad(x, pad_width, mode: str = "constant", constant_values=None):
    """`numpy.pad`; zeros by default.

    >>> pad(np.ones(2), (1, 0))
    array([0., 1., 1.])
    """
    more = {} if constant_values is None else {"constant_values": constant_values}
    return np.pad(x, pad_width, mode, **more)


def trace(x, offset: int = 0, axis1: int = 0, axis2: int = 1):
    """The sum of a diagonal.

    >>> float(trace(np.eye(3)))
    3.0
    """
    return np.trace(x, offset, axis1, axis2)


def average(x, axis=None, weights=None):
    """The weighted mean.

    >>> float(average([1.0, 2.0], weights=[3.0, 1.0]))
    1.25
    """
    if _tensor(x) or _tensor(weights):
        if weights is None:
            return np.mean(x, axis=axis)
        return np.sum(x * weights, axis=axis) / np.sum(weights + 0.0 * x, axis=axis)
    return np.average(x, axis, weights)


def quantile(x, q, axis=None, method: str = "linear", keepdims: bool = False):
    """`numpy.quantile` with Keras's arguments.

    >>> float(quantile([1.0, 2.0, 3.0], 0.5))
    2.0
    """
    return np.quantile(x, q, axis=axis, method=method, keepdims=keepdims)


def percentile(x, q, axis=None, method: str = "linear", keepdims: bool = False):
    """`numpy.percentile` with Keras's arguments.

    >>> float(percentile([1.0, 2.0, 3.0], 50.0))
    2.0
    """
    return np.percentile(x, q, axis=axis, method=method, keepdims=keepdims)


def select(condlist, choicelist, default=0):
    """From each place of several arrays the first whose condition holds.

    >>> select([np.array([True, False])], [np.array([1, 2])], 0).tolist()
    [1, 0]
    """
    return np.select(condlist, choicelist, default)


def norm(x, ord=None, axis=None, keepdims: bool = False):
    """`numpy.linalg.norm`.

    >>> float(norm([3.0, 4.0]))
    5.0
    """
    return np.linalg.norm(x, ord, axis, keepdims)


def rsqrt(x):
    """``1 / sqrt(x)``.

    >>> float(rsqrt(4.0))
    0.5
    """
    return np.power(x, -0.5)


def erf(x):
    """The error function, one element after another.

    >>> erf(np.array([0.0, 1.0])).round(6)
    array([0.      , 0.842701])
    """
    from math import erf as scalar

    if hasattr(x, "given_to"):
        return x.given_to(erf)
    x = convert_to_tensor(x)
    found = np.frompyfunc(scalar, 1, 1)(x)
    return np.asarray(found, x.dtype)


def logsumexp(x, axis=None, keepdims: bool = False):
    """``log sum exp x`` without overflow.

    >>> float(logsumexp([1000.0, 1000.0]).round(3))
    1000.693
    """
    x = x if _tensor(x) else np.asarray(x)
    top = stop_gradient(np.max(x, axis=axis, keepdims=True))
    top = np.where(np.isfinite(top), top, 0)
    found = np.log(np.sum(np.exp(x - top), axis=axis, keepdims=True)) + top
    return found if keepdims else np.squeeze(found, axis=axis)


def moments(x, axes, keepdims: bool = False, synchronized: bool = False):
    """Mean and variance.

    >>> [float(v) for v in moments(np.array([1.0, 3.0]), 0)]
    [2.0, 1.0]
    """
    axes = tuple(axes) if isinstance(axes, (list, tuple)) else axes
    return np.mean(x, axis=axes, keepdims=keepdims), np.var(x, axis=axes, keepdims=keepdims)


def normalize(x, axis=-1, order: int = 2, epsilon: float | None = None):
    """Vectors along an axis, of length 1 (of at most that where they are shorter than epsilon).

    >>> normalize(np.array([[3.0, 4.0]]))
    array([[0.6, 0.8]])
    """
    least = config.epsilon() if epsilon is None else epsilon
    return x / np.maximum(np.linalg.norm(x, order, axis, keepdims=True), least)


# -- classes -------------------------------------------------------------------------------------


def one_hot(x, num_classes: int, axis: int = -1, dtype: Any = None, sparse: bool = False):
    """Integers as vectors with a 1; those out of range have none.

    >>> one_hot([0, 2], 3).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    x = x if _tensor(x) else np.asarray(x)
    found = np.equal(np.expand_dims(x, -1), np.arange(num_classes))
    found = found.astype(dtype or config.floatx())
    return found if axis == -1 else np.moveaxis(found, -1, axis)


def multi_hot(inputs, num_classes: int, axis: int = -1, dtype: Any = None, sparse: bool = False):
    """Which integers occur along the last axis.

    >>> multi_hot([0, 2], 3).tolist()
    [1.0, 0.0, 1.0]
    """
    return np.max(one_hot(inputs, num_classes, dtype=dtype), axis=-2)


def top_k(x, k: int, sorted: bool = True):
    """The largest `k` along the last axis, from the largest on, and their places.

    >>> [part.tolist() for part in top_k(np.array([1.0, 3.0, 2.0]), 2)]
    [[3.0, 2.0], [1, 2]]
    """
    if hasattr(x, "given_to"):
        return tuple(x.given_to(top_k, k, sorted))
    x = np.asarray(x)
    places = np.argsort(-x, axis=-1, kind="stable")[..., :k]
    return np.take_along_axis(x, places, axis=-1), places.astype(np.int32)


def in_top_k(targets, predictions, k: int):
    """Whether each target is among the `k` largest predictions of its row.

    >>> in_top_k([1, 0], np.array([[0.1, 0.9], [0.2, 0.8]]), 1).tolist()
    [True, False]
    """
    predictions = np.asarray(predictions)
    mine = np.take_along_axis(predictions, np.asarray(targets)[..., None], axis=-1)
    return np.sum(predictions > mine, axis=-1) < k


def segment_sum(data, segment_ids, num_segments: int | None = None, sorted: bool = False):
    """Sums of the rows that have the same number.

    >>> segment_sum(np.array([1.0, 2.0, 3.0]), [0, 0, 1]).tolist()
    [3.0, 3.0]
    """
    data, numbers = np.asarray(data), np.asarray(segment_ids)
    result = np.zeros((num_segments or int(numbers.max()) + 1, *data.shape[1:]), data.dtype)
    np.add.at(result, numbers, data)
    return result


_OWN = (
    "abs", "average", "broadcast_to", "cast", "clip", "cond", "convert_to_numpy",
    "convert_to_tensor", "dtype", "erf", "full", "in_top_k", "is_tensor", "logsumexp", "moments",
    "multi_hot", "norm", "normalize", "one_hot", "ones", "pad", "percentile", "quantile", "reshape",
    "rsqrt", "saturate_cast", "segment_sum", "select", "shape", "stop_gradient", "top_k", "trace",
    "zeros",
)
__all__ = [*_SAME, *_REDUCTIONS, *_CUMULATIVE, *_OWN]
