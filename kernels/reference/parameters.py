"""What is done to parameters besides their update: penalties, constraints, spectral normalization.

The numbers are those of `keras.regularizers`, `keras.constraints` and
`keras.layers.SpectralNormalization`.
"""

import numpy as np

__all__ = ["constrain", "orthogonal_penalty", "spectral_norm"]

_ORTHOGONAL_EPSILON = 1e-7  # shorter vectors are not scaled up to length 1


def constrain(w, kind, low, high, rate, epsilon, axis):
    """w (k, m) is scaled so that its norms go the part `rate` of their way into [low, high].

    axis 0: of each column, axis 1: of each row, None: of the whole.  Kind "non_negative":
    w = max(w, 0).
    """
    if kind == "non_negative":
        np.maximum(w, 0.0, out=w)
        return
    norms = np.sqrt(np.square(w).sum(axis=axis, keepdims=True))
    desired = rate * np.clip(norms, low, high) + (1.0 - rate) * norms
    w[...] = w * (desired / (epsilon + norms))


def orthogonal_penalty(w, factor, rows):
    """factor times the mean of |x_i . x_j| over the pairs of unit rows x (or columns) of w.

    Returns the penalty, float64, and its derivative with respect to w: with s the sum of
    sign(x_i . x_j) x_j over the others, inv (s - x_i (x_i . s)), inv = 1/|w_i|.
    """
    vectors = np.asarray(w if rows else w.T, np.float64)
    count = len(vectors)
    pairs = count * (count - 1) / 2.0
    with np.errstate(divide="ignore"):
        inv = np.minimum(1.0 / np.sqrt(np.square(vectors).sum(axis=1, keepdims=True)),
                         1.0 / _ORTHOGONAL_EPSILON)
    unit = vectors * inv
    product = unit @ unit.T
    np.fill_diagonal(product, 0.0)
    s = np.sign(product) @ unit
    along = np.where(inv < 1.0 / _ORTHOGONAL_EPSILON, (unit * s).sum(axis=1, keepdims=True), 0.0)
    slope = (factor / pairs) * inv * (s - unit * along)
    return factor * 0.5 * np.abs(product).sum() / pairs, slope if rows else slope.T


def spectral_norm(kernel, u, iterations, epsilon):
    """kernel (k, m) is divided by v kernel u, after power iterations from u (m,), which is kept.

    A kernel of zeros stays as it is, and so does u.
    """
    if not kernel.any():
        return
    w = np.asarray(kernel, np.float64)
    right = np.asarray(u, np.float64)
    for _ in range(iterations):
        left = _unit(w @ right, epsilon)
        right = _unit(left @ w, epsilon)
    u[...] = right
    kernel[...] = w / (left @ w @ right)


def _unit(x, epsilon):
    with np.errstate(divide="ignore"):
        return x * min(1.0 / np.sqrt(x @ x), 1.0 / epsilon)
