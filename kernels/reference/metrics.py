"""What metrics add up: scores of single rows, and tallies over many.

Scores and tallies are the rows of `fusedmlp.spec.SCORES` and `TALLIES`.
"""

import numpy as np

from fusedmlp.spec import SCORES, TALLIES

from .elementwise import sigmoid

__all__ = ["score", "tally"]


def score(name, predictions, labels, params, scores):
    """scores (n,) of predictions (n, c) and labels (n,) or (n, c)."""
    if not predictions.size:
        scores[...] = 0.0
        return
    with np.errstate(all="ignore"):
        scores[...] = _SCORES[name](predictions, labels, *params)


def tally(name, predictions, labels, sample_weight, options, state):
    """Add what the rows of predictions (n, c) and labels (n,) or (n, c) contribute to a state."""
    labels = labels[:, None] if labels.ndim == 1 else labels
    weight = np.ones(len(predictions))
    if sample_weight is not None:
        weight = sample_weight.astype(np.float64)
    if predictions.size:
        with np.errstate(all="ignore"):
            _TALLIES[name](predictions, labels, weight, options, state)


# -- scores --------------------------------------------------------------------------------------


def _classes(labels):
    return labels if labels.ndim == 1 else labels.argmax(axis=1)


def _beside(labels):
    return labels[:, None] if labels.ndim == 1 else labels


def _categorical_hits(predictions, labels):
    return predictions.argmax(axis=1) == _classes(labels)


def _binary_hits(predictions, labels, threshold):
    return ((predictions > predictions.dtype.type(threshold)) == _beside(labels)).mean(axis=1)


def _equal_hits(predictions, labels):
    return (predictions == _beside(labels)).mean(axis=1)


def _top_k_hits(predictions, labels, k, listed):
    if listed:
        return (predictions[:, : int(k)] == _beside(labels)).any(axis=1)
    own = np.take_along_axis(predictions, _classes(labels)[:, None], axis=1)
    own = np.where(np.isnan(own), -np.inf, own)
    return (predictions > own).sum(axis=1) < k


def _centred(a):
    a = a.astype(np.float64)
    return a - a.mean(axis=1, keepdims=True)


def _pearson_correlation(predictions, labels):
    p, t = _centred(predictions), _centred(_beside(labels))
    scale = np.sqrt((p**2).mean(axis=1) * (t**2).mean(axis=1))
    return (p * t).mean(axis=1) / scale


def _concordance_correlation(predictions, labels, epsilon):
    p, t = _centred(predictions), _centred(_beside(labels))
    apart = (_beside(labels).astype(np.float64) - predictions).mean(axis=1)
    norm = (p**2).mean(axis=1) + (t**2).mean(axis=1) + apart**2
    return 2.0 * (p * t).mean(axis=1) / (norm + epsilon)


# -- tallies -------------------------------------------------------------------------------------


def _thresholds(p, t, w, options, state):
    even, first_open, class_id, top_k, by_column, from_logits, weighted, count = options[:8]
    dtype, c, count = p.dtype, p.shape[1], int(count)
    limits = options[8 : 8 + count].astype(dtype)
    factors = options[8 + count :] if weighted else np.ones(c)
    if from_logits:
        p = sigmoid(p.astype(np.float64)).astype(dtype)
    if top_k >= 0:  # of equal ones the first count as larger
        order = np.argsort(-p, axis=1, kind="stable")
        chosen = np.zeros(p.shape, bool)
        np.put_along_axis(chosen, order[:, : int(top_k)], True, axis=1)
        p = np.where(chosen, p, dtype.type(-1e10))
    columns = slice(None)
    if class_id >= 0:
        columns = slice(int(class_id), int(class_id) + 1)
        p, t = p[:, columns], t[:, columns]
    if even:
        place = np.ceil(np.clip(p, dtype.type(0.0), dtype.type(1.0)) * dtype.type(count - 1))
        place = np.where(np.isnan(place), 0.0, place)
        place = np.maximum(place, 1.0 if first_open else 0.0).astype(np.int64)
    else:
        place = (p[:, :, None] > limits).sum(axis=2)
    labels = c if by_column else 1
    column = np.arange(p.shape[1]) if by_column else 0
    index = (place * labels + column) * 2 + (t != 0)
    np.add.at(state, index, w[:, None] * factors[columns])


def _overlaps(p, t, w, options, state):
    (threshold,) = options
    if np.isnan(threshold):
        decided = (p >= p.max(axis=1, keepdims=True)) & (np.abs(p) > p.dtype.type(1e-9))
    else:
        decided = p > p.dtype.type(threshold)
    t, w = t.astype(np.float64), w[:, None]
    terms = (w * decided * t, w * decided, w * t)
    state += np.concatenate([term.sum(axis=0) for term in terms])


def _moments(p, t, w, options, state):
    t, w = t.astype(np.float64), np.broadcast_to(w[:, None], p.shape)
    terms = (w, w * t, w * t**2, w * (t - p) ** 2, np.ones(p.shape))
    state += np.concatenate([term.sum(axis=0) for term in terms])


def _confusion(p, t, w, options, state):
    classes, ignored, largest_label, largest_prediction, threshold, whole = options
    t = t.argmax(axis=1)[:, None] if largest_label else np.trunc(t)
    if largest_prediction:
        p = p.argmax(axis=1)[:, None]
    elif np.isnan(threshold):
        p = np.trunc(p)
    else:
        p = p >= p.dtype.type(threshold)
    t, p, w = np.broadcast_arrays(t, p, (np.trunc(w) if whole else w)[:, None])
    counts = (t >= 0) & (t < classes) & (p >= 0) & (p < classes) & (t != ignored)
    index = t[counts].astype(np.int64) * int(classes) + p[counts].astype(np.int64)
    np.add.at(state, index, w[counts])


_SCORES = {name: globals()["_" + name] for name in SCORES}
_TALLIES = {name: globals()["_" + name] for name in TALLIES}
