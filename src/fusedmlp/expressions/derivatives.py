"""What the derivative of each NumPy function is, as a product with a gradient that comes back.

`RULES` has for each function a rule ``rule(g, y, *args, **kwargs)``: from the gradient `g` at its
output `y` and what it was called with, the gradient at each of its leading arguments that has one
(a tuple; None for an argument that is constant there, a list for one that is a list of arrays).
Gradients of broadcast arguments may have the broadcast shape.  `CONSTANT` holds the functions whose
derivative is 0 wherever there is one.

The formulas are those of any book of calculus; those of matrix products, norms and Einstein sums
follow M. B. Giles, "Collected matrix derivative results for forward and reverse mode algorithmic
differentiation" (2008).
"""

from __future__ import annotations

import math

import numpy as np

from ..differences import quotient, step_size
from ..numeric import erf, top_k
from .functions import (
    activated,
    astype,
    halted,
    item,
    loss_of_samples,
    taken,
)

__all__ = ["CONSTANT", "RULES"]


def _elementwise(*slopes):
    """A rule of factors: ``slope(y, *args)`` for each argument."""
    def rule(g, y, *args):
        return tuple(g * slope(y, *args) for slope in slopes)

    return rule


def _where_it_is(y, x, other):
    """1 where the result of a maximum or minimum is x, 1/2 where both are equal."""
    return np.where(y == x, np.where(x == other, 0.5, 1.0), 0.0).astype(y.dtype)


def _power(g, y, x, exponent):
    with np.errstate(all="ignore"):
        first = g * exponent * np.power(x, np.where(exponent == 0, 1.0, exponent - 1))
        second = g * y * np.log(np.where(np.asarray(x) > 0, x, 1.0))
    return first, second


_ELEMENTWISE = {
    np.add: (lambda y, a, b: 1.0, lambda y, a, b: 1.0),
    np.subtract: (lambda y, a, b: 1.0, lambda y, a, b: -1.0),
    np.multiply: (lambda y, a, b: b, lambda y, a, b: a),
    np.divide: (lambda y, a, b: 1.0 / b, lambda y, a, b: -y / b),
    np.maximum: (_where_it_is, lambda y, a, b: _where_it_is(y, b, a)),
    np.minimum: (_where_it_is, lambda y, a, b: _where_it_is(y, b, a)),
    np.arctan2: (lambda y, a, b: b / (a * a + b * b), lambda y, a, b: -a / (a * a + b * b)),
    np.hypot: (lambda y, a, b: a / y, lambda y, a, b: b / y),
    np.logaddexp: (lambda y, a, b: np.exp(a - y), lambda y, a, b: np.exp(b - y)),
    np.logaddexp2: (lambda y, a, b: np.exp2(a - y), lambda y, a, b: np.exp2(b - y)),
    np.mod: (lambda y, a, b: 1.0, lambda y, a, b: -np.floor(a / b)),
    np.negative: (lambda y, x: -1.0,),
    np.positive: (lambda y, x: 1.0,),
    np.absolute: (lambda y, x: np.sign(x),),
    np.fabs: (lambda y, x: np.sign(x),),
    np.square: (lambda y, x: 2.0 * x,),
    np.sqrt: (lambda y, x: 0.5 / y,),
    np.cbrt: (lambda y, x: 1.0 / (3.0 * y * y),),
    np.reciprocal: (lambda y, x: -y * y,),
    np.exp: (lambda y, x: y,),
    np.exp2: (lambda y, x: y * math.log(2.0),),
    np.expm1: (lambda y, x: y + 1.0,),
    np.log: (lambda y, x: 1.0 / x,),
    np.log2: (lambda y, x: 1.0 / (x * math.log(2.0)),),
    np.log10: (lambda y, x: 1.0 / (x * math.log(10.0)),),
    np.log1p: (lambda y, x: 1.0 / (1.0 + x),),
    np.sin: (lambda y, x: np.cos(x),),
    np.cos: (lambda y, x: -np.sin(x),),
    np.tan: (lambda y, x: 1.0 + y * y,),
    np.arcsin: (lambda y, x: 1.0 / np.sqrt(1.0 - x * x),),
    np.arccos: (lambda y, x: -1.0 / np.sqrt(1.0 - x * x),),
    np.arctan: (lambda y, x: 1.0 / (1.0 + x * x),),
    np.sinh: (lambda y, x: np.cosh(x),),
    np.cosh: (lambda y, x: np.sinh(x),),
    np.tanh: (lambda y, x: 1.0 - y * y,),
    np.arcsinh: (lambda y, x: 1.0 / np.sqrt(x * x + 1.0),),
    np.arccosh: (lambda y, x: 1.0 / np.sqrt(x * x - 1.0),),
    np.arctanh: (lambda y, x: 1.0 / (1.0 - x * x),),
    np.deg2rad: (lambda y, x: math.pi / 180.0,),
    np.rad2deg: (lambda y, x: 180.0 / math.pi,),
    np.nan_to_num: (lambda y, x, *more: np.isfinite(x),),
}


# -- sums and the like ---------------------------------------------------------------------------


def _spread(g, x, axis, keepdims):
    """What was summed over `axis` with that axis of length 1 back in its place."""
    if axis is None:
        return np.reshape(g, (1,) * np.ndim(x))
    return g if keepdims else np.expand_dims(g, axis)


def _extent(x, axis):
    if axis is None:
        return np.size(x)
    return math.prod(np.shape(x)[a] for a in (axis if isinstance(axis, tuple) else (axis,)))


def _sum(g, y, x, axis=None, dtype=None, out=None, keepdims=False):
    return (np.broadcast_to(_spread(g, x, axis, keepdims), np.shape(x)),)


def _mean(g, y, x, axis=None, dtype=None, out=None, keepdims=False):
    return (_sum(g, y, x, axis, keepdims=keepdims)[0] / _extent(x, axis),)


def _variance(g, y, x, axis=None, dtype=None, out=None, ddof=0, keepdims=False):
    centered = x - np.mean(x, axis=axis, keepdims=True)
    return (_spread(g, x, axis, keepdims) * centered * (2.0 / (_extent(x, axis) - ddof)),)


def _deviation(g, y, x, axis=None, dtype=None, out=None, ddof=0, keepdims=False):
    return _variance(g / (2.0 * np.where(y == 0, 1.0, y)), y, x, axis, ddof=ddof,
                     keepdims=keepdims)


def _extreme(g, y, x, axis=None, out=None, keepdims=False):
    """To the elements that are the largest (smallest), in equal parts."""
    found = x == _spread(y, x, axis, keepdims)
    share = found / np.sum(found, axis=axis, keepdims=True)
    return ((_spread(g, x, axis, keepdims) * share).astype(np.asarray(g).dtype),)


def _product(g, y, x, axis=None, dtype=None, out=None, keepdims=False):
    return (_spread(g * y, x, axis, keepdims) / x,)


def _running_sum(g, y, x, axis=None, dtype=None):
    if axis is None:
        return (np.cumsum(np.ravel(g)[::-1])[::-1].reshape(np.shape(x)),)
    return (np.flip(np.cumsum(np.flip(g, axis), axis=axis), axis),)


def _norm(g, y, x, ord=None, axis=None, keepdims=False):
    if ord not in (None, 2, "fro") or (ord == 2 and axis is None and np.ndim(x) > 1):
        if ord == 1 and isinstance(axis, int):
            return (_spread(g, x, axis, keepdims) * np.sign(x),)
        raise NotImplementedError(f"a norm of order {ord!r}")
    length = _spread(y, x, axis, keepdims)
    return (_spread(g, x, axis, keepdims) * x / np.where(length == 0, 1.0, length),)


# -- products ------------------------------------------------------------------------------------


def _swapped(x):
    return np.swapaxes(x, -1, -2)


def _matmul(g, y, a, b):
    if np.ndim(a) == 1 and np.ndim(b) == 1:
        return g * b, g * a
    if np.ndim(a) == 1:
        db = np.asarray(a)[:, None] * np.expand_dims(g, -2)
        return np.matmul(np.expand_dims(g, -2), _swapped(b))[..., 0, :], db
    if np.ndim(b) == 1:
        return np.expand_dims(g, -1) * b, np.expand_dims(
            np.matmul(_swapped(a), np.expand_dims(g, -1)), ())[..., 0]
    return np.matmul(g, _swapped(b)), np.matmul(_swapped(a), g)


def _tensordot(g, y, a, b, axes=2):
    if isinstance(axes, (int, np.integer)):
        of_a, of_b = list(range(np.ndim(a) - axes, np.ndim(a))), list(range(axes))
    else:
        of_a, of_b = ([part] if isinstance(part, (int, np.integer)) else list(part)
                      for part in axes)
        of_a, of_b = [i % np.ndim(a) for i in of_a], [i % np.ndim(b) for i in of_b]
    free_a = [i for i in range(np.ndim(a)) if i not in of_a]
    free_b = [i for i in range(np.ndim(b)) if i not in of_b]
    behind, front = list(range(len(free_a), np.ndim(g))), list(range(len(free_a)))
    da = np.tensordot(g, b, (behind, free_b))  # the free axes of a, then those of b in its order
    db = np.tensordot(a, g, (free_a, front))  # the summed axes of a in its order, free ones of b
    order_a = free_a + [of_a[of_b.index(i)] for i in sorted(of_b)]
    order_b = [of_b[of_a.index(i)] for i in sorted(of_a)] + free_b
    return np.transpose(da, np.argsort(order_a)), np.transpose(db, np.argsort(order_b))


def _dot(g, y, a, b):
    if np.ndim(a) == 0 or np.ndim(b) == 0:
        return g * b, g * a
    if np.ndim(b) <= 2:
        return _tensordot(g, y, a, b, ([np.ndim(a) - 1], [0])) if np.ndim(b) else (g * b, g * a)
    return _tensordot(g, y, a, b, ([np.ndim(a) - 1], [np.ndim(b) - 2]))


def _inner(g, y, a, b):
    if np.ndim(a) == 0 or np.ndim(b) == 0:
        return g * b, g * a
    return _tensordot(g, y, a, b, ([np.ndim(a) - 1], [np.ndim(b) - 1]))


def _vdot(g, y, a, b):
    return g * np.reshape(b, np.shape(a)), g * np.reshape(a, np.shape(b))


def _outer(g, y, a, b):
    return (np.reshape(g @ np.ravel(b), np.shape(a)), np.reshape(np.ravel(a) @ g, np.shape(b)))


def _einsum(g, y, subscripts, *operands, **kwargs):
    """For each operand the sum that has g in its place and the operand's own letters as result."""
    terms, result = _letters(subscripts, operands, y)
    found = [None]
    for place, (term, operand) in enumerate(zip(terms, operands, strict=True)):
        if len(set(term)) < len(term):
            raise NotImplementedError(f"a diagonal in the subscripts {subscripts!r}")
        others = [(t, o) for i, (t, o) in enumerate(zip(terms, operands, strict=True))
                  if i != place]
        extents = dict(zip(term, np.shape(operand), strict=True))
        known = set(result).union(*(t for t, _ in others))
        alone = [letter for letter in term if letter not in known]  # summed over by itself
        kept = "".join(letter for letter in term if letter not in alone)
        partial = np.einsum(",".join([result, *(t for t, _ in others)]) + "->" + kept, g,
                            *(o for _, o in others))
        for axis, letter in enumerate(term):
            if letter in alone:
                partial = np.expand_dims(partial, axis)
        found.append(np.broadcast_to(partial, [extents[letter] for letter in term]))
    return tuple(found)


def _letters(subscripts, operands, y):
    """The letters of each operand and of the result, with letters in the place of dots."""
    subscripts = subscripts.replace(" ", "")
    if "->" not in subscripts:
        letters = subscripts.replace(",", "")
        subscripts += "->" + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    terms, result = subscripts.split("->")
    spare = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in subscripts]

    def full(term, array):
        if "..." not in term:
            return term
        count = np.ndim(array) - len(term) + 3
        return term.replace("...", "".join(spare[:count][::-1]))

    return ([full(t, o) for t, o in zip(terms.split(","), operands, strict=True)],
            full(result, y))


# -- shapes --------------------------------------------------------------------------------------


def _reshaped(g, y, x, *args, **kwargs):
    return (np.reshape(g, np.shape(x)),)


def _transposed(g, y, x, axes=None):
    return (np.transpose(g) if axes is None else np.transpose(g, np.argsort(axes)),)


def _moved(g, y, x, source, destination):
    return (np.moveaxis(g, destination, source),)


def _joined(g, y, arrays, axis=0):
    if axis is None:
        ends = np.cumsum([np.size(a) for a in arrays])[:-1]
        return ([np.reshape(part, np.shape(a))
                 for part, a in zip(np.split(g, ends), arrays, strict=True)],)
    ends = np.cumsum([np.shape(a)[axis] for a in arrays])[:-1]
    return (np.split(g, ends, axis),)


def _stacked(g, y, arrays, axis=0):
    return ([np.take(g, i, axis) for i in range(len(arrays))],)


def _split(g, y, x, indices_or_sections, axis=0):
    return (np.concatenate(g, axis),)


def _item(g, y, x, index):
    if isinstance(x, (list, tuple)):
        return ([g if i == index else np.zeros_like(part) for i, part in enumerate(x)],)
    result = np.zeros(np.shape(x), np.asarray(g).dtype)
    from .functions import index_of

    np.add.at(result, index_of(index), g)
    return (result,)


def _taken(g, y, x, indices, axis=None):
    result = np.zeros(np.shape(x), np.asarray(g).dtype)
    indices = np.asarray(indices).astype(np.int64)
    if axis is None:
        np.add.at(result.reshape(-1), indices, g)
    else:
        axis %= np.ndim(x)
        front = np.moveaxis(result, axis, 0)
        places = list(range(axis, axis + indices.ndim))
        np.add.at(front, indices, np.moveaxis(g, places, list(range(indices.ndim))))
    return (result,)


def _taken_along(g, y, x, indices, axis=-1):
    result = np.zeros(np.shape(x), np.asarray(g).dtype)
    if axis is None:
        np.add.at(result.reshape(-1), indices, g)
        return (result,)
    places = list(np.indices(np.shape(indices), sparse=True))
    places[axis] = indices
    np.add.at(result, tuple(places), g)
    return (result,)


def _repeated(g, y, x, repeats, axis=None):
    places = np.repeat(np.arange(np.size(x) if axis is None else np.shape(x)[axis]), repeats)
    return _taken(g, y, x, places, axis)


def _tiled(g, y, x, reps):
    reps = (reps,) if np.ndim(reps) == 0 else tuple(reps)
    depth = max(len(reps), np.ndim(x))
    reps = (1,) * (depth - len(reps)) + reps
    shape = (1,) * (depth - np.ndim(x)) + np.shape(x)
    wide = np.reshape(g, [n for pair in zip(reps, shape, strict=True) for n in pair])
    return (np.reshape(np.sum(wide, axis=tuple(range(0, 2 * depth, 2))), np.shape(x)),)


def _rolled(g, y, x, shift, axis=None):
    back = -shift if np.ndim(shift) == 0 else tuple(-s for s in shift)
    return (np.roll(g, back, axis),)


def _padded(g, y, x, pad_width, mode="constant", **more):
    if mode != "constant":
        raise NotImplementedError(f"a padding of mode {mode!r}")
    width = np.broadcast_to(np.asarray(pad_width), (np.ndim(x), 2))
    return (g[tuple(slice(a, a + n) for (a, _), n in zip(width, np.shape(x), strict=True))],)


def _diagonal(g, y, x, k=0):
    if np.ndim(x) == 1:
        return (np.diagonal(g, k),)
    result = np.zeros(np.shape(x), np.asarray(g).dtype)
    rows, columns = _diagonal_places(np.shape(x), k)
    result[rows, columns] = g
    return (result,)


def _diagonal_places(shape, k):
    count = min(shape[0] + min(k, 0), shape[1] - max(k, 0))
    return np.arange(count) - min(k, 0), np.arange(count) + max(k, 0)


def _diagonal_of(g, y, x, offset=0, axis1=0, axis2=1):
    result = np.zeros(np.shape(x), np.asarray(g).dtype)
    ordered = np.moveaxis(result, (axis1, axis2), (0, 1))
    rows, columns = _diagonal_places(ordered.shape, offset)
    ordered[rows, columns] = np.moveaxis(g, -1, 0)
    return (result,)


def _trace(g, y, x, offset=0, axis1=0, axis2=1):
    count = len(_diagonal_places(np.moveaxis(x, (axis1, axis2), (0, 1)).shape, offset)[0])
    return _diagonal_of(np.repeat(np.expand_dims(g, -1), count, -1), y, x, offset, axis1, axis2)


def _sorted(g, y, x, axis=-1):
    if axis is None:
        result = np.zeros(np.size(x), np.asarray(g).dtype)
        result[np.argsort(x, axis=None)] = g
        return (result.reshape(np.shape(x)),)
    result = np.zeros(np.shape(x), np.asarray(g).dtype)
    np.put_along_axis(result, np.argsort(x, axis=axis), g, axis)
    return (result,)


def _inverse(g, y, x):
    back = _swapped(y)
    return (-np.matmul(np.matmul(back, g), back),)


def _determinant(g, y, x):
    return (np.asarray(g * y)[..., None, None] * _swapped(np.linalg.inv(x)),)


def _largest(g, y, x, k, sorted=True):
    result = np.zeros(np.shape(x), np.asarray(g[0]).dtype)
    np.put_along_axis(result, np.asarray(y[1], np.int64), g[0], -1)
    return (result,)


def _where(g, y, condition, a, b):
    return None, np.where(condition, g, 0), np.where(condition, 0, g)


def _clipped(g, y, x, low=None, high=None):
    inside = np.ones(np.shape(x), bool)
    if low is not None:
        inside &= np.asarray(x) >= low
    if high is not None:
        inside &= np.asarray(x) <= high
    return (g * inside,)


# -- functions of this package -------------------------------------------------------------------


def _activated(g, y, x, name, params, axis=None):
    from .. import ops, spec

    saved = {"y": y} if spec.ACTIVATIONS[name].reads == "y" else {"x": x}
    row = dict(zip((key for key, _ in spec.ACTIVATIONS[name].params), params, strict=False))
    more = {} if axis is None else {"axis": axis}
    return (ops.activation_grad(np.asarray(g, np.asarray(x).dtype, order="C"), name, **saved, **row,
                                **more),)


def _loss_of_samples(g, y, function, y_true, y_pred, options, varies=False):
    """By differences, of two calls for each column: samples don't depend on each other."""
    given = [np.array(x, np.float64) if np.asarray(x).dtype.kind == "f" else x
             for x in (y_true, y_pred)]

    def slopes(x):
        result = np.empty_like(x)
        for column in range(x.shape[-1]):
            kept = x[..., column].copy()
            h = step_size(kept)
            x[..., column] = kept + h
            above, up = function(*given, **options), x[..., column] - kept
            x[..., column] = kept - h
            below, down = function(*given, **options), kept - x[..., column]
            x[..., column] = kept
            result[..., column] = g * quotient(y, np.asarray(above), np.asarray(below), up, down)
        return result

    return None, slopes(given[0]) if varies else None, slopes(given[1])


RULES = {
    **{function: _elementwise(*slopes) for function, slopes in _ELEMENTWISE.items()},
    np.power: _power, np.float_power: _power,
    np.sum: _sum, np.mean: _mean, np.var: _variance, np.std: _deviation,
    np.max: _extreme, np.amax: _extreme, np.min: _extreme, np.amin: _extreme,
    np.prod: _product, np.cumsum: _running_sum, np.linalg.norm: _norm,
    np.matmul: _matmul, np.tensordot: _tensordot, np.dot: _dot, np.inner: _inner,
    np.vdot: _vdot, np.outer: _outer, np.einsum: _einsum,
    np.reshape: _reshaped, np.ravel: _reshaped, np.expand_dims: _reshaped, np.squeeze: _reshaped,
    np.transpose: _transposed, np.moveaxis: _moved,
    np.swapaxes: lambda g, y, x, axis1, axis2: (np.swapaxes(g, axis1, axis2),),
    np.broadcast_to: lambda g, y, x, shape: (g,),
    np.flip: lambda g, y, x, axis=None: (np.flip(g, axis),),
    np.concatenate: _joined, np.stack: _stacked, np.split: _split, item: _item,
    np.hstack: lambda g, y, arrays: _joined(g, y, arrays, min(np.ndim(arrays[0]) - 1, 1)),
    np.vstack: lambda g, y, arrays: ([
        np.reshape(part, np.shape(a)) for part, a in zip(
            np.split(g, np.cumsum([len(np.atleast_2d(a)) for a in arrays])[:-1]), arrays,
            strict=True)],),
    taken: _taken, np.take_along_axis: _taken_along, np.repeat: _repeated, np.tile: _tiled,
    np.roll: _rolled, np.pad: _padded, np.diag: _diagonal, np.diagonal: _diagonal_of,
    np.trace: _trace, np.sort: _sorted,
    np.tril: lambda g, y, x, k=0: (np.tril(g, k),),
    np.triu: lambda g, y, x, k=0: (np.triu(g, k),),
    np.linalg.inv: _inverse, np.linalg.det: _determinant,
    top_k: _largest, np.where: _where, np.clip: _clipped, np.copy: lambda g, y, x, *more: (g,),
    np.array: lambda g, y, x, *more: (g,),
    astype: lambda g, y, x, dtype: (g if np.dtype(dtype).kind == "f" else np.zeros(np.shape(x)),),
    erf: lambda g, y, x: (g * (2.0 / math.sqrt(math.pi)) * np.exp(-np.square(x)),),
    activated: _activated, loss_of_samples: _loss_of_samples,
}

CONSTANT = frozenset((
    np.sign, np.floor, np.ceil, np.round, np.trunc, np.rint, np.floor_divide, np.heaviside,
    np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal, np.logical_and,
    np.logical_or, np.logical_not, np.logical_xor, np.isnan, np.isinf, np.isfinite, np.isclose,
    np.argmax, np.argmin, np.argsort, np.argpartition, np.any, np.all, np.count_nonzero,
    np.zeros_like, np.ones_like, np.full_like, np.empty_like, np.digitize, np.searchsorted,
    np.signbit, np.isin, halted,
))
