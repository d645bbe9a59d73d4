"""Activations and their derivatives: the loop over the elementwise pairs, and the other kinds."""

import numpy as np

from fusedmlp.spec import ACTIVATIONS

from . import elementwise

__all__ = ["activation", "activation_grad", "prelu", "prelu_grad"]


def activation(name, x, params, out):
    """out = f(x, *params) for the row `name`."""
    row = ACTIVATIONS[name]
    with np.errstate(all="ignore"):
        if row.kind == "elementwise":
            out[...] = getattr(elementwise, name)(_working(row, x), *_rounded(params, x.dtype))
        elif x.size:
            out[...] = _FORWARD[name](x.astype(np.float64), *params)


def activation_grad(name, dy, saved, params, dx):
    """dx = dy f'(saved, *params), where `saved` is x or y as the row's `reads` says.

    dx may be dy where shapes agree.
    """
    row = ACTIVATIONS[name]
    with np.errstate(all="ignore"):
        if row.kind == "elementwise":
            derivative = getattr(elementwise, name + "_grad")
            slope = derivative(_working(row, saved), *_rounded(params, saved.dtype))
            dx[...] = dy * slope.astype(dy.dtype, copy=False)
        elif saved.size:
            dx[...] = _BACKWARD[name](dy, saved.astype(np.float64), *params)


def prelu(x, alpha, out):
    """out = x if x >= 0 else alpha x; x (n, m), alpha (m,)."""
    with np.errstate(all="ignore"):
        out[...] = np.where(x >= 0.0, x, alpha * x)


def prelu_grad(dy, x, alpha, dx, dalpha):
    """dx = dy (1 if x > 0 else alpha); dalpha = sum over the rows of dy min(x, 0)."""
    with np.errstate(all="ignore"):
        np.sum(np.where(x > 0.0, 0.0, dy * x), axis=0, out=dalpha)
        dx[...] = dy * np.where(x > 0.0, 1.0, alpha).astype(x.dtype, copy=False)


def _working(row, x):
    """x as float64, unless the function only picks among numbers and nothing is rounded."""
    return x if row.ulp == (0, 0) else x.astype(np.float64, copy=False)


def _rounded(params, dtype):
    """Parameters as numbers of the arrays' dtype, so that x == threshold can hold in float32."""
    return [float(dtype.type(value)) for value in params]


# -- rows ----------------------------------------------------------------------------------------


def _softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _softmax_grad(dy, y):
    return y * (dy - (dy * y).sum(axis=1, keepdims=True))


def _log_softmax(x):
    x = x - x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def _log_softmax_grad(dy, y):
    return dy - np.exp(y) * dy.sum(axis=1, keepdims=True, dtype=np.float64)


def _sparsemax(x):
    # tau = (sum of the k largest - 1) / k for the largest k whose k-th largest still exceeds it
    x = x - x.max(axis=1, keepdims=True)
    descending = -np.sort(-x, axis=1)
    sums = descending.cumsum(axis=1)
    ranks = np.arange(1, x.shape[1] + 1)
    support = (1.0 + ranks * descending > sums).sum(axis=1, keepdims=True)
    last = np.maximum(support - 1, 0)  # a row with NaN has no support
    tau = (np.take_along_axis(sums, last, axis=1) - 1.0) / (last + 1)
    return np.maximum(x - tau, 0.0)


def _sparsemax_grad(dy, y):
    support = y > 0.0
    count = support.sum(axis=1, keepdims=True)
    mean = np.where(support, dy, 0.0).sum(axis=1, keepdims=True, dtype=np.float64) / count
    return np.where(support, dy - mean, 0.0)


# -- halves and pieces ---------------------------------------------------------------------------


def _glu(x):
    a, b = np.split(x, 2, axis=1)
    return a * elementwise.sigmoid(b)


def _glu_grad(dy, x):
    a, b = np.split(x, 2, axis=1)
    s = elementwise.sigmoid(b)
    return np.concatenate([dy * s, dy * a * s * elementwise.sigmoid(-b)], axis=1)


def _maxout(x, pieces):
    n, columns = x.shape
    return x.reshape(n, columns // int(pieces), int(pieces)).max(axis=2)


def _maxout_grad(dy, x, pieces):
    n, columns = x.shape
    groups = x.reshape(n, columns // int(pieces), int(pieces))
    first = groups.argmax(axis=2)[..., None]
    return np.where(np.arange(int(pieces)) == first, dy[..., None], 0.0).reshape(n, columns)


_FORWARD = {
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "sparsemax": _sparsemax,
    "glu": _glu,
    "maxout": _maxout,
}
_BACKWARD = {
    "softmax": _softmax_grad,
    "log_softmax": _log_softmax_grad,
    "sparsemax": _sparsemax_grad,
    "glu": _glu_grad,
    "maxout": _maxout_grad,
}
