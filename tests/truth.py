"""The elementwise activations in arbitrary precision: what every backend is measured against.

One function and one derivative per row of the table, written from the row's formula with mpmath and
sharing nothing with any backend.  Formulas that cancel are given enough digits or an algebraically
equal form; each says which.
"""

from __future__ import annotations

import numpy as np
from mpmath import mp, mpf

from fusedmlp import spec

__all__ = ["DERIVATIVES", "VALUES", "derivative", "limit", "ulps", "units", "value"]

_DIGITS = 60

mp.dps = _DIGITS
_SELU_ALPHA = mpf("1.6732632423543772848170429916717")
_SELU_SCALE = mpf("1.0507009873554804934193349852946")
_GELU = mp.sqrt(2 / mp.pi)


def _sigmoid(x):
    return 1 / (1 + mp.exp(-x))


def _clip(x, low, high):
    return min(max(x, mpf(low)), mpf(high))


def _inside(x, low, high, value=1):
    return mpf(value) if low < x < high else mpf(0)


def _phi(x):
    # mpmath's erfc gives up on huge arguments, where this is 0 or 1 in any arithmetic
    return mp.ncdf(_clip(x, -1000, 1000))


def _gelu_argument(x):
    return _GELU * (x + mpf("0.044715") * x**3)


def _gelu_tanh_derivative(x):
    # (1 + t) / 2 = s = sigmoid(2 u), so (1 - t^2) / 2 = 2 s (1 - s), and 1 - s = sigmoid(-2 u)
    u = _gelu_argument(x)
    s, rest = _sigmoid(2 * u), _sigmoid(-2 * u)
    return s + x * 2 * s * rest * _GELU * (1 + mpf("0.134145") * x * x)


def _tanh_softplus(x):
    # tanh(log(1 + e)) = ((1 + e)^2 - 1) / ((1 + e)^2 + 1)
    e = mp.exp(x)
    n = e * (e + 2)
    return n / (n + 2), 2 / (n + 2)


def _mish_derivative(x):
    t, rest = _tanh_softplus(x)
    return t + x * rest * (1 + t) * _sigmoid(x)


def _squareplus(x, b):
    root = mp.sqrt(x * x + b)
    return b / (2 * (root - x)) if x < 0 else (x + root) / 2  # the conjugate


def _squareplus_derivative(x, b):
    root = mp.sqrt(x * x + b)
    return b / (2 * root * (root - x)) if x < 0 else (1 + x / root) / 2  # the conjugate


def _tanh_shrink(x):
    if x == 0:
        return mpf(0)
    with mp.workdps(_DIGITS + 2 * max(0, -int(mp.log10(abs(x))))):
        return x - mp.tanh(x)


VALUES = {
    "linear": lambda x: x,
    "binary_step": lambda x: mpf(1 if x >= 0 else 0),
    "unit_step": lambda x: mpf("0.5") if x == 0 else mpf(1 if x > 0 else 0),
    "sign": lambda x: mp.sign(x),
    "piecewise_linear": lambda x: _clip(x + mpf("0.5"), 0, 1),
    "sigmoid": _sigmoid,
    "log_sigmoid": lambda x: -mp.log1p(mp.exp(-x)),
    "hard_sigmoid": lambda x: _clip(x / 6 + mpf("0.5"), 0, 1),
    "sparse_sigmoid": lambda x: _clip((x + 1) / 2, 0, 1),
    "tanh": mp.tanh,
    "hard_tanh": lambda x: _clip(x, -1, 1),
    "arctan": mp.atan,
    "relu": lambda x: max(x, mpf(0)),
    "clipped_relu": lambda x, slope, high, threshold: (
        high if x >= high else x if x >= threshold else slope * (x - threshold)
    ),
    "relu6": lambda x: _clip(x, 0, 6),
    "leaky_relu": lambda x, slope: x if x >= 0 else slope * x,
    "elu": lambda x, alpha: x if x > 0 else alpha * mp.expm1(x),
    "selu": lambda x: _SELU_SCALE * (x if x > 0 else _SELU_ALPHA * mp.expm1(x)),
    "celu": lambda x, alpha: x if x > 0 else alpha * mp.expm1(x / alpha),
    "gelu": lambda x: x * _phi(x),
    "gelu_tanh": lambda x: x * _sigmoid(2 * _gelu_argument(x)),
    "silu": lambda x: x * _sigmoid(x),
    "hard_silu": lambda x: x * _clip(x / 6 + mpf("0.5"), 0, 1),
    "mish": lambda x: x * _tanh_softplus(x)[0],
    "softplus": lambda x: mp.log1p(mp.exp(x)),
    "sparse_plus": lambda x: mpf(0) if x <= -1 else x if x >= 1 else (x + 1) ** 2 / 4,
    "softsign": lambda x: x / (1 + abs(x)),
    "squareplus": _squareplus,
    "exponential": mp.exp,
    "threshold": lambda x, threshold, default: x if x > threshold else default,
    "hard_shrink": lambda x, threshold: x if abs(x) > threshold else mpf(0),
    "soft_shrink": lambda x, threshold: mp.sign(x) * max(abs(x) - threshold, mpf(0)),
    "tanh_shrink": _tanh_shrink,
}

DERIVATIVES = {  # of x or of y, as the row's `reads` says
    "linear": lambda y: mpf(1),
    "binary_step": lambda x: mpf(0),
    "unit_step": lambda x: mpf(0),
    "sign": lambda x: mpf(0),
    "piecewise_linear": lambda x: _inside(x, -0.5, 0.5),
    "sigmoid": lambda y: y * (1 - y),
    "log_sigmoid": lambda y: -mp.expm1(y),
    "hard_sigmoid": lambda x: _inside(x, -3, 3, mpf(1) / 6),
    "sparse_sigmoid": lambda x: _inside(x, -1, 1, 0.5),
    "tanh": lambda y: 1 - y * y,
    "hard_tanh": lambda x: _inside(x, -1, 1),
    "arctan": lambda x: 1 / (1 + x * x),
    "relu": lambda y: mpf(1 if y > 0 else 0),
    "clipped_relu": lambda x, slope, high, threshold: (
        mpf(0) if x >= high else mpf(1) if x > threshold else slope
    ),
    "relu6": lambda y: _inside(y, 0, 6),
    "leaky_relu": lambda x, slope: mpf(1) if x > 0 else slope,
    "elu": lambda x, alpha: mpf(1) if x > 0 else alpha * mp.exp(x),
    "selu": lambda y: _SELU_SCALE if y > 0 else y + _SELU_SCALE * _SELU_ALPHA,
    "celu": lambda x, alpha: mpf(1) if x > 0 else mp.exp(x / alpha),
    "gelu": lambda x: _phi(x) + x * mp.npdf(x),
    "gelu_tanh": _gelu_tanh_derivative,
    "silu": lambda x: _sigmoid(x) * (1 + x * _sigmoid(-x)),
    "hard_silu": lambda x: mpf(0) if x <= -3 else mpf(1) if x >= 3 else x / 3 + mpf("0.5"),
    "mish": _mish_derivative,
    "softplus": lambda y: -mp.expm1(-y),
    "sparse_plus": lambda x: _clip((x + 1) / 2, 0, 1),
    "softsign": lambda y: (1 - abs(y)) ** 2,
    "squareplus": _squareplus_derivative,
    "exponential": lambda y: y,
    "threshold": lambda x, threshold, default: mpf(1 if x > threshold else 0),
    "hard_shrink": lambda x, threshold: mpf(1 if abs(x) > threshold else 0),
    "soft_shrink": lambda x, threshold: mpf(1 if abs(x) > threshold else 0),
    "tanh_shrink": lambda x: mp.tanh(x) ** 2,
}

assert set(VALUES) == set(DERIVATIVES) == set(spec.ELEMENTWISE), "a row of the table has no truth"


def _exact(params, dtype):
    """Parameters as the kernels see them: rounded to the arrays' dtype."""
    return [mpf(float(np.dtype(dtype).type(p))) for p in params]


def value(name, x, params=()):
    """f at every element of the 1-D array x, as a list of mpf."""
    exact = _exact(params, x.dtype)
    with mp.workdps(_DIGITS):
        return [VALUES[name](mpf(float(v)), *exact) for v in x]


def derivative(name, saved, params=()):
    """f' at every element of the 1-D array of inputs or outputs, as a list of mpf."""
    exact = _exact(params, saved.dtype)
    with mp.workdps(_DIGITS):
        return [DERIVATIVES[name](mpf(float(v)), *exact) for v in saved]


def limit(function, sign, params=()):
    """What `function` tends to at plus or minus infinity, as a float."""
    result = function(mp.sign(sign) * mpf(10) ** 30, *map(mpf, params))
    return float(result) if abs(result) < 1e6 else float(mp.sign(result)) * np.inf


def units(truth, dtype, floor=0.0):
    """The unit in the last place of each value, or of `floor` where that is more, as float64."""
    largest = np.finfo(dtype).max
    below = mpf(float(np.nextafter(largest, largest.dtype.type(0.0))))  # the same unit as `largest`
    sizes = [float(min(max(abs(t), floor), below)) for t in truth]
    return np.spacing(np.array(sizes, dtype)).astype(np.float64)


def ulps(got, truth, floor=0.0):
    """Errors of an array in units in the last place of the truth (or of `floor`, if that is more).

    Infinite where one of them is finite in the array's dtype and the other is not.

    Parameters
    ----------
    got : ndarray
        float32 or float64, 1-D.
    truth : sequence of mpf
    """
    largest = mpf(float(np.finfo(got.dtype).max))
    errors = np.empty(len(truth))
    with mp.workdps(_DIGITS):
        for i, (g, t, unit) in enumerate(zip(got, truth, units(truth, got.dtype, floor),
                                             strict=True)):
            if np.isfinite(g):
                errors[i] = float(abs(mpf(float(g)) - t) / mpf(unit))
            else:
                overflow = abs(t) >= largest and (g > 0) == (t > 0)
                errors[i] = 0.0 if overflow else np.inf
    return errors
