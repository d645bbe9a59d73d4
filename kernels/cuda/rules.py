"""The rules of the elementwise optimizers: factors of a step, and what they do to one element.

``factors()[name](rate, t, p0, ..., p5, tiny)`` gives seven float64 from the learning rate, the
count from 1 and the row's hyperparameters without the weight decay; `tiny` stands in for a smaller
epsilon.  ``elements(R)[name](w, g, a, b, c, f1, ..., f7)`` gives the new parameter and slots.
"""

from __future__ import annotations

import numpy as np

from fusedmlp.spec import ELEMENTWISE_OPTIMIZERS

from .device import by_dtype, exp, expm1, log, power, scalar, sqrt
from .elementwise import shared

__all__ = ["elements", "factors"]

_F = np.float64
_NADAM_LIMIT = float.fromhex("0x1.e3bb0d665e2b9p-21")  # prod 1 - 0.96^i / 2 over all i
_made = {}


def factors():
    """The functions that compute the factors of a step, by the name of their row."""
    if not _made:
        _made.update(_factors())
    return _made


def _factors():
    zero, one, two, half = _F(0), _F(1), _F(2), _F(0.5)

    @scalar
    def corrected(beta, t):
        return -expm1(t * log(beta)) if beta > zero else one  # 1 - beta^t

    @scalar
    def sgd(rate, t, p0, p1, p2, p3, p4, p5, tiny):
        return rate, zero, zero, zero, zero, zero, zero

    @scalar
    def momentum(rate, t, momentum, nesterov, p2, p3, p4, p5, tiny):
        return rate, momentum, nesterov, zero, zero, zero, zero

    @scalar
    def adam(rate, t, beta_1, beta_2, epsilon, p3, p4, p5, tiny):
        return (rate * sqrt(corrected(beta_2, t)) / corrected(beta_1, t), one - beta_1,
                one - beta_2, max(epsilon, tiny), zero, zero, zero)

    amsgrad = adam

    @scalar
    def rmsprop(rate, t, rho, epsilon, p2, p3, p4, p5, tiny):
        return rate, rho, one - rho, max(epsilon, tiny), zero, zero, zero

    rmsprop_centered = adadelta = rmsprop

    @scalar
    def rmsprop_momentum(rate, t, rho, momentum, epsilon, p3, p4, p5, tiny):
        return rate, rho, one - rho, max(epsilon, tiny), momentum, zero, zero

    rmsprop_centered_momentum = rmsprop_momentum

    @scalar
    def adagrad(rate, t, epsilon, p1, p2, p3, p4, p5, tiny):
        return rate, max(epsilon, tiny), zero, zero, zero, zero, zero

    @scalar
    def adamax(rate, t, beta_1, beta_2, epsilon, p3, p4, p5, tiny):
        return (rate / corrected(beta_1, t), one - beta_1, beta_2, max(epsilon, tiny), zero, zero,
                zero)

    @scalar
    def nadam(rate, t, beta_1, beta_2, epsilon, p3, p4, p5, tiny):
        now = beta_1 * (one - half * power(_F(0.96), t))
        following = beta_1 * (one - half * power(_F(0.96), t + one))
        product = _F(_NADAM_LIMIT)
        if t < _F(1000):
            product, part, i = one, one, one
            while i <= t:
                part *= _F(0.96)
                product *= one - half * part
                i += one
        product = product * exp(t * log(beta_1)) if beta_1 > zero else zero
        return (rate * following / (one - product * following),
                rate * (one - now) / (one - product), one - beta_1, one - beta_2,
                corrected(beta_2, t), max(epsilon, tiny), zero)

    @scalar
    def ftrl(rate, t, learning_rate_power, l1, l2, l2_shrinkage, beta, p5, tiny):
        return (rate, -learning_rate_power, l1,
                two * l2 + (beta / rate if rate > zero else zero), two * l2_shrinkage, zero, zero)

    @scalar
    def lion(rate, t, beta_1, beta_2, p2, p3, p4, p5, tiny):
        return rate, beta_1, one - beta_1, beta_2, one - beta_2, zero, zero

    @scalar
    def radam(rate, t, beta_1, beta_2, epsilon, p3, p4, p5, tiny):
        rest, most = corrected(beta_2, t), two / (one - beta_2) - one
        rho = most - two * t * (one - rest) / rest
        known = rho > _F(5)
        if known:
            rate *= sqrt((rho - _F(4)) * (rho - two) * most
                         / ((most - _F(4)) * (most - two) * rho) * rest)
        return (rate / corrected(beta_1, t), one - beta_1, beta_2, one - beta_2,
                one if known else zero, max(epsilon, tiny), zero)

    @scalar
    def rprop(rate, t, eta_minus, eta_plus, min_step, max_step, p4, p5, tiny):
        return eta_minus, eta_plus, min_step, max_step, zero, zero, zero

    @scalar
    def schedule_free_adamw(rate, t, beta_1, beta_2, epsilon, warmup_steps, p4, p5, tiny):
        if t < warmup_steps:
            rate *= t / warmup_steps
        return (rate, corrected(beta_2, t), one - beta_2, max(epsilon, tiny), one - beta_1,
                one - one / t, beta_1 / t)

    found = locals()
    return {name: found[name] for name in ELEMENTWISE_OPTIMIZERS}


@by_dtype
def elements(R):
    """The functions that move one element, for R, by the name of their row."""
    at_least, at_most, _, _ = shared(R)
    zero, one, half = R(0), R(1), R(0.5)

    @scalar
    def sign(x):
        return one if x > zero else -one if x < zero else x

    @scalar
    def sgd(w, g, a, b, c, rate, f2, f3, f4, f5, f6, f7):
        return w - rate * g, a, b, c

    @scalar
    def momentum(w, g, v, b, c, rate, keep, nesterov, f4, f5, f6, f7):
        step = rate * g
        v = keep * v - step
        return w + (keep * v - step if nesterov != zero else v), v, b, c

    @scalar
    def adam(w, g, m, v, c, rate, rest_1, rest_2, epsilon, f5, f6, f7):
        m = m + rest_1 * (g - m)
        v = v + rest_2 * (g * g - v)
        return w - rate * m / (sqrt(v) + epsilon), m, v, c

    @scalar
    def amsgrad(w, g, m, v, largest, rate, rest_1, rest_2, epsilon, f5, f6, f7):
        m = m + rest_1 * (g - m)
        v = v + rest_2 * (g * g - v)
        largest = at_least(v, largest)
        return w - rate * m / (sqrt(largest) + epsilon), m, v, largest

    @scalar
    def rmsprop(w, g, v, b, c, rate, rho, rest, epsilon, f5, f6, f7):
        v = rho * v + rest * (g * g)
        return w - rate * g / sqrt(v + epsilon), v, b, c

    @scalar
    def rmsprop_momentum(w, g, v, trace, c, rate, rho, rest, epsilon, keep, f6, f7):
        v = rho * v + rest * (g * g)
        trace = keep * trace + rate * g / sqrt(v + epsilon)
        return w - trace, v, trace, c

    @scalar
    def rmsprop_centered(w, g, v, mean, c, rate, rho, rest, epsilon, f5, f6, f7):
        v = rho * v + rest * (g * g)
        mean = rho * mean + rest * g
        return w - rate * g / sqrt(at_least(v - mean * mean, zero) + epsilon), v, mean, c

    @scalar
    def rmsprop_centered_momentum(w, g, v, mean, trace, rate, rho, rest, epsilon, keep, f6, f7):
        v = rho * v + rest * (g * g)
        mean = rho * mean + rest * g
        trace = keep * trace + rate * g / sqrt(at_least(v - mean * mean, zero) + epsilon)
        return w - trace, v, mean, trace

    @scalar
    def adagrad(w, g, total, b, c, rate, epsilon, f3, f4, f5, f6, f7):
        total = total + g * g
        return w - rate * g / sqrt(total + epsilon), total, b, c

    @scalar
    def adadelta(w, g, grads, deltas, c, rate, rho, rest, epsilon, f5, f6, f7):
        grads = rho * grads + rest * (g * g)
        delta = sqrt(deltas + epsilon) * g / sqrt(grads + epsilon)
        deltas = rho * deltas + rest * (delta * delta)
        return w - rate * delta, grads, deltas, c

    @scalar
    def adamax(w, g, m, u, c, rate, rest_1, beta_2, epsilon, f5, f6, f7):
        m = m + rest_1 * (g - m)
        u = at_least(abs(g), beta_2 * u)
        return w - rate * m / (u + epsilon), m, u, c

    @scalar
    def nadam(w, g, m, v, c, by_m, by_g, rest_1, rest_2, corrected, epsilon, f7):
        m = m + rest_1 * (g - m)
        v = v + rest_2 * (g * g - v)
        return w - (by_m * m + by_g * g) / (sqrt(v / corrected) + epsilon), m, v, c

    @scalar
    def raised(x, exponent):
        return sqrt(x) if exponent == half else power(x, exponent)

    @scalar
    def ftrl(w, g, total, z, c, rate, exponent, l1, quadratic, shrinkage, f6, f7):
        if not rate > zero:
            return w, total, z, c
        before = raised(total, exponent)
        total = total + g * g
        after = raised(total, exponent)
        z = z + (g + shrinkage * w - (after - before) / rate * w)
        excess = at_least(at_most(z, l1), -l1) - z
        w = zero if excess == zero else excess / (after / rate + quadratic)
        return w, total, z, c

    @scalar
    def lion(w, g, m, b, c, rate, beta_1, rest_1, beta_2, rest_2, f6, f7):
        direction = sign(beta_1 * m + rest_1 * g)
        return w - rate * direction, beta_2 * m + rest_2 * g, b, c

    @scalar
    def radam(w, g, m, v, c, rate, rest_1, beta_2, rest_2, known, epsilon, f7):
        m = m + rest_1 * (g - m)
        v = beta_2 * v + rest_2 * (g * g)
        step = rate * m
        return w - (step / (sqrt(v) + epsilon) if known != zero else step), m, v, c

    @scalar
    def rprop(w, g, previous, step, c, eta_minus, eta_plus, least, most, f5, f6, f7):
        agree = sign(g) * sign(previous)
        step = step * (eta_plus if agree > zero else eta_minus if agree < zero else one)
        step = at_least(at_most(step, most), least)
        g = zero if agree < zero else g
        return w - step * sign(g), g, step, c

    @scalar
    def schedule_free_adamw(w, g, z, v, c, rate, corrected, rest_2, epsilon, rest_1, keep, share):
        average = keep * (w - rest_1 * z)
        v = v + rest_2 * (g * g - v)
        z = z - rate * g / (sqrt(v / corrected) + epsilon)
        return rest_1 * z + (average + share * z), z, v, c

    found = locals()
    return {name: found[name] for name in ELEMENTWISE_OPTIMIZERS}
