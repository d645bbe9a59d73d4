"""The formulas of losses, in float64 as the oracle has them: values and derivatives.

``elementwise()[name](p, t, params...)`` gives the loss of one prediction and one target and its
derivative; ``distribution()[name](m, s, t, params...)`` likewise with two derivatives;
``overlap()[name](I, T, P, params...)`` the value and its derivatives by I and P.  ``rows()[name]``
is a `Row`, the steps in which a loss of a row is computed.

Parameters are `PARAMS` numbers, in the row's order and filled up with zeros; an epsilon is followed
by the bound 1 - epsilon, both rounded to the dtype of the predictions, which is what Keras clips
to.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from fusedmlp.spec import LOSSES, losses_of

from .device import exp, expm1, larger, log, log1p, power, scalar, sinh, sqrt, tanh
from .elementwise import shared

__all__ = ["PARAMS", "Row", "distribution", "elementwise", "overlap", "parameters", "rows"]

PARAMS = 5
"""Numbers that a formula takes besides predictions and targets."""

_F = np.float64
_ZERO, _HALF, _ONE, _TWO = _F(0), _F(0.5), _F(1), _F(2)
_CLIPPING = {"mean_squared_logarithmic_error", "poisson", "kl_divergence", "binary_crossentropy",
             "binary_focal_crossentropy", "categorical_crossentropy",
             "categorical_focal_crossentropy"}
_at_least, _at_most, _sigmoid, _softplus = shared(np.float64)


def parameters(name, params, dtype):
    """The numbers that the formula of the row `name` takes."""
    found = []
    for (key, _), value in zip(LOSSES[name].params, params, strict=True):
        if key == "epsilon" and name in _CLIPPING:
            found += [float(dtype.type(value)), float(dtype.type(1.0 - value))]
        else:
            found.append(float(value))
    return found + [0.0] * (PARAMS - len(found))


@scalar
def _sign(x):
    return _ONE if x > _ZERO else -_ONE if x < _ZERO else x


@scalar
def _clip(p, low, high):
    return _at_least(_at_most(p, high), low)


@scalar
def _share(p, t, balanced, alpha):
    return t * alpha + (_ONE - t) * (_ONE - alpha) if balanced != _ZERO else _ONE


def _collect(kind, found):
    return {name: found[name] for name in losses_of(kind)}


# -- one element ---------------------------------------------------------------------------------


@cache
def elementwise():
    """Functions of one prediction and one target: value and derivative."""
    @scalar
    def mean_squared_error(p, t, a, b, c, d, e):
        return (p - t) * (p - t), _TWO * (p - t)

    @scalar
    def mean_absolute_error(p, t, a, b, c, d, e):
        return abs(p - t), _sign(p - t)

    @scalar
    def mean_absolute_percentage_error(p, t, epsilon, b, c, d, e):
        size = _at_least(abs(t), epsilon)
        return _F(100) * abs(p - t) / size, _F(100) * _sign(p - t) / size

    @scalar
    def mean_squared_logarithmic_error(p, t, low, b, c, d, e):
        apart = log1p(_at_least(p, low)) - log1p(_at_least(t, low))
        return apart * apart, _ZERO if p <= low else _TWO * apart / (_ONE + p)

    @scalar
    def log_cosh(p, t, a, b, c, d, e):
        # |x| + log(1 + exp(-2 |x|)) - log 2, and log(1 + 2 sinh(x/2)^2) where that cancels
        x = p - t
        size = abs(x)
        if size < _ONE:
            s = sinh(_HALF * size)
            return log1p(_TWO * s * s), tanh(x)
        return size + log1p(exp(-_TWO * size)) - _F(0.69314718055994530942), tanh(x)

    @scalar
    def huber(p, t, delta, b, c, d, e):
        x = p - t
        size = abs(x)
        value = _HALF * x * x if size <= delta else delta * size - _HALF * delta * delta
        return value, _clip(x, -delta, delta)

    @scalar
    def quantile(p, t, quantile, b, c, d, e):
        x = t - p
        slope = -quantile if x > _ZERO else _ONE - quantile if x < _ZERO else _ZERO * x
        return larger(quantile * x, (quantile - _ONE) * x), slope

    @scalar
    def poisson(p, t, epsilon, b, c, d, e):
        q = p + epsilon
        return p - t * log(q), _ONE - t / q

    @scalar
    def kl_divergence(p, t, low, b, c, d, e):
        t, q = _clip(t, low, _ONE), _clip(p, low, _ONE)
        return t * log(t / q), -t / q if p == q else _ZERO * q

    @scalar
    def hinge(p, t, a, b, c, d, e):
        margin = _ONE - t * p
        return _at_least(margin, _ZERO), -t if margin > _ZERO else _ZERO * margin

    @scalar
    def squared_hinge(p, t, a, b, c, d, e):
        margin = _at_least(_ONE - t * p, _ZERO)
        return margin * margin, -_TWO * t * margin

    @scalar
    def perceptron(p, t, a, b, c, d, e):
        # an undecided prediction counts as wrong, or training from zeros would never start
        product = t * p
        return _at_least(-product, _ZERO), -t if product <= _ZERO else _ZERO * product

    @scalar
    def binary_crossentropy(p, t, low, high, c, d, e):
        q = _clip(p, low, high)
        value = -t * log(q) - (_ONE - t) * log1p(-q)
        return value, (q - t) / (q * (_ONE - q)) if p == q else _ZERO * q

    @scalar
    def sigmoid_cross_entropy(z, t, a, b, c, d, e):
        return _softplus(z) - z * t, _sigmoid(z) - t

    @scalar
    def log_poisson(z, t, a, b, c, d, e):
        mean = exp(z)
        return mean - (_ZERO if t == _ZERO else t * z), mean - t

    @scalar
    def binary_focal_crossentropy(p, t, balanced, alpha, gamma, low, high):
        value, slope = binary_crossentropy(p, t, low, high, _ZERO, _ZERO, _ZERO)
        f = t * (_ONE - p) + (_ONE - t) * p
        w = _share(p, t, balanced, alpha)
        bend = _ZERO
        if gamma != _ZERO:
            bend = gamma * power(f, gamma - _ONE) * (_ONE - _TWO * t)
        raised = power(f, gamma)
        return w * raised * value, w * (raised * slope + bend * value)

    @scalar
    def sigmoid_focal_cross_entropy(z, t, balanced, alpha, gamma, d, e):
        value, slope = _softplus(z) - z * t, _sigmoid(z) - t
        p, rest = _sigmoid(z), _sigmoid(-z)
        f = t * rest + (_ONE - t) * p
        w = _share(p, t, balanced, alpha)
        raised = power(f, gamma)
        ratio = _ZERO if f == _ZERO else p * rest / f  # f^gamma is 0 with it
        bend = _ZERO if value == _ZERO else gamma * ratio * (_ONE - _TWO * t) * value
        focused = _ZERO if f == _ZERO and gamma > _ZERO else raised * value
        return w * focused, w * raised * (slope + bend)

    return _collect("elementwise", locals())


@cache
def distribution():
    """Functions of location, logarithm of variance and target: value and two derivatives."""
    @scalar
    def gaussian_negative_log_likelihood(m, s, t, full, epsilon, c, d, e):
        s = _at_least(s, log(epsilon))
        inverse = exp(-s)
        square = (t - m) * (t - m) * inverse
        constant = _F(1.8378770664093454836) if full != _ZERO else _ZERO
        return _HALF * (square + s + constant), (m - t) * inverse, _HALF * (_ONE - square)

    return _collect("distribution", locals())


@cache
def overlap():
    """Functions of I = sum t p, T = sum t, P = sum p: value and derivatives by I and P."""
    @scalar
    def dice(i, t, p, epsilon, b, c, d, e):
        whole = t + p + epsilon
        return _ONE - _TWO * i / whole, -_TWO / whole, _TWO * i / (whole * whole)

    @scalar
    def tversky(i, t, p, alpha, beta, epsilon, d, e):
        whole = i + alpha * (t - i) + beta * (p - i) + epsilon
        square = whole * whole
        return (_ONE - i / whole, -(whole - i * (_ONE - alpha - beta)) / square,
                beta * i / square)

    return _collect("overlap", locals())


# -- one row -------------------------------------------------------------------------------------


@scalar
def _no_top(p, t):
    return _ZERO


@scalar
def _nothing(p, t, top, s0, s1, s2, a, b, c, d, e):
    return _ZERO, _ZERO


class Row(NamedTuple):
    """How the loss of one row is computed.

    Attributes
    ----------
    first : function
        ``first(p, t, top, a, ...)`` gives three terms, added up to s0, s1, s2.
    value : function
        ``value(top, s0, s1, s2, u0, u1, a, ...)`` is the loss.
    slope : function
        ``slope(p, t, top, s0, s1, s2, u0, u1, a, ...)`` is its derivative by p.
    second : function
        ``second(p, t, top, s0, s1, s2, a, ...)`` gives two terms that need these sums, added up to
        u0, u1.
    top : function
        ``top(p, t)``, whose largest value the others get.
    has_top, has_second : bool
        Whether there is something to do for these.
    """

    first: object
    value: object
    slope: object
    second: object = _nothing
    top: object = _no_top

    @property
    def has_top(self):
        return self.top is not _no_top

    @property
    def has_second(self):
        return self.second is not _nothing


@cache
def rows():
    """The `Row` of every loss of kind "row" but softmax_cross_entropy."""
    @scalar
    def prediction(p, t):
        return p

    @scalar
    def add_p(p, t, top, a, b, c, d, e):
        return p, _ZERO, _ZERO

    @scalar
    def add_exp(z, t, top, a, b, c, d, e):
        y = exp(z - top)
        return y, y * t, _ZERO

    # s0 = sum p, h = t / q where q = clip(p / s0) is unclipped, else 0; u1 = sum h p
    @scalar
    def crossentropy_h(p, t, s, low, high):
        q = _clip(p / s, low, high)
        return t / q if q == p / s else _ZERO * q

    @scalar
    def crossentropy_second(p, t, top, s, s1, s2, low, high, c, d, e):
        q = _clip(p / s, low, high)
        return -t * log(q), crossentropy_h(p, t, s, low, high) * p

    @scalar
    def first_sum(top, s0, s1, s2, u0, u1, a, b, c, d, e):
        return u0

    @scalar
    def crossentropy_slope(p, t, top, s, s1, s2, u0, u1, low, high, c, d, e):
        return u1 / (s * s) - crossentropy_h(p, t, s, low, high) / s

    categorical_crossentropy = Row(add_p, first_sum, crossentropy_slope, crossentropy_second)

    @scalar
    def focal_h(p, t, s, alpha, gamma, low, high):
        q = _clip(p / s, low, high)
        rest = _ONE - q
        h = alpha * t * (gamma * power(rest, gamma - _ONE) * log(q) - power(rest, gamma) / q)
        return h if q == p / s else _ZERO * q

    @scalar
    def focal_second(p, t, top, s, s1, s2, alpha, gamma, low, high, e):
        q = _clip(p / s, low, high)
        value = -alpha * (t * power(_ONE - q, gamma) * log(q))
        return value, focal_h(p, t, s, alpha, gamma, low, high) * p / s

    @scalar
    def focal_slope(p, t, top, s, s1, s2, u0, u1, alpha, gamma, low, high, e):
        return (focal_h(p, t, s, alpha, gamma, low, high) - u1) / s

    categorical_focal_crossentropy = Row(add_p, first_sum, focal_slope, focal_second)

    @scalar
    def softmax_focal_h(log_y, y, t, alpha, gamma):
        rest = -expm1(log_y)
        bend = _ZERO if rest == _ZERO else gamma * (y if y == _ZERO else y * log_y) / rest
        return alpha * t * power(rest, gamma) * (bend - _ONE)

    @scalar
    def softmax_focal_second(z, t, top, s, s1, s2, alpha, gamma, c, d, e):
        log_y = z - top - log(s)
        value = _ZERO
        if t != _ZERO:
            value = -alpha * t * power(-expm1(log_y), gamma) * log_y
        return value, softmax_focal_h(log_y, exp(log_y), t, alpha, gamma)

    @scalar
    def softmax_focal_slope(z, t, top, s, s1, s2, u0, u1, alpha, gamma, c, d, e):
        log_y = z - top - log(s)
        y = exp(log_y)
        return softmax_focal_h(log_y, y, t, alpha, gamma) - y * u1

    softmax_focal_cross_entropy = Row(add_exp, first_sum, softmax_focal_slope,
                                      softmax_focal_second, prediction)

    @scalar
    def add_tp(p, t, top, a, b, c, d, e):
        return p * t, _ZERO, _ZERO

    @scalar
    def generalized_value(top, r, s1, s2, u0, u1, q, b, c, d, e):
        return (_ONE - power(r, q)) / q

    @scalar
    def generalized_slope(p, t, top, r, s1, s2, u0, u1, q, b, c, d, e):
        return _ZERO if t == _ZERO else -power(r, q - _ONE) * t

    categorical_generalized_cross_entropy = Row(add_tp, generalized_value, generalized_slope)

    @scalar
    def softmax_generalized_value(top, s, st, s2, u0, u1, q, b, c, d, e):
        return (_ONE - power(st / s, q)) / q

    @scalar
    def softmax_generalized_slope(z, t, top, s, st, s2, u0, u1, q, b, c, d, e):
        y, r = exp(z - top) / s, st / s
        share = _ZERO if y * t == _ZERO else y * t / r
        return power(r, q) * (y - share)

    softmax_generalized_cross_entropy = Row(
        add_exp, softmax_generalized_value, softmax_generalized_slope, top=prediction)

    @scalar
    def add_products(p, t, top, a, b, c, d, e):
        return p * p, t * t, p * t

    @scalar
    def cosine(pp, tt, pt, epsilon):
        return pt / (_at_least(sqrt(pp), epsilon) * _at_least(sqrt(tt), epsilon))

    @scalar
    def cosine_value(top, pp, tt, pt, u0, u1, epsilon, b, c, d, e):
        return -cosine(pp, tt, pt, epsilon)

    @scalar
    def cosine_slope(p, t, top, pp, tt, pt, u0, u1, epsilon, b, c, d, e):
        by_p, by_t = _at_least(sqrt(pp), epsilon), _at_least(sqrt(tt), epsilon)
        turn = p / by_p * cosine(pp, tt, pt, epsilon) if sqrt(pp) > epsilon else _ZERO * p
        return (turn - t / by_t) / by_p

    cosine_similarity = Row(add_products, cosine_value, cosine_slope)

    @scalar
    def other(p, t):
        return (_ONE - t) * p

    @scalar
    def add_tp_and_ties(p, t, top, a, b, c, d, e):
        return t * p, _ONE if (_ONE - t) * p == top else _ZERO, _ZERO

    @scalar
    def hinge_value(top, tp, ties, s2, u0, u1, a, b, c, d, e):
        return _at_least(top - tp + _ONE, _ZERO)

    @scalar
    def hinge_slope(p, t, top, tp, ties, s2, u0, u1, a, b, c, d, e):
        margin = top - tp + _ONE
        if not margin > _ZERO:
            return _ZERO * margin
        return ((_ONE - t) / ties if (_ONE - t) * p == top else _ZERO) - t

    categorical_hinge = Row(add_tp_and_ties, hinge_value, hinge_slope, top=other)

    return _collect("row", locals())
