"""The elementwise activations: one pair of functions per row of the table.

``name(x, *params)`` is the function and ``name_grad(x or y, *params)`` its derivative in terms of
what the row's `reads` says; the formulas are the row's.  A new elementwise activation is one row in
`fusedmlp.spec` and one pair here.

Every function takes an array and gives an array, passes NaN on, and takes the mathematical limit
at infinity.  ``inf * 0`` is kept away by clamping the factor to where the other one is already 0.
`fusedmlp.kernels.reference.activations` calls them, with floating-point warnings switched off.
"""

import math

import numpy as np

from .special import normal_cdf, normal_pdf

_EXP_0 = -800.0  # exp of this is 0 in float64
_HUGE = 1e300  # finite, and x + 1 = x


def linear(x):
    return x
def linear_grad(y):
    return np.ones_like(y)


# -- steps ---------------------------------------------------------------------------------------

def binary_step(x):
    return np.heaviside(x, 1.0)
def binary_step_grad(x):
    return np.zeros_like(x)


def unit_step(x):
    return np.heaviside(x, 0.5)
def unit_step_grad(x):
    return np.zeros_like(x)


def sign(x):
    return np.sign(x)
def sign_grad(x):
    return np.zeros_like(x)


# -- between two plateaus ------------------------------------------------------------------------

def piecewise_linear(x):
    return np.clip(x + 0.5, 0.0, 1.0)
def piecewise_linear_grad(x):
    return ((x > -0.5) & (x < 0.5)).astype(x.dtype)


def hard_sigmoid(x):
    return np.clip((x + 3.0) / 6.0, 0.0, 1.0)
def hard_sigmoid_grad(x):
    return ((x > -3.0) & (x < 3.0)) / 6.0


def sparse_sigmoid(x):
    return np.clip((x + 1.0) / 2.0, 0.0, 1.0)
def sparse_sigmoid_grad(x):
    return ((x > -1.0) & (x < 1.0)) / 2.0


def hard_tanh(x):
    return np.clip(x, -1.0, 1.0)
def hard_tanh_grad(x):
    return ((x > -1.0) & (x < 1.0)).astype(x.dtype)


def sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0.0, e, 1.0) / (1.0 + e)
def sigmoid_grad(y):
    return y * (1.0 - y)


def log_sigmoid(x):
    return np.minimum(x, 0.0) - np.log1p(np.exp(-np.abs(x)))
def log_sigmoid_grad(y):
    return -np.expm1(y)


def tanh(x):
    return np.tanh(x)
def tanh_grad(y):
    return (1.0 - y) * (1.0 + y)


def arctan(x):
    return np.arctan(x)
def arctan_grad(x):
    return 1.0 / (1.0 + x * x)


def softsign(x):
    x = np.clip(x, -_HUGE, _HUGE)
    return x / (1.0 + np.abs(x))
def softsign_grad(y):
    return (1.0 - np.abs(y)) ** 2


# -- rectifiers ----------------------------------------------------------------------------------

def relu(x):
    return np.maximum(x, 0.0)
def relu_grad(y):
    return (y > 0.0).astype(y.dtype)


def clipped_relu(x, negative_slope, max_value, threshold):
    below = negative_slope * (x - threshold) if negative_slope else 0.0
    return np.where(x >= max_value, max_value, np.where(x < threshold, below, x))
def clipped_relu_grad(x, negative_slope, max_value, threshold):
    return np.where(x >= max_value, 0.0, np.where(x > threshold, 1.0, negative_slope))


def relu6(x):
    return np.clip(x, 0.0, 6.0)
def relu6_grad(y):
    return ((y > 0.0) & (y < 6.0)).astype(y.dtype)


def leaky_relu(x, negative_slope):
    return np.where(x >= 0.0, x, negative_slope * x)
def leaky_relu_grad(x, negative_slope):
    return np.where(x > 0.0, 1.0, negative_slope)


def elu(x, alpha):
    return np.where(x > 0.0, x, alpha * np.expm1(np.minimum(x, 0.0)))
def elu_grad(x, alpha):
    return np.where(x > 0.0, 1.0, alpha * np.exp(np.minimum(x, 0.0)))


_SELU_ALPHA = 1.6732632423543772848
_SELU_SCALE = 1.0507009873554804934
_SELU_FLOOR = 1.7580993408473768599  # scale alpha, rounded once


def selu(x):
    return _SELU_SCALE * elu(x, _SELU_ALPHA)
def selu_grad(y):
    return np.where(y > 0.0, _SELU_SCALE, y + _SELU_FLOOR)


def celu(x, alpha):
    return np.where(x > 0.0, x, alpha * np.expm1(np.minimum(x, 0.0) / alpha))
def celu_grad(x, alpha):
    return np.where(x > 0.0, 1.0, np.exp(np.minimum(x, 0.0) / alpha))


def threshold(x, threshold, default_value):
    return np.where(x <= threshold, default_value, x)
def threshold_grad(x, threshold, default_value):
    return (x > threshold).astype(x.dtype)


# -- smooth rectifiers ---------------------------------------------------------------------------

def gelu(x):
    return np.maximum(x, -40.0) * normal_cdf(x)
def gelu_grad(x):
    return normal_cdf(x) + np.clip(x, -40.0, 40.0) * normal_pdf(x)


_SQRT_2_OVER_PI = math.sqrt(2.0 / math.pi)


def gelu_tanh(x):
    # (1 + tanh u) / 2 = sigmoid(2 u)
    x = np.maximum(x, -40.0)
    return x * sigmoid(2.0 * _SQRT_2_OVER_PI * x * (1.0 + 0.044715 * x * x))
def gelu_tanh_grad(x):
    # and (1 - tanh^2 u) / 4 = sigmoid(2 u) sigmoid(-2 u)
    x = np.clip(x, -40.0, 40.0)
    u = _SQRT_2_OVER_PI * x * (1.0 + 0.044715 * x * x)
    du = _SQRT_2_OVER_PI * (1.0 + 0.134145 * x * x)
    s = sigmoid(2.0 * u)
    return s * (1.0 + 2.0 * x * sigmoid(-2.0 * u) * du)


def silu(x):
    return np.maximum(x, _EXP_0) * sigmoid(x)
def silu_grad(x):
    x = np.clip(x, _EXP_0, -_EXP_0)
    return sigmoid(x) * (1.0 + x * sigmoid(-x))


def hard_silu(x):
    return np.maximum(x, -3.0) * hard_sigmoid(x)
def hard_silu_grad(x):
    return np.where(x <= -3.0, 0.0, np.where(x >= 3.0, 1.0, (2.0 * x + 3.0) / 6.0))


def _tanh_softplus(x):
    """t = tanh(log(1 + exp(x))) = n / (n + 2) with n = e (e + 2), e = exp(x); and 1 - t."""
    e = np.exp(np.minimum(x, 20.0))  # beyond, t is 1
    n = e * (e + 2.0)
    return n / (n + 2.0), 2.0 / (n + 2.0)


def mish(x):
    t, _ = _tanh_softplus(x)
    return np.maximum(x, _EXP_0) * t
def mish_grad(x):
    x = np.clip(x, _EXP_0, 20.0)  # beyond, the derivative is 0 or 1
    t, rest = _tanh_softplus(x)
    return t + x * rest * (1.0 + t) * sigmoid(x)


def softplus(x):
    return np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x)))
def softplus_grad(y):
    return -np.expm1(-y)


def sparse_plus(x):
    return np.where(x <= -1.0, 0.0, np.where(x >= 1.0, x, (x + 1.0) ** 2 / 4.0))
def sparse_plus_grad(x):
    return np.clip((x + 1.0) / 2.0, 0.0, 1.0)


def squareplus(x, b):
    root = np.hypot(x, math.sqrt(b))
    # below 0 the conjugate, (b / 2) / (root - x), for a tail without cancellation
    return np.where(x < 0.0, 0.25 * b / (0.5 * root - 0.5 * x), 0.5 * x + 0.5 * root)
def squareplus_grad(x, b):
    root = np.hypot(x, math.sqrt(b))
    ratio = np.where(root > 0.0, np.clip(x, -_HUGE, _HUGE) / np.clip(root, 0.0, _HUGE), root)
    return np.where(x < 0.0, 0.5 * b / root / (root - x), 0.5 + 0.5 * ratio)


def exponential(x):
    return np.exp(x)
def exponential_grad(y):
    return y


# -- shrinkage -----------------------------------------------------------------------------------

def hard_shrink(x, threshold):
    return np.where(np.abs(x) <= threshold, 0.0, x)
def hard_shrink_grad(x, threshold):
    return (np.abs(x) > threshold).astype(x.dtype)


def soft_shrink(x, threshold):
    return np.sign(x) * np.maximum(np.abs(x) - threshold, 0.0)
def soft_shrink_grad(x, threshold):
    return (np.abs(x) > threshold).astype(x.dtype)


def tanh_shrink(x):
    # Lambert's continued fraction tanh x = x / (1 + c), c = x^2 / (3 + x^2 / (5 + ...)), makes
    # x - tanh x = x c / (1 + c), a formula without subtraction, for where x and tanh x are close.
    square = np.minimum(x * x, 4.0)
    c = np.zeros_like(x)
    for odd in range(33, 1, -2):
        c = square / (odd + c)
    return np.where(np.abs(x) < 2.0, x * (c / (1.0 + c)), x - np.tanh(x))
def tanh_shrink_grad(x):
    return np.tanh(x) ** 2
