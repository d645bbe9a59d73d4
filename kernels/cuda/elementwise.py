"""The elementwise activations: one pair of functions per row of the table.

``name(x, a, b, c)`` is the function and ``name_grad(x or y, a, b, c)`` its derivative in terms of
what the row's `reads` says; a, b and c are the row's parameters as far as it has them.  A new
elementwise activation is one row in `fusedmlp.spec` and one pair here.

NaN is passed on: comparisons are written so that it takes the branch that keeps it.  At infinity
each function takes its limit; ``inf * 0`` is kept away by clamping one of the factors.
"""

from __future__ import annotations

import numpy as np

from fusedmlp.spec import ELEMENTWISE

from .device import (
    arctan,
    by_dtype,
    erfc,
    exp,
    expm1,
    hypot,
    log1p,
    scalar,
    sqrt,
    tanh,
)

__all__ = ["functions", "shared"]


@by_dtype
def shared(R):
    """Functions that activations and losses have in common, for R: sigmoid, softplus, limits."""
    zero, one = R(0), R(1)

    @scalar
    def at_least(x, low):
        return low if x < low else x

    @scalar
    def at_most(x, high):
        return high if x > high else x

    @scalar
    def sigmoid(x):
        e = exp(-abs(x))
        return (e if x < zero else one) / (one + e)

    @scalar
    def softplus(x):
        return (x if x > zero else zero * x if x != x else zero) + log1p(exp(-abs(x)))

    return at_least, at_most, sigmoid, softplus


@by_dtype
def functions(R):
    """The pairs of functions for R, by the name of their row."""
    at_least, at_most, sigmoid_of, softplus_of = shared(R)
    zero, half, one, two, three = R(0), R(0.5), R(1), R(2), R(3)
    quarter, sixth = R(0.25), R(1) / R(6)
    far = R(800)  # exp(-far) is 0, and far times 0 too
    large = R(2.0**62)  # large + 1 = large

    @scalar
    def linear(x, a, b, c):
        return x
    @scalar
    def linear_grad(y, a, b, c):
        return one

    # -- steps -----------------------------------------------------------------------------------

    @scalar
    def binary_step(x, a, b, c):
        return one if x >= zero else zero if x < zero else x
    @scalar
    def binary_step_grad(x, a, b, c):
        return zero

    @scalar
    def unit_step(x, a, b, c):
        return one if x > zero else zero if x < zero else x + half
    @scalar
    def unit_step_grad(x, a, b, c):
        return zero

    @scalar
    def sign(x, a, b, c):
        return one if x > zero else -one if x < zero else x
    @scalar
    def sign_grad(x, a, b, c):
        return zero

    # -- between two plateaus --------------------------------------------------------------------

    @scalar
    def piecewise_linear(x, a, b, c):
        return at_least(at_most(x + half, one), zero)
    @scalar
    def piecewise_linear_grad(x, a, b, c):
        return one if abs(x) < half else zero

    @scalar
    def sigmoid(x, a, b, c):
        return sigmoid_of(x)
    @scalar
    def sigmoid_grad(y, a, b, c):
        return y * (one - y)

    @scalar
    def log_sigmoid(x, a, b, c):
        return -softplus_of(-x)
    @scalar
    def log_sigmoid_grad(y, a, b, c):
        return -expm1(y)

    @scalar
    def hard_sigmoid(x, a, b, c):
        return at_least(at_most((x + three) / R(6), one), zero)
    @scalar
    def hard_sigmoid_grad(x, a, b, c):
        return sixth if abs(x) < three else zero

    @scalar
    def sparse_sigmoid(x, a, b, c):
        return at_least(at_most((x + one) * half, one), zero)
    @scalar
    def sparse_sigmoid_grad(x, a, b, c):
        return half if abs(x) < one else zero

    @scalar
    def tanh_(x, a, b, c):
        return tanh(x)
    @scalar
    def tanh_grad(y, a, b, c):
        return (one - y) * (one + y)

    @scalar
    def hard_tanh(x, a, b, c):
        return at_least(at_most(x, one), -one)
    @scalar
    def hard_tanh_grad(x, a, b, c):
        return one if abs(x) < one else zero

    @scalar
    def arctan_(x, a, b, c):
        return arctan(x)
    @scalar
    def arctan_grad(x, a, b, c):
        return one / (one + x * x)

    @scalar
    def softsign(x, a, b, c):
        x = at_least(at_most(x, large), -large)
        return x / (one + abs(x))
    @scalar
    def softsign_grad(y, a, b, c):
        rest = one - abs(y)
        return rest * rest

    # -- rectifiers ------------------------------------------------------------------------------

    @scalar
    def relu(x, a, b, c):
        return at_least(x, zero)
    @scalar
    def relu_grad(y, a, b, c):
        return one if y > zero else zero

    @scalar
    def clipped_relu(x, negative_slope, max_value, threshold):
        below = zero if negative_slope == zero else negative_slope * (x - threshold)
        return at_most(below if x < threshold else x, max_value)
    @scalar
    def clipped_relu_grad(x, negative_slope, max_value, threshold):
        return zero if x >= max_value else one if x > threshold else negative_slope

    @scalar
    def relu6(x, a, b, c):
        return at_least(at_most(x, R(6)), zero)
    @scalar
    def relu6_grad(y, a, b, c):
        return one if zero < y < R(6) else zero

    @scalar
    def leaky_relu(x, negative_slope, b, c):
        return x if x >= zero else negative_slope * x
    @scalar
    def leaky_relu_grad(x, negative_slope, b, c):
        return one if x > zero else negative_slope

    @scalar
    def elu(x, alpha, b, c):
        return alpha * expm1(x) if x < zero else x
    @scalar
    def elu_grad(x, alpha, b, c):
        return one if x > zero else alpha * exp(x)

    selu_scale, selu_floor = R(1.0507009873554804934), R(1.7580993408473768599)

    @scalar
    def selu(x, a, b, c):
        return selu_floor * expm1(x) if x < zero else selu_scale * x
    @scalar
    def selu_grad(y, a, b, c):
        return selu_scale if y > zero else y + selu_floor

    @scalar
    def celu(x, alpha, b, c):
        return alpha * expm1(x / alpha) if x < zero else x
    @scalar
    def celu_grad(x, alpha, b, c):
        return one if x > zero else exp(x / alpha)

    @scalar
    def threshold(x, threshold, default_value, c):
        return default_value if x <= threshold else x
    @scalar
    def threshold_grad(x, threshold, default_value, c):
        return one if x > threshold else zero

    # -- smooth rectifiers -----------------------------------------------------------------------

    # The tail multiplies the rounding of an argument t by t^2, so that what it cut off has to be
    # known: from float64, or from products of halves (T. J. Dekker, "A floating-point technique for
    # extending the available precision", Numerische Mathematik 18, 1971).
    root, root_rest = np.float64(-0.70710678118654752440), np.float64(4.8336466567264567e-17)
    splitter = np.float64(2.0**27 + 1)
    root_high = root * splitter - (root * splitter - root)
    root_low = root - root_high

    if R is np.float32:
        @scalar
        def over_root_2(x):
            exact = np.float64(x) * root
            t = R(exact)
            return t, R(exact - np.float64(t))
    else:
        @scalar
        def over_root_2(x):
            t = x * root
            high = x * splitter
            high = high - (high - x)
            low = x - high
            rest = ((high * root_high - t) + high * root_low + low * root_high) + low * root_low
            return t, rest + x * root_rest

    @scalar
    def normal_cdf(x):
        # Phi(x) = erfc(-x / sqrt 2) / 2
        t, rest = over_root_2(x)
        return half * erfc(t) - rest * R(0.56418958354775628695) * exp(-t * t)

    @scalar
    def gelu(x, a, b, c):
        x = at_least(x, R(-40))
        return x * normal_cdf(at_most(x, R(40)))
    @scalar
    def gelu_grad(x, a, b, c):
        x = at_least(at_most(x, R(40)), R(-40))
        return normal_cdf(x) + x * (R(0.39894228040143267794) * exp(-half * x * x))

    @scalar
    def twice_u(x):
        # 2 sqrt(2 / pi) (x + 0.044715 x^3), in float64: exp multiplies its error by its size
        x = np.float64(x)
        return np.float64(1.5957691216057307118) * x * (
            np.float64(1) + np.float64(0.044715) * x * x)

    @scalar
    def sigmoid_of_exact(x):
        # exp(-|x|) = exp(-t) (1 - rest) for |x| = t + rest
        size = abs(x)
        t = R(size)
        e = exp(-t) * (one - R(size - np.float64(t)))
        return (e if x < np.float64(0) else one) / (one + e)

    @scalar
    def gelu_tanh(x, a, b, c):
        # (1 + tanh u) / 2 = sigmoid(2 u)
        x = at_least(x, R(-40))
        return x * sigmoid_of_exact(twice_u(at_most(x, R(40))))
    @scalar
    def gelu_tanh_grad(x, a, b, c):
        # and (1 - tanh^2 u) / 4 = sigmoid(2 u) sigmoid(-2 u)
        x = at_least(at_most(x, R(40)), R(-40))
        u2 = twice_u(x)
        slope = R(1.5957691216057307118) * (one + R(0.134145) * x * x)
        return sigmoid_of_exact(u2) * (one + x * sigmoid_of_exact(-u2) * slope)

    @scalar
    def silu(x, a, b, c):
        return at_least(x, -far) * sigmoid_of(x)
    @scalar
    def silu_grad(x, a, b, c):
        x = at_least(at_most(x, far), -far)
        return sigmoid_of(x) * (one + x * sigmoid_of(-x))

    @scalar
    def hard_silu(x, a, b, c):
        return x if x >= three else zero if x <= -three else x * (x + three) / R(6)
    @scalar
    def hard_silu_grad(x, a, b, c):
        return one if x >= three else zero if x <= -three else x / three + half

    @scalar
    def mish(x, a, b, c):
        # tanh(log(1 + e)) = n / (n + 2), n = e (e + 2), e = exp(x); beyond 20 it is 1
        e = exp(at_most(x, R(20)))
        n = e * (e + two)
        return at_least(x, -far) * (n / (n + two))
    @scalar
    def mish_grad(x, a, b, c):
        x = at_least(at_most(x, R(20)), -far)
        e = exp(x)
        n = e * (e + two)
        t = n / (n + two)
        return t + x * (two / (n + two)) * (one + t) * sigmoid_of(x)

    @scalar
    def softplus(x, a, b, c):
        return softplus_of(x)
    @scalar
    def softplus_grad(y, a, b, c):
        return -expm1(-y)

    @scalar
    def sparse_plus(x, a, b, c):
        return x if x >= one else zero if x <= -one else (x + one) * (x + one) * quarter
    @scalar
    def sparse_plus_grad(x, a, b, c):
        return one if x >= one else zero if x <= -one else (x + one) * half

    @scalar
    def squareplus(x, b, unused, c):
        # (x + r) / 2 with r = sqrt(x^2 + b) cancels far below 0, and is b / (2 (r - x)) there
        size = abs(x)
        root = hypot(x, sqrt(b))
        mean = half * size + half * root
        below = half * (root - size) if three * root > R(5) * size else quarter * b / mean
        return below if x < zero else mean
    @scalar
    def squareplus_grad(x, b, unused, c):
        x = at_most(x, R(2.0**100))
        root = hypot(x, sqrt(b))
        return half if root == zero else squareplus(x, b, unused, c) / root

    @scalar
    def exponential(x, a, b, c):
        return exp(x)
    @scalar
    def exponential_grad(y, a, b, c):
        return y

    # -- shrinkage -------------------------------------------------------------------------------

    @scalar
    def hard_shrink(x, threshold, b, c):
        return zero if abs(x) <= threshold else x
    @scalar
    def hard_shrink_grad(x, threshold, b, c):
        return one if abs(x) > threshold else zero

    @scalar
    def soft_shrink(x, threshold, b, c):
        return (zero if abs(x) <= threshold else
                x + threshold if x < zero else x - threshold)
    @scalar
    def soft_shrink_grad(x, threshold, b, c):
        return one if abs(x) > threshold else zero

    @scalar
    def tanh_shrink(x, a, b, c):
        # Lambert's continued fraction tanh x = x / (1 + q), q = x^2 / (3 + x^2 / (5 + ...)), makes
        # x - tanh x = x q / (1 + q), without a subtraction, where the two are close
        if not abs(x) < two:
            return x - tanh(x)
        wide = np.float64(x)
        square, q, odd = wide * wide, np.float64(0), np.float64(33)
        while odd > np.float64(2):
            q = square / (odd + q)
            odd -= np.float64(2)
        return R(wide * (q / (np.float64(1) + q)))
    @scalar
    def tanh_shrink_grad(x, a, b, c):
        t = tanh(x)
        return t * t

    found = locals()
    return {name: (found.get(name + "_", found.get(name)), found[name + "_grad"])
            for name in ELEMENTWISE}
