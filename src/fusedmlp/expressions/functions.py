"""Functions that expressions are made of beside those of NumPy, each of arrays alone."""

from __future__ import annotations

import numpy as np

__all__ = ["activated", "astype", "halted", "index_of", "item", "loss_of_samples",
           "taken"]


def item(x, index):
    """``x[index]``, with the index as `described` says it; a part of a list of arrays."""
    return x[index] if isinstance(x, (list, tuple)) else x[index_of(index)]


def described(index):
    """An index in lists and numbers, which a config can hold.

    >>> described((slice(None), 0, None, Ellipsis))
    [[None, None, None], 0, 'new', '...']
    """
    parts = index if isinstance(index, tuple) else (index,)
    return [_described(part) for part in parts]


def _described(part):
    if isinstance(part, slice):
        return [None if end is None else int(end) for end in (part.start, part.stop, part.step)]
    if part is None:
        return "new"
    if part is Ellipsis:
        return "..."
    if isinstance(part, (int, np.integer)) and not isinstance(part, bool):
        return int(part)
    raise TypeError(f"an index of type {type(part).__name__}")


def index_of(description):
    """The index that `described` describes.

    >>> index_of([[None, 2, None], 0])
    (slice(None, 2, None), 0)
    """
    if not isinstance(description, (list, tuple)):
        return description
    marks = {"new": None, "...": Ellipsis}
    return tuple(slice(*part) if isinstance(part, (list, tuple))
                 else marks[part] if isinstance(part, str) else part for part in description)


def taken(x, indices, axis=None):
    """`numpy.take` for indices that may be whole numbers of a floating-point type."""
    return np.take(x, np.asarray(indices).astype(np.int64), axis=axis)


def astype(x, dtype):
    """`x` with another dtype."""
    return np.asarray(x).astype(dtype)


def halted(x):
    """`x` itself, which lets no gradient through."""
    return np.asarray(x)


def activated(x, name, params, axis=None):
    """An activation of the table, its parameters in the row's order."""
    from .. import ops, spec

    row = dict(zip((key for key, _ in spec.ACTIVATIONS[name].params), params, strict=False))
    return ops.activation(x, name, **row, **({} if axis is None else {"axis": axis}))


def loss_of_samples(function, y_true, y_pred, options, varies=False):
    """What a loss of this package gives for each sample, in float64.

    `varies` says that the targets depend on something that is trained, too.
    """
    return np.asarray(function(*map(_exact, (y_true, y_pred)), **options))


def _exact(x):
    x = np.asarray(x)
    return x.astype(np.float64) if x.dtype.kind == "f" else x
