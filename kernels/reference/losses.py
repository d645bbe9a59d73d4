"""Losses with their gradients.

Every row's loss is computed in float64.  `targets` below are the labels as probabilities.
"""

import numpy as np

from fusedmlp.spec import LOSSES, losses_of

from .elementwise import sigmoid, softplus

__all__ = [
    "distribution_loss",
    "elementwise_loss",
    "overlap_loss",
    "pair_loss",
    "row_loss",
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
        if logits.size:
            expected = labels if labels.ndim == 1 else labels.argmax(axis=1)
            hits[...] = (logits.argmax(axis=1) == expected) & kept
        else:
            hits[...] = 0.0


def row_loss(name, predictions, labels, sample_weight, label_smoothing, ignore_index, params,
             scale, losses, dpredictions):
    """losses = w l(p, t) of each row with the function `name`; dpredictions = scale w dl/dp.

    predictions (n, c); labels (n,) or (n, c).
    """
    targets, kept = _targets(labels, predictions.shape[1], label_smoothing, ignore_index)
    if not predictions.size:
        losses[...] = 0.0
        return
    with np.errstate(all="ignore"):
        value, derivative = _ROW[name](predictions, targets, *params)
        _store(value, sample_weight, kept, losses)
        if dpredictions is not None:
            _store_gradient(derivative, scale, sample_weight, kept, dpredictions)


def elementwise_loss(name, y_pred, y_true, params, sample_weight, label_smoothing, scale, losses,
                     dpred):
    """losses = w mean_k l(p_k, t_k) with the function `name`; dpred = scale w l'(p, t) / c.

    Where the row says so a sum takes the place of the mean, and 1 that of c.
    """
    with np.errstate(all="ignore"):
        t = y_true.astype(np.float64) * (1.0 - label_smoothing) + 0.5 * label_smoothing
        value, derivative = _ELEMENTWISE[name](y_pred, t, *params)
        columns = max(y_pred.shape[1], 1) if LOSSES[name].average else 1
        _store(value.sum(axis=1) / columns, sample_weight, None, losses)
        if dpred is not None:
            _store_gradient(derivative / columns, scale, sample_weight, None, dpred)


def distribution_loss(name, y_pred, y_true, params, sample_weight, scale, losses, dpred):
    """losses = w mean_k l(m_k, s_k, t_k) with the function `name`; dpred = scale w dl / c.

    y_pred (n, 2c) holds m in front and s behind; y_true (n, c).
    """
    with np.errstate(all="ignore"):
        columns = y_true.shape[1]
        p, t = y_pred.astype(np.float64), y_true.astype(np.float64)
        value, dm, ds = _DISTRIBUTION[name](p[:, :columns], p[:, columns:], t, *params)
        columns = max(columns, 1)
        _store(value.sum(axis=1) / columns, sample_weight, None, losses)
        if dpred is not None:
            d = np.concatenate([dm, ds], axis=1) / columns
            _store_gradient(d, scale, sample_weight, None, dpred)


def overlap_loss(name, axis, y_pred, y_true, params, sample_weight, scale, losses, dpred):
    """The function `name` of I = sum t p, T = sum t and P = sum p over an axis of (n, c) arrays.

    `axis` "rows": one value for each row, from sums along it.  "all": one value for the whole
    batch, of which each row gets w times.  "columns": the mean over the columns of the values from
    sums down them, likewise; "columns_sum": their sum.  dpred is the gradient of
    scale sum(losses), by the chain rule through I and P: V_I t + V_P.
    """
    with np.errstate(all="ignore"):
        p, t = y_pred.astype(np.float64), y_true.astype(np.float64)
        over = {"rows": 1, "all": None}.get(axis, 0)
        sums = [a.sum(axis=over, keepdims=True) for a in (t * p, t, p)]
        value, by_i, by_p = _OVERLAP[name](*sums, *params)
        d = by_i * t + by_p
        if axis == "rows":
            _store(value[:, 0], sample_weight, None, losses)
            if dpred is not None:
                _store_gradient(d, scale, sample_weight, None, dpred)
            return
        if axis == "columns":
            value, d = value / max(p.shape[1], 1), d / max(p.shape[1], 1)
        _store(np.full(len(p), value.sum()), sample_weight, None, losses)
        if dpred is not None:
            mass = len(p) if sample_weight is None else sample_weight.sum(dtype=np.float64)
            dpred[...] = d * (scale * mass)


def pair_loss(name, predictions, labels, sample_weight, rescaled, params, scale, losses,
              dpredictions):
    """losses = w r l_i, where l_i depends on <p_i, p_j> for all rows j.

    r is n / k where `rescaled`, k the number of rows with l > 0, else 1.  With G_ij the derivative
    of losses_i by the product of i and j, dpredictions_i = scale sum_j (G_ij + G_ji) p_j.
    labels (n,).
    """
    n = len(predictions)
    if not predictions.size:
        losses[...] = 0.0
        return
    with np.errstate(all="ignore"):
        p = predictions.astype(np.float64)
        value, g = _PAIR[name](p @ p.T, labels[:, None] == labels[None, :], *params)
        kept = n / max(np.count_nonzero(value > 0.0), 1) if rescaled else 1.0
        weight = np.full(n, kept) if sample_weight is None else kept * sample_weight
        losses[...] = weight * value
        if dpredictions is not None:
            g = weight[:, None] * g
            dpredictions[...] = scale * ((g + g.T) @ p)


# -- the functions: targets are float64, predictions have the dtype of the call -------------------


def _mean_squared_error(p, t):
    return (p - t) ** 2, 2.0 * (p - t)


def _mean_absolute_error(p, t):
    return np.abs(p - t), np.sign(p - t)


def _mean_absolute_percentage_error(p, t, epsilon):
    size = np.maximum(np.abs(t), epsilon)
    return 100.0 * np.abs(p - t) / size, 100.0 * np.sign(p - t) / size


def _mean_squared_logarithmic_error(p, t, epsilon):
    low = float(p.dtype.type(epsilon))
    p = p.astype(np.float64)
    e = np.log1p(np.maximum(p, low)) - np.log1p(np.maximum(t, low))
    return e**2, np.where(p <= low, 0.0, 2.0 * e / (1.0 + p))


def _log_cosh(p, t):
    # |e| + log(1 + exp(-2 |e|)) - log 2, and log(1 + 2 sinh(e/2)^2) where that cancels
    e = p - t
    a = np.abs(e)
    small = np.log1p(2.0 * np.sinh(0.5 * np.minimum(a, 1.0)) ** 2)
    return np.where(a < 1.0, small, a + np.log1p(np.exp(-2.0 * a)) - np.log(2.0)), np.tanh(e)


def _huber(p, t, delta):
    e = p - t
    a = np.abs(e)
    value = np.where(a <= delta, 0.5 * e**2, delta * a - 0.5 * delta**2)
    return value, np.clip(e, -delta, delta)


def _quantile(p, t, quantile):
    e = t - p
    slope = np.where(e > 0.0, -quantile, np.where(e < 0.0, 1.0 - quantile, 0.0 * e))
    return np.maximum(quantile * e, (quantile - 1.0) * e), slope


def _poisson(p, t, epsilon):
    q = p.astype(np.float64) + float(p.dtype.type(epsilon))
    return p - t * np.log(q), 1.0 - t / q


def _kl_divergence(p, t, epsilon):
    low = float(p.dtype.type(epsilon))
    p = p.astype(np.float64)
    t, q = np.clip(t, low, 1.0), np.clip(p, low, 1.0)
    return t * np.log(t / q), np.where(p == q, -t / q, 0.0 * q)  # 0 q passes NaN on


def _hinge(p, t):
    margin = 1.0 - t * p
    return np.maximum(margin, 0.0), np.where(margin > 0.0, -t, 0.0 * margin)


def _squared_hinge(p, t):
    margin = np.maximum(1.0 - t * p, 0.0)
    return margin**2, -2.0 * t * margin


def _perceptron(p, t):
    # an undecided prediction counts as wrong, or training from zeros would never start
    product = t * p
    return np.maximum(-product, 0.0), np.where(product <= 0.0, -t, 0.0 * product)


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


def _binary_focal_crossentropy(p, t, balanced, alpha, gamma, epsilon):
    cross_entropy, slope = _binary_crossentropy(p, t, epsilon)
    f = t * (1.0 - p) + (1.0 - t) * p
    w = t * alpha + (1.0 - t) * (1.0 - alpha) if balanced else 1.0
    bend = gamma * f ** (gamma - 1.0) * (1.0 - 2.0 * t) if gamma else 0.0
    return w * f**gamma * cross_entropy, w * (f**gamma * slope + bend * cross_entropy)


def _sigmoid_focal_cross_entropy(z, t, balanced, alpha, gamma):
    cross_entropy, slope = _sigmoid_cross_entropy(z, t)
    p, rest = sigmoid(z.astype(np.float64)), sigmoid(-z.astype(np.float64))
    f = t * rest + (1.0 - t) * p
    w = t * alpha + (1.0 - t) * (1.0 - alpha) if balanced else 1.0
    ratio = np.where(f == 0.0, 0.0, p * rest / f)  # f^gamma is 0 with it
    bend = np.where(cross_entropy == 0.0, 0.0, gamma * ratio * (1.0 - 2.0 * t) * cross_entropy)
    return w * _focus(f, cross_entropy, gamma), w * f**gamma * (slope + bend)


def _focus(f, value, gamma):
    """f^gamma value, 0 where f is 0 and value infinite."""
    return np.where((f == 0.0) & (gamma > 0.0), 0.0, f**gamma * value)


def _categorical_crossentropy(p, t, epsilon):
    # q = clip(p / sum p, epsilon, 1 - epsilon), s = sum p, h = t / q where unclipped, else 0
    dtype, p = p.dtype, p.astype(np.float64)
    s = p.sum(axis=1, keepdims=True)
    q = np.clip(p / s, *_bounds(epsilon, dtype))
    h = np.where(q == p / s, t / q, 0.0 * q)  # 0 q passes NaN on
    return -(t * np.log(q)).sum(axis=1), (h * p).sum(axis=1, keepdims=True) / s**2 - h / s


def _categorical_focal_crossentropy(p, t, alpha, gamma, epsilon):
    dtype, p = p.dtype, p.astype(np.float64)
    s = p.sum(axis=1, keepdims=True)
    q = np.clip(p / s, *_bounds(epsilon, dtype))
    rest = 1.0 - q
    h = alpha * t * (gamma * rest ** (gamma - 1.0) * np.log(q) - rest**gamma / q)
    h = np.where(q == p / s, h, 0.0 * q)
    value = -alpha * (t * rest**gamma * np.log(q)).sum(axis=1)
    return value, (h - (h * p / s).sum(axis=1, keepdims=True)) / s


def _softmax_focal_cross_entropy(z, t, alpha, gamma):
    z = z.astype(np.float64)
    z = z - z.max(axis=1, keepdims=True)
    log_y = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    y, rest = np.exp(log_y), -np.expm1(log_y)
    y_log_y = np.where(y == 0.0, y, y * log_y)
    terms = np.where(t == 0.0, 0.0, -alpha * t * rest**gamma * log_y)
    bend = np.where(rest == 0.0, 0.0, gamma * y_log_y / rest)
    h = alpha * t * rest**gamma * (bend - 1.0)
    return terms.sum(axis=1), h - y * h.sum(axis=1, keepdims=True)


def _categorical_generalized_cross_entropy(p, t, q):
    r = (p * t).sum(axis=1, keepdims=True)
    d = np.where(t == 0.0, 0.0, -(r ** (q - 1.0)) * t)
    return (1.0 - r[:, 0] ** q) / q, d


def _softmax_generalized_cross_entropy(z, t, q):
    z = z.astype(np.float64)
    e = np.exp(z - z.max(axis=1, keepdims=True))
    y = e / e.sum(axis=1, keepdims=True)
    r = (y * t).sum(axis=1, keepdims=True)
    share = np.where(y * t == 0.0, 0.0, y * t / r)
    return (1.0 - r[:, 0] ** q) / q, r**q * (y - share)


def _cosine_similarity(p, t, epsilon):
    p = p.astype(np.float64)
    size_p, size_t = (np.sqrt((a**2).sum(axis=1, keepdims=True)) for a in (p, t))
    by_p, by_t = (np.maximum(size, epsilon) for size in (size_p, size_t))
    cosine = (p * t).sum(axis=1, keepdims=True) / (by_p * by_t)
    turn = np.where(size_p > epsilon, p / by_p * cosine, 0.0 * p)
    return -cosine[:, 0], (turn - t / by_t) / by_p


def _categorical_hinge(p, t):
    others = (1.0 - t) * p
    largest = others.max(axis=1, keepdims=True)
    margin = largest[:, 0] - (t * p).sum(axis=1) + 1.0
    ties = others == largest
    d = ties * (1.0 - t) / ties.sum(axis=1, keepdims=True) - t
    return np.maximum(margin, 0.0), np.where(margin[:, None] > 0.0, d, 0.0 * margin[:, None])


def _gaussian_negative_log_likelihood(m, s, t, full, epsilon):
    s = np.maximum(s, np.log(epsilon))
    square = (t - m) ** 2 * np.exp(-s)
    constant = np.log(2.0 * np.pi) if full else 0.0
    return 0.5 * (square + s + constant), (m - t) * np.exp(-s), 0.5 * (1.0 - square)


def _dice(i, t, p, epsilon):
    d = t + p + epsilon
    return 1.0 - 2.0 * i / d, -2.0 / d, 2.0 * i / d**2


def _tversky(i, t, p, alpha, beta, epsilon):
    d = i + alpha * (t - i) + beta * (p - i) + epsilon
    return 1.0 - i / d, -(d - i * (1.0 - alpha - beta)) / d**2, beta * i / d**2


def _circle(products, same, gamma, margin, remove_diagonal):
    """Losses (n,) and their derivatives (n, n) by the products."""
    d = np.maximum(1.0 - products, 0.0)
    other = ~same
    if remove_diagonal:
        same = same & ~np.eye(len(d), dtype=bool)
    near = np.where(same, -gamma * (margin + d) * (margin - d), -np.inf)
    far = np.where(other, gamma * np.maximum(1.0 + margin - d, 0.0) * (1.0 - margin - d), -np.inf)
    sums, shares = [], []
    for terms in (near, far):
        largest = terms.max(axis=1, keepdims=True)
        e = np.where(np.isneginf(terms), 0.0, np.exp(terms - largest))
        sums.append(largest[:, 0] + np.log(e.sum(axis=1)))
        shares.append(e / e.sum(axis=1, keepdims=True))
    both = same.any(axis=1) & other.any(axis=1)
    total = np.where(both, sums[0] + sums[1], -np.inf)
    slope = np.where(d > 1.0 + margin, 0.0, -2.0 * gamma * (1.0 - d))
    by_d = shares[0] * 2.0 * gamma * d + shares[1] * slope
    g = np.where(products < 1.0, -by_d, 0.0 * by_d) * sigmoid(total)[:, None]
    return np.where(both, softplus(total), 0.0), np.where(both[:, None], g, 0.0)


def _bounds(epsilon, dtype):
    """epsilon and 1 - epsilon as numbers of the dtype, which is what Keras clips to."""
    return float(dtype.type(epsilon)), float(dtype.type(1.0 - epsilon))


def _functions(kind):
    return {name: globals()["_" + name] for name in losses_of(kind)}


_ELEMENTWISE = _functions("elementwise")
_ROW = _functions("row")
_DISTRIBUTION = _functions("distribution")
_OVERLAP = _functions("overlap")
_PAIR = _functions("pair")


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
