"""Normalization, of columns by the batch and of rows by themselves, in plain NumPy.

Arrays are (n, c); gamma and beta are (c,) or None.  `inv` is the factor that is left once the mean
is taken away.

Ioffe and Szegedy (2015), arXiv:1502.03167; Ba, Kiros and Hinton (2016), arXiv:1607.06450; Zhang and
Sennrich (2019), arXiv:1910.07467.  The numbers are those of the Keras layers.
"""

import numpy as np

__all__ = [
    "batch_norm_dx", "batch_norm_sums", "batch_statistics", "fold_statistics", "gamma_grad",
    "row_norm", "row_norm_grad", "standardize",
]

UNIT_EPSILON = 1e-12  # rows shorter than that are not scaled up to length 1


def batch_statistics(x, moving_mean, moving_variance, momentum, epsilon, mean, inv,
                     weights=None):
    """mean and 1 / sqrt(variance + epsilon) of each column; the moving ones follow.

    Rows count by their weights (n, 1), whose mean is 1 (None: 1 each).
    """
    if weights is None:
        mean[...] = x.mean(axis=0)
        variance = np.square(x - mean).mean(axis=0)
    else:  # what does not count may be anything
        n, counts = max(len(x), 1), weights[:, 0] != 0
        x, w = x[counts], weights[counts]
        mean[...] = (w * x).sum(axis=0) / n
        variance = (w * np.square(x - mean)).sum(axis=0) / n
    inv[...] = 1.0 / np.sqrt(variance + epsilon)
    for moving, value in ((moving_mean, mean), (moving_variance, variance)):
        moving[...] = moving * momentum + value * (1.0 - momentum)


def standardize(x, mean, inv, gamma, beta, y):
    """y = (x - mean) inv gamma + beta"""
    y[...] = _affine((x - mean) * inv, gamma, beta)


def batch_norm_sums(dy, x, mean, inv, dgamma, dbeta):
    """dgamma = sum dy xhat, dbeta = sum dy, with xhat = (x - mean) inv"""
    dgamma[...] = (dy * ((x - mean) * inv)).sum(axis=0)
    dbeta[...] = dy.sum(axis=0)


def batch_norm_dx(dy, x, mean, inv, dgamma, dbeta, gamma, dx, weights=None):
    """dx = inv gamma (dy - w (dbeta + xhat dgamma) / n): mean and variance depend on x as well."""
    n = max(len(x), 1)
    slope = inv if gamma is None else inv * gamma
    through = dbeta / n + (x - mean) * inv * (dgamma / n)
    if weights is not None:
        through = np.where(weights != 0, weights * through, 0)
    dx[...] = slope * (dy - through)


def fold_statistics(mean, variance, gamma, beta, epsilon, a, b):
    """a and b with a x + b = (x - mean) / sqrt(variance + epsilon) gamma + beta"""
    a[...] = _affine(1.0 / np.sqrt(variance + epsilon), gamma, None)
    b[...] = -mean * a if beta is None else beta - mean * a


def row_norm(x, kind, epsilon, gamma, beta, y, inv, mean):
    """Each row by itself; inv (n,) and mean (n,) receive what was used, where they are not None.

    "layer": xhat = (x - mean) / sqrt(variance + epsilon); "rms": x / sqrt(mean x^2 + epsilon);
    "unit": x / |x|, or x 1e12 where that is less.
    """
    centre = x.mean(axis=1, keepdims=True) if kind == "layer" else 0.0
    centred = x - centre
    squares = np.square(centred)
    if kind == "unit":
        with np.errstate(divide="ignore"):
            factor = np.minimum(1.0 / np.sqrt(squares.sum(axis=1, keepdims=True)),
                                1.0 / UNIT_EPSILON)
    else:
        factor = 1.0 / np.sqrt(squares.mean(axis=1, keepdims=True) + epsilon)
    y[...] = _affine(centred * factor, gamma, beta)
    if inv is not None:
        inv[...] = factor[:, 0]
    if mean is not None:
        mean[...] = centre[:, 0]


def row_norm_grad(dy, x, inv, mean, gamma, kind, dx):
    """dx = inv (g - [mean g] - xhat [mean, or sum for "unit", of g xhat]), g = dy gamma"""
    xhat = _xhat(x, inv, mean)
    g = dy if gamma is None else dy * gamma
    columns = max(x.shape[1], 1)
    along = (g * xhat).sum(axis=1, keepdims=True)
    if kind == "unit":
        along = np.where(inv[:, None] < 1.0 / UNIT_EPSILON, along, 0.0)
        columns = 1
    centre = g.mean(axis=1, keepdims=True) if kind == "layer" else 0.0
    dx[...] = inv[:, None] * (g - centre - xhat * (along / columns))


def gamma_grad(dy, x, inv, mean, dgamma):
    """dgamma = sum over the rows of dy xhat"""
    dgamma[...] = (dy * _xhat(x, inv, mean)).sum(axis=0)


def _xhat(x, inv, mean):
    return (x if mean is None else x - mean[:, None]) * inv[:, None]


def _affine(x, gamma, beta):
    x = x if gamma is None else x * gamma
    return x if beta is None else x + beta
