"""The normal distribution in plain NumPy, which has no error function of its own.

After W. J. Cody, "Rational Chebyshev approximations for the error function", Mathematics of
Computation 23 (1969), 631-637: three intervals of ``|x|``, each with one rational function that is
good to 16 digits.  Arguments are float64.
"""

import numpy as np

__all__ = ["normal_cdf", "normal_pdf"]

_SMALL = 0.46875  # erf below, erfc above
_LARGE = 4.0  # from here on a rational function of 1 / x^2
_SQRT_HALF = 0.70710678118654752440
_INV_SQRT_PI = 0.56418958354775628695
_INV_SQRT_2PI = 0.39894228040143267794

# Coefficients from the highest power of the argument down.
_ERF = (
    (1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2, 3.77485237685302021e2,
     3.20937758913846947e3),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3,
     2.84423683343917062e3),
)
_ERFCX = (
    (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0,
     6.61191906371416295e1, 2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3,
     2.05107837782607147e3, 1.23033935479799725e3),
    (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2,
     1.62138957456669019e3, 3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3,
     1.23033935480374942e3),
)
_ERFCX_LARGE = (
    (1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1,
     1.25781726111229246e-1, 1.60837851487422766e-2, 6.58749161529837803e-4),
    (1.0, 2.56852019228982242e0, 1.87295284992346725e0, 5.27905102951428412e-1,
     6.05183413124413191e-2, 2.33520497626869185e-3),
)


def _rational(coefficients, x):
    numerator, denominator = coefficients
    return np.polyval(numerator, x) / np.polyval(denominator, x)


def _erf(x):
    """erf(x) for |x| <= 0.46875."""
    return x * _rational(_ERF, x * x)


def _erfcx(x):
    """exp(x^2) erfc(x) for x >= 0.46875."""
    inverse = 1.0 / (x * x)
    large = (_INV_SQRT_PI - inverse * _rational(_ERFCX_LARGE, inverse)) / x
    return np.where(x > _LARGE, large, _rational(_ERFCX, np.minimum(x, _LARGE)))


def _gaussian(x):
    """exp(-x^2 / 2).

    x is split into h, whose square is exact, and a small rest: the rounding error of x^2 alone
    would cost hundreds of units in the last place in the tail.
    """
    x = np.clip(x, -40.0, 40.0)  # where the result is 0 already
    h = np.trunc(16.0 * x) / 16.0
    return np.exp(-0.5 * h * h) * np.exp(-0.5 * (x - h) * (x + h))


def normal_pdf(x):
    """phi(x) = exp(-x^2 / 2) / sqrt(2 pi)."""
    return _INV_SQRT_2PI * _gaussian(x)


def normal_cdf(x):
    """Phi(x) = (1 + erf(x / sqrt 2)) / 2, without cancellation in the lower tail."""
    t = _SQRT_HALF * np.abs(x)
    centre = 0.5 + 0.5 * _erf(np.clip(_SQRT_HALF * x, -_SMALL, _SMALL))
    tail = 0.5 * _erfcx(np.maximum(t, _SMALL)) * _gaussian(x)
    return np.where(t <= _SMALL, centre, np.where(x < 0.0, tail, 1.0 - tail))
