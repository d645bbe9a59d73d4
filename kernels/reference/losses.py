"""Losses with their gradients, and the counts of right answers.

Every row's loss is computed in float64.  `targets` below are the labels as probabilities.
"""

import numpy as np

from fusedmlp.spec import LOSSES

from .elementwise import sigmoid, softplus

__all__ = [
    "binary_hits",
    "categorical_crossentropy",
    "categorical_hits",
    "elementwise_loss",
    "softmax_cross_entropy",
]


def softmax_cross_entropy(logits, labels, sample_weight, label_smoothing, ignore_index, scale,
                          losses, dlogits, hits):
    """losses = w sum_k t_k (log sum_j exp z_j - z_k), which is the table's formula for sum t = 1.

    dlogits = scale w (softmax(z) sum_k t_k - t).  logits (n, c); labels (n,) or (n, c).
    """
    targets, kept = _targets(labels, logits.shape[1], label_smoothing, ignore_index)
    if logits.size:
        with np.errstate(all="ignore"):
            z = logits.astype(np.float64)
            z -= z.max(axis=1, keepdims=True)
            e = np.exp(z)
            total = e.sum(axis=1, keepdims=True)
            # a target of 0 takes no part, also where its logit is -inf
            terms = np.where(targets == 0.0, 0.0, targets * (np.log(total) - z))
            _store(terms.sum(axis=1), sample_weight, kept, losses)
            if dlogits is not None:
                d = e / total * targets.sum(axis=1, keepdims=True) - targets
                _store_gradient(d, scale, sample_weight, kept, dlogits)
    else:
        losses[...] = 0.0
    if hits is not None:
        categorical_hits(logits, labels, hits)
        hits *= kept


def categorical_crossentropy(probabilities, labels, sample_weight, label_smoothing, ignore_index,
                             epsilon, scale, losses, dprobabilities):
    """losses = -w sum_k t_k log q_k with q = clip(p / sum p, epsilon, 1 - epsilon).

    With s = sum p and h = t / q where q is unclipped, else 0:
    dprobabilities = scale w (sum_k(h_k p_k) / s^2 - h / s).
    """
    targets, kept = _targets(labels, probabilities.shape[1], label_smoothing, ignore_index)
    with np.errstate(all="ignore"):
        p = probabilities.astype(np.float64)
        s = p.sum(axis=1, keepdims=True)
        q = np.clip(p / s, *_bounds(epsilon, probabilities.dtype))
        _store(-(targets * np.log(q)).sum(axis=1), sample_weight, kept, losses)
        if dprobabilities is not None:
            h = np.where(q == p / s, targets / q, 0.0 * q)  # 0 q passes NaN on
            d = (h * p).sum(axis=1, keepdims=True) / s**2 - h / s
            _store_gradient(d, scale, sample_weight, kept, dprobabilities)


def elementwise_loss(name, y_pred, y_true, params, sample_weight, label_smoothing, scale, losses,
                     dpred):
    """losses = w mean_k l(p_k, t_k) with the function `name`; dpred = scale w l'(p, t) / c."""
    with np.errstate(all="ignore"):
        t = y_true.astype(np.float64) * (1.0 - label_smoothing) + 0.5 * label_smoothing
        value, derivative = _ELEMENTWISE[name](y_pred, t, *params)
        columns = max(y_pred.shape[1], 1)
        _store(value.sum(axis=1) / columns, sample_weight, None, losses)
        if dpred is not None:
            _store_gradient(derivative / columns, scale, sample_weight, None, dpred)


def categorical_hits(predictions, labels, hits):
    """hits = 1 where the first largest prediction is at the label or first largest label.

    A NaN counts as the largest, as `numpy.argmax` has it.
    """
    if not predictions.size:
        hits[...] = 0.0
        return
    expected = labels if labels.ndim == 1 else labels.argmax(axis=1)
    hits[...] = predictions.argmax(axis=1) == expected


def binary_hits(predictions, labels, threshold, hits):
    """hits = the share of columns in which ``predictions > threshold`` equals the label."""
    labels = labels[:, None] if labels.ndim == 1 else labels
    right = ((predictions > predictions.dtype.type(threshold)) == labels).sum(axis=1)
    hits[...] = right / max(predictions.shape[1], 1)


# -- the functions: targets are float64, predictions have the dtype of the call -------------------


def _mean_squared_error(p, t):
    return (p - t) ** 2, 2.0 * (p - t)


def _mean_absolute_error(p, t):
    return np.abs(p - t), np.sign(p - t)


def _binary_crossentropy(p, t, epsilon):
    q = np.clip(p.astype(np.float64), *_bounds(epsilon, p.dtype))
    value = -t * np.log(q) - (1.0 - t) * np.log1p(-q)
    return value, np.where(p == q, (q - t) / (q * (1.0 - q)), 0.0 * q)  # 0 q passes NaN on


def _sigmoid_cross_entropy(z, t):
    # max(z, 0) - z t + log(1 + exp(-|z|))
    z = z.astype(np.float64)
    return softplus(z) - z * t, sigmoid(z) - t


def _log_poisson(z, t):
    # exp(z) - t z
    z = z.astype(np.float64)
    mean = np.exp(z)
    return mean - np.where(t == 0, 0.0, t * z), mean - t


def _bounds(epsilon, dtype):
    """epsilon and 1 - epsilon as numbers of the dtype, which is what Keras clips to."""
    return float(dtype.type(epsilon)), float(dtype.type(1.0 - epsilon))


_ELEMENTWISE = {
    "mean_squared_error": _mean_squared_error,
    "mean_absolute_error": _mean_absolute_error,
    "binary_crossentropy": _binary_crossentropy,
    "sigmoid_cross_entropy": _sigmoid_cross_entropy,
    "log_poisson": _log_poisson,
}
assert set(_ELEMENTWISE) == {row.name for row in LOSSES.values() if row.kind == "elementwise"}


# -- what they share -----------------------------------------------------------------------------


def _targets(labels, columns, label_smoothing, ignore_index):
    """Labels as smoothed probabilities (n, columns), and which rows count (n,)."""
    kept = np.ones(labels.shape[0], dtype=bool)
    if labels.ndim == 1:
        if ignore_index is not None:
            kept = labels != ignore_index
        targets = (labels[:, None] == np.arange(columns)).astype(np.float64)
    else:
        targets = labels.astype(np.float64)
    if label_smoothing:
        targets = targets * (1.0 - label_smoothing) + label_smoothing / columns
    return targets, kept


def _store(values, sample_weight, kept, losses):
    if sample_weight is not None:
        values = values * sample_weight
    losses[...] = values if kept is None else np.where(kept, values, 0.0)


def _store_gradient(d, scale, sample_weight, kept, gradient):
    factor = scale if sample_weight is None else scale * sample_weight.astype(np.float64)[:, None]
    gradient[...] = d * factor if kept is None else np.where(kept[:, None], d * factor, 0.0)
