"""Losses of `fusedmlp.spec.LOSSES` in arbitrary precision, and calls of their kernels by kind.

Formulas are written here once more, element by element, and share nothing with the kernels.
"""

from __future__ import annotations

import numpy as np
from mpmath import mp, mpf

from fusedmlp import spec

__all__ = ["ROWS", "batch_losses", "call", "data", "default_params", "targets_of"]

ROWS = [row for row in spec.LOSSES.values() if row.name != "softmax_cross_entropy"]
mp.dps = max(mp.dps, 40)


def default_params(row):
    return tuple(float(value) for _, value in row.params)


# -- formulas --------------------------------------------------------------------------------------


def clip(p, low, high=None):
    return min(max(p, low), 1 - low if high is None else high)


def cross_entropy(t, q):
    return -t * mp.log(q) - (1 - t) * mp.log(1 - q)


def sigmoid(z):
    return 1 / (1 + mp.exp(-z))


def focal(p, t, balanced, alpha, gamma, q):
    far = t * (1 - p) + (1 - t) * p
    weight = t * alpha + (1 - t) * (1 - alpha) if balanced else 1
    return weight * far**gamma * cross_entropy(t, q)


ELEMENTS = {
    "mean_squared_error": lambda p, t: (p - t) ** 2,
    "mean_absolute_error": lambda p, t: abs(p - t),
    "mean_absolute_percentage_error": lambda p, t, e: 100 * abs(p - t) / max(abs(t), e),
    "mean_squared_logarithmic_error": lambda p, t, e: (
        mp.log(1 + max(p, e)) - mp.log(1 + max(t, e))) ** 2,
    "log_cosh": lambda p, t: mp.log(mp.cosh(p - t)),
    "huber": lambda p, t, d: (p - t) ** 2 / 2 if abs(p - t) <= d else d * abs(p - t) - d**2 / 2,
    "quantile": lambda p, t, q: q * (t - p) if t > p else (1 - q) * (p - t),
    "poisson": lambda p, t, e: p - t * mp.log(p + e),
    "kl_divergence": lambda p, t, e: clip(t, e, 1) * mp.log(clip(t, e, 1) / clip(p, e, 1)),
    "hinge": lambda p, t: max(1 - t * p, 0),
    "squared_hinge": lambda p, t: max(1 - t * p, 0) ** 2,
    "perceptron": lambda p, t: max(-t * p, 0),
    "binary_crossentropy": lambda p, t, e: cross_entropy(t, clip(p, e)),
    "sigmoid_cross_entropy": lambda z, t: max(z, 0) - z * t + mp.log1p(mp.exp(-abs(z))),
    "log_poisson": lambda z, t: mp.exp(z) - t * z,
    "binary_focal_crossentropy": lambda p, t, b, a, g, e: focal(p, t, b, a, g, clip(p, e)),
    "sigmoid_focal_cross_entropy": lambda z, t, b, a, g: focal(
        sigmoid(z), t, b, a, g, sigmoid(z)),
}


def softmax(z):
    e = [mp.exp(v) for v in z]
    return [v / mp.fsum(e) for v in e]


def shares(p, e):
    return [clip(v / mp.fsum(p), e) for v in p]


def focal_row(q, t, alpha, gamma):
    return -alpha * mp.fsum(b * (1 - a) ** gamma * mp.log(a) for a, b in zip(q, t, strict=True))


def generalized(q, t, power):
    return (1 - mp.fsum(a * b for a, b in zip(q, t, strict=True)) ** power) / power


def cosine(p, t, e):
    def size(v):
        return max(mp.sqrt(mp.fsum(a * a for a in v)), e)

    return -mp.fsum(a * b for a, b in zip(p, t, strict=True)) / (size(p) * size(t))


ROW_WISE = {
    "categorical_crossentropy": lambda p, t, e: -mp.fsum(
        b * mp.log(a) for a, b in zip(shares(p, e), t, strict=True)),
    "categorical_focal_crossentropy": lambda p, t, a, g, e: focal_row(shares(p, e), t, a, g),
    "softmax_focal_cross_entropy": lambda z, t, a, g: focal_row(softmax(z), t, a, g),
    "categorical_generalized_cross_entropy": generalized,
    "softmax_generalized_cross_entropy": lambda z, t, q: generalized(softmax(z), t, q),
    "cosine_similarity": cosine,
    "categorical_hinge": lambda p, t: max(
        max((1 - b) * a for a, b in zip(p, t, strict=True))
        - mp.fsum(a * b for a, b in zip(p, t, strict=True)) + 1, 0),
}


def normal(m, s, t, full, e):
    variance = max(mp.exp(s), e)
    constant = mp.log(2 * mp.pi) if full else 0
    return ((t - m) ** 2 / variance + mp.log(variance) + constant) / 2


DISTRIBUTIONS = {"gaussian_negative_log_likelihood": normal}
OVERLAPS = {
    "dice": lambda i, t, p, e: 1 - 2 * i / (t + p + e),
    "tversky": lambda i, t, p, a, b, e: 1 - i / (i + a * (t - i) + b * (p - i) + e),
}


def circle(p, labels, gamma, margin, remove_diagonal):
    losses = []
    for i, own in enumerate(p):
        sums = {True: mpf(0), False: mpf(0)}
        for j, other in enumerate(p):
            d = max(1 - mp.fsum(a * b for a, b in zip(own, other, strict=True)), 0)
            same = bool(labels[i] == labels[j])
            if same and i == j and remove_diagonal:
                continue
            sums[same] += mp.exp(-gamma * (margin + d) * (margin - d)) if same else mp.exp(
                gamma * max(1 + margin - d, 0) * (1 - margin - d))
        losses.append(mp.log(1 + sums[True] * sums[False]))
    return losses


PAIRS = {"circle": circle}
KNOWN = {*ELEMENTS, *ROW_WISE, *DISTRIBUTIONS, *OVERLAPS, *PAIRS}
assert {row.name for row in ROWS} == KNOWN, "every loss needs its truth here"


# -- whole batches ---------------------------------------------------------------------------------


def targets_of(labels, columns, smoothing, kind):
    """Smoothed targets as rows of numbers."""
    rows = labels if labels.ndim == 2 else np.eye(columns)[labels]
    even = mpf(1) / 2 if kind == "elementwise" else mpf(1) / columns
    return [[mpf(float(t)) * (1 - mpf(smoothing)) + mpf(smoothing) * even for t in row]
            for row in rows]


def batch_losses(row, p, labels, params=None, smoothing=0.0, weight=None, axis="rows"):
    """The weighted loss of each row of a batch; p is a list of rows of mpf."""
    params = [mpf(v) for v in (default_params(row) if params is None else params)]
    n, c = len(p), len(p[0])
    w = [mpf(1)] * n if weight is None else [mpf(float(v)) for v in weight]
    if row.kind == "pair":
        return [a * b for a, b in zip(w, PAIRS[row.name](p, labels, *params), strict=True)]
    t = targets_of(labels, c, smoothing, row.kind)
    if row.kind == "elementwise":
        number = c if row.average else 1
        values = [mp.fsum(ELEMENTS[row.name](a, b, *params) for a, b in zip(x, y, strict=True))
                  / number for x, y in zip(p, t, strict=True)]
    elif row.kind == "row":
        values = [ROW_WISE[row.name](x, y, *params) for x, y in zip(p, t, strict=True)]
    elif row.kind == "distribution":
        k = c // 2
        values = [mp.fsum(DISTRIBUTIONS[row.name](x[j], x[k + j], y[j], *params)
                          for j in range(k)) / k for x, y in zip(p, t, strict=True)]
    else:
        groups = {"rows": [[(i, j) for j in range(c)] for i in range(n)],
                  "all": [[(i, j) for i in range(n) for j in range(c)]]}.get(
                      axis, [[(i, j) for i in range(n)] for j in range(c)])
        found = [OVERLAPS[row.name](mp.fsum(p[i][j] * t[i][j] for i, j in g),
                                    mp.fsum(t[i][j] for i, j in g),
                                    mp.fsum(p[i][j] for i, j in g), *params) for g in groups]
        if axis != "rows":
            found = [mp.fsum(found) / (c if axis == "columns" else 1)] * n
        values = found
    return [a * b for a, b in zip(w, values, strict=True)]


# -- inputs and calls ------------------------------------------------------------------------------


def data(row, n, c, dtype, seed=0, classes=False):
    """Predictions (n, c) and labels of the row's kind."""
    rng = np.random.default_rng(seed)
    if row.kind == "distribution":
        c += c % 2
    p = rng.uniform(*row.domain, (n, c)).astype(dtype)
    if row.kind == "pair":
        p /= np.sqrt((p.astype(float) ** 2).sum(axis=1, keepdims=True)).astype(dtype)
        return p, rng.integers(-1, 2, n)
    if classes:
        return p, rng.integers(0, c, n)
    if row.labels == "signs":
        return p, np.where(rng.random((n, c)) < 0.5, -1.0, 1.0).astype(dtype)
    columns = c // 2 if row.kind == "distribution" else c
    return p, rng.uniform(*row.target, (n, columns)).astype(dtype)


def call(kernels, row, p, labels, losses, d, *, params=None, weight=None, smoothing=0.0,
         ignore=None, scale=1.0, axis="rows", rescaled=False):
    """The kernel of the row's kind."""
    params = default_params(row) if params is None else params
    door = getattr(kernels.losses, f"{row.kind}_loss")
    if row.kind == "row":
        door(row.name, p, labels, weight, smoothing, ignore, params, scale, losses, d)
    elif row.kind == "elementwise":
        door(row.name, p, labels, params, weight, smoothing, scale, losses, d)
    elif row.kind == "distribution":
        door(row.name, p, labels, params, weight, scale, losses, d)
    elif row.kind == "overlap":
        door(row.name, axis, p, labels, params, weight, scale, losses, d)
    else:
        door(row.name, p, labels, weight, rescaled, params, scale, losses, d)
