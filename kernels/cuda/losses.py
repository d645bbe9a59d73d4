"""Losses with their gradients: a warp for each row, or a block where rows are long.

Softmax cross-entropy, which most networks end with, is computed in the arrays' dtype; the others in
float64 and rounded once, as the oracle does, with the formulas of `loss_rules`.
"""

from __future__ import annotations

import numpy as np

from fusedmlp.spec import LOSSES

from . import loss_rules, quads
from .device import (
    BLOCK,
    NULL,
    by_dtype,
    cuda,
    exp,
    flat,
    hosted,
    kernel,
    larger,
    launch,
    log,
    scalar,
    team,
    vector,
)
from .elementwise import shared
from .quads import load, store

__all__ = [
    "distribution_loss", "elementwise_loss", "enqueue_distribution_loss",
    "enqueue_elementwise_loss", "enqueue_overlap_loss", "enqueue_pair_loss", "enqueue_row_loss",
    "enqueue_softmax_cross_entropy", "overlap_loss", "pair_loss", "pair_statistics",
    "row_loss", "softmax_cross_entropy",
]

_WARP_COLUMNS = 1024  # a longer row gets a block
_F = np.float64
_ZERO, _ONE = _F(0), _F(1)


def _labels(labels):
    """Pointers to classes and to targets, one of them `NULL`, and whether it is classes."""
    if labels.dtype == np.int64:
        return labels.data, NULL, 1
    return NULL, labels.data, 0


def _ignored(labels, ignore_index):
    """Whether a class is ignored, and which one."""
    ignores = ignore_index is not None and labels.dtype == np.int64
    return int(ignores), int(ignore_index) if ignores else 0


def _quads(columns, *arrays):
    """Quads of each row."""
    return quads.count(columns, *arrays, columns=columns)


def enqueue_softmax_cross_entropy(stream, logits, labels, sample_weight, label_smoothing,
                                  ignore_index, scale, losses, dlogits, hits):
    """losses = w sum_k t_k (log sum_j exp z_j - z_k); dlogits = scale w (softmax(z) sum t - t)."""
    n, c = logits.shape
    made, rows = _softmax_cross_entropy(logits.dtype, c > _WARP_COLUMNS)
    made(stream, launch(n, rows), logits.data, *_labels(labels)[:2], flat(sample_weight),
         losses.data, flat(dlogits), flat(hits), n, c, _quads(c, logits, labels, dlogits),
         _labels(labels)[2],
         int(sample_weight is not None), *_ignored(labels, ignore_index), int(dlogits is not None),
         int(hits is not None), float(label_smoothing), float(scale))


def enqueue_row_loss(stream, name, predictions, labels, sample_weight, label_smoothing,
                     ignore_index, params, scale, losses, dpredictions):
    """losses = w l(p, t) of each row with the function `name`; dpredictions = scale w dl/dp."""
    n, c = predictions.shape
    made, rows = _row(predictions.dtype, name, c > _WARP_COLUMNS)
    made(stream, launch(n, rows), predictions.data, *_labels(labels)[:2], flat(sample_weight),
         losses.data, flat(dpredictions), n, c, _labels(labels)[2],
         int(sample_weight is not None), *_ignored(labels, ignore_index),
         int(dpredictions is not None), float(label_smoothing), float(scale),
         *loss_rules.parameters(name, params, predictions.dtype))


def enqueue_elementwise_loss(stream, name, y_pred, y_true, params, sample_weight, label_smoothing,
                             scale, losses, dpred):
    """losses = w mean_k l(p_k, t_k), or the sum where the row says so; dpred its gradient."""
    n, c = y_pred.shape
    made, rows = _elementwise(y_pred.dtype, name, c > _WARP_COLUMNS)
    divisor = max(c, 1) if LOSSES[name].average else 1
    made(stream, launch(n, rows), y_pred.data, y_true.data, flat(sample_weight), losses.data,
         flat(dpred), n, c, _quads(c, y_pred, y_true, dpred), int(sample_weight is not None),
         int(dpred is not None), float(label_smoothing), float(scale), float(divisor),
         *loss_rules.parameters(name, params, y_pred.dtype))


def enqueue_distribution_loss(stream, name, y_pred, y_true, params, sample_weight, scale, losses,
                              dpred):
    """losses = w mean_k l(m_k, s_k, t_k); y_pred (n, 2c) holds m in front and s behind."""
    n, c = y_true.shape
    made, rows = _distribution(y_pred.dtype, name, c > _WARP_COLUMNS)
    made(stream, launch(n, rows), y_pred.data, y_true.data, flat(sample_weight), losses.data,
         flat(dpred), n, c, int(sample_weight is not None), int(dpred is not None), float(scale),
         *loss_rules.parameters(name, params, y_pred.dtype))


def enqueue_overlap_loss(stream, name, axis, y_pred, y_true, params, sample_weight, scale, losses,
                         dpred):
    """The function `name` of I = sum t p, T = sum t and P = sum p over an axis of (n, c) arrays."""
    n, c = y_pred.shape
    numbers = loss_rules.parameters(name, params, y_pred.dtype)
    flags = int(sample_weight is not None), int(dpred is not None)
    arrays = (y_pred.data, y_true.data, flat(sample_weight), losses.data, flat(dpred))
    by_rows, whole = _overlap(y_pred.dtype, name)
    if axis == "rows":
        made, rows = by_rows
        made(stream, launch(n, rows), *arrays, n, c, *flags, float(scale), *numbers)
    else:  # one block, which goes through all columns and then through all rows
        whole(stream, min(n, 1), *arrays, n, c, *flags, int(axis == "all"),
              float(scale), 1.0 / max(c, 1) if axis == "columns" else 1.0, *numbers)


def enqueue_pair_loss(stream, name, predictions, labels, sample_weight, rescaled, params, scale,
                      losses, dpredictions, statistics=None):
    """losses = w r l_i, where l_i depends on <p_i, p_j> for all rows j; labels (n,).

    `statistics`, at least ``pair_statistics(n)`` float64, is worked with; taken where it is None.
    """
    n, c = predictions.shape
    held = None
    if statistics is None:
        held = cuda.to_device(np.zeros(pair_statistics(n)), stream=stream)
        statistics = vector(held, held.size)
    values, counts, gradient = _pair(predictions.dtype)
    arguments = (predictions.data, *_labels(labels)[:2], flat(sample_weight), losses.data,
                 flat(dpredictions), statistics.data, n, c, _labels(labels)[2],
                 int(sample_weight is not None), int(rescaled), float(scale), *map(float, params))
    values(stream, launch(n, 1), *arguments)
    counts(stream, min(n, 1), *arguments)
    if dpredictions is not None:
        gradient(stream, launch(n, 1), *arguments)
    return held  # which the launches use


def pair_statistics(n):
    """How many float64 `enqueue_pair_loss` works with for n rows."""
    return 4 * n + 1


softmax_cross_entropy = hosted(enqueue_softmax_cross_entropy, "losses", "dlogits", "hits")
row_loss = hosted(enqueue_row_loss, "losses", "dpredictions")
elementwise_loss = hosted(enqueue_elementwise_loss, "losses", "dpred")
distribution_loss = hosted(enqueue_distribution_loss, "losses", "dpred")
overlap_loss = hosted(enqueue_overlap_loss, "losses", "dpred")
pair_loss = hosted(enqueue_pair_loss, "losses", "dpredictions")


# -- softmax cross-entropy -----------------------------------------------------------------------


@by_dtype
def _softmax_cross_entropy(R, wide):
    """A row of up to 1,024 logits fits in the nearest cache, from where it is read three times."""
    lanes, rows, add, largest = team(R, wide)
    zero, one, low = R(0), R(1), R(-np.inf)
    suffix = "_wide" if wide else ""

    @scalar
    def target(classes, targets, at, row, j, is_class, keep, spread):
        if is_class:
            t = one if classes[row] == j else zero
        else:
            t = targets[at + j]
        return t * keep + spread

    @scalar
    def target_quad(classes, targets, at, row, j, is_class, keep, spread):
        if is_class:
            k = classes[row] - j
            t0, t1 = one if k == 0 else zero, one if k == 1 else zero
            t2, t3 = one if k == 2 else zero, one if k == 3 else zero
        else:
            t0, t1, t2, t3 = load(targets, at + j)
        return t0 * keep + spread, t1 * keep + spread, t2 * keep + spread, t3 * keep + spread

    @scalar
    def part(t, z, log_total):
        # a target of 0 takes no part, also where its logit is -inf
        return t * (log_total - z) if t != zero else zero

    @scalar
    def slope(t, z, total, mass, factor, counts):
        return (exp(z) / total * mass - t) * factor if counts else zero

    @kernel("R* i* R* R* R* R* R* i i i i i i i i i d d", R, name=f"softmax_cross_entropy{suffix}")
    def softmax_cross_entropy(logits, classes, targets, weights, losses, dlogits, hits, n, c,
                              whole, is_class, weighted, ignores, ignored, differentiates, scores,
                              smoothing, scale):
        lane, row = cuda.threadIdx.x % lanes, cuda.blockIdx.x * rows + cuda.threadIdx.x // lanes
        keep, spread = R(_ONE - smoothing), R(smoothing / max(c, 1))
        while row < n:
            at = row * c
            weight = weights[row] if weighted else one
            counts = not (ignores and classes[row] == ignored)
            top = low
            for q in range(lane, whole, lanes):
                z0, z1, z2, z3 = load(logits, at + 4 * q)
                top = larger(top, larger(larger(z0, z1), larger(z2, z3)))
            for j in range(4 * whole + lane, c, lanes):
                top = larger(top, logits[at + j])
            top = largest(top)
            total, mass = zero, zero
            for q in range(lane, whole, lanes):
                z0, z1, z2, z3 = load(logits, at + 4 * q)
                t0, t1, t2, t3 = target_quad(classes, targets, at, row, 4 * q, is_class, keep,
                                             spread)
                total += (exp(z0 - top) + exp(z1 - top)) + (exp(z2 - top) + exp(z3 - top))
                mass += (t0 + t1) + (t2 + t3)
            for j in range(4 * whole + lane, c, lanes):
                total += exp(logits[at + j] - top)
                mass += target(classes, targets, at, row, j, is_class, keep, spread)
            total, mass = add(total), add(mass)
            log_total = log(total)
            loss = zero
            factor = R(scale * _F(weight)) if counts else zero
            for q in range(lane, whole, lanes):
                z0, z1, z2, z3 = load(logits, at + 4 * q)
                z0, z1, z2, z3 = z0 - top, z1 - top, z2 - top, z3 - top
                t0, t1, t2, t3 = target_quad(classes, targets, at, row, 4 * q, is_class, keep,
                                             spread)
                loss += (part(t0, z0, log_total) + part(t1, z1, log_total)) + (
                    part(t2, z2, log_total) + part(t3, z3, log_total))
                if differentiates:
                    store(dlogits, at + 4 * q, slope(t0, z0, total, mass, factor, counts),
                          slope(t1, z1, total, mass, factor, counts),
                          slope(t2, z2, total, mass, factor, counts),
                          slope(t3, z3, total, mass, factor, counts))
            for j in range(4 * whole + lane, c, lanes):
                z = logits[at + j] - top
                t = target(classes, targets, at, row, j, is_class, keep, spread)
                loss += part(t, z, log_total)
                if differentiates:
                    dlogits[at + j] = slope(t, z, total, mass, factor, counts)
            loss = add(loss)
            if scores:
                # the first largest prediction, and the label or the first largest target
                best, first, label = low, c, c
                for j in range(lane, c, lanes):
                    z = logits[at + j]
                    if first == c and (z == top or z != z):
                        first = j
                    if not is_class:
                        best = larger(best, targets[at + j])
                if is_class:
                    label = classes[row]
                else:
                    best = largest(best)
                    for j in range(lane, c, lanes):
                        t = targets[at + j]
                        if label == c and (t == best or t != t):
                            label = j
                    label = -int(largest(-R(label)))
                first = -int(largest(-R(first)))
                if lane == 0:
                    hits[row] = one if first == label and counts and c > 0 else zero
            if lane == 0:
                losses[row] = loss * weight if counts and c > 0 else zero
            row += cuda.gridDim.x * rows

    return softmax_cross_entropy, rows


# -- rows ----------------------------------------------------------------------------------------


@by_dtype
def _row(R, name, wide):
    rule = loss_rules.rows()[name]
    lanes, rows, add, largest = team(np.float64, wide)
    top_of, first, second, value, slope = (rule.top, rule.first, rule.second, rule.value,
                                           rule.slope)
    has_top, has_second = rule.has_top, rule.has_second
    low, zero = _F(-np.inf), R(0)

    @scalar
    def target(classes, targets, at, row, j, is_class, smoothing, c):
        if is_class:
            t = _ONE if classes[row] == j else _ZERO
        else:
            t = _F(targets[at + j])
        if smoothing != _ZERO:
            t = t * (_ONE - smoothing) + smoothing / c
        return t

    @kernel("R* i* R* R* R* R* i i i i i i i d d d d d d d", R,
            name=f"{name}{'_wide' if wide else ''}")
    def row_loss(p, classes, targets, weights, losses, dp, n, c, is_class, weighted, ignores,
                 ignored, differentiates, smoothing, scale, a, b, u, v, w):
        lane, row = cuda.threadIdx.x % lanes, cuda.blockIdx.x * rows + cuda.threadIdx.x // lanes
        while row < n:
            at = row * c
            weight = _F(weights[row]) if weighted else _ONE
            counts = c > 0 and not (ignores and classes[row] == ignored)
            top = low
            if has_top:
                for j in range(lane, c, lanes):
                    t = target(classes, targets, at, row, j, is_class, smoothing, c)
                    top = larger(top, top_of(_F(p[at + j]), t))
                top = largest(top)
            s0, s1, s2 = _ZERO, _ZERO, _ZERO
            for j in range(lane, c, lanes):
                t = target(classes, targets, at, row, j, is_class, smoothing, c)
                x0, x1, x2 = first(_F(p[at + j]), t, top, a, b, u, v, w)
                s0, s1, s2 = s0 + x0, s1 + x1, s2 + x2
            s0, s1, s2 = add(s0), add(s1), add(s2)
            u0, u1 = _ZERO, _ZERO
            if has_second:
                for j in range(lane, c, lanes):
                    t = target(classes, targets, at, row, j, is_class, smoothing, c)
                    x0, x1 = second(_F(p[at + j]), t, top, s0, s1, s2, a, b, u, v, w)
                    u0, u1 = u0 + x0, u1 + x1
                u0, u1 = add(u0), add(u1)
            if lane == 0:
                loss = weight * value(top, s0, s1, s2, u0, u1, a, b, u, v, w)
                losses[row] = R(loss) if counts else zero
            if differentiates:
                for j in range(lane, c, lanes):
                    t = target(classes, targets, at, row, j, is_class, smoothing, c)
                    d = slope(_F(p[at + j]), t, top, s0, s1, s2, u0, u1, a, b, u, v, w)
                    dp[at + j] = R(d * (scale * weight)) if counts else zero
            row += cuda.gridDim.x * rows

    return row_loss, rows


# -- elements ------------------------------------------------------------------------------------


@by_dtype
def _elementwise(R, name, wide):
    f = loss_rules.elementwise()[name]
    lanes, rows, add, _ = team(np.float64, wide)
    half = _F(0.5)

    @scalar
    def of(p, t, smoothing, divisor, factor, a, b, u, v, w):
        value, slope = f(_F(p), _F(t) * (_ONE - smoothing) + half * smoothing, a, b, u, v, w)
        return value, R(slope / divisor * factor)

    @kernel("R* R* R* R* R* i i i i i d d d d d d d d", R, name=f"{name}{'_wide' if wide else ''}")
    def elementwise_loss(p, t, weights, losses, dp, n, c, whole, weighted, differentiates,
                         smoothing, scale, divisor, a, b, u, v, w):
        lane, row = cuda.threadIdx.x % lanes, cuda.blockIdx.x * rows + cuda.threadIdx.x // lanes
        while row < n:
            at = row * c
            weight = _F(weights[row]) if weighted else _ONE
            factor = scale * weight
            total = _ZERO
            for q in range(lane, whole, lanes):
                p0, p1, p2, p3 = load(p, at + 4 * q)
                t0, t1, t2, t3 = load(t, at + 4 * q)
                x0, d0 = of(p0, t0, smoothing, divisor, factor, a, b, u, v, w)
                x1, d1 = of(p1, t1, smoothing, divisor, factor, a, b, u, v, w)
                x2, d2 = of(p2, t2, smoothing, divisor, factor, a, b, u, v, w)
                x3, d3 = of(p3, t3, smoothing, divisor, factor, a, b, u, v, w)
                total += (x0 + x1) + (x2 + x3)
                if differentiates:
                    store(dp, at + 4 * q, d0, d1, d2, d3)
            for j in range(4 * whole + lane, c, lanes):
                value, slope = of(p[at + j], t[at + j], smoothing, divisor, factor, a, b, u, v, w)
                total += value
                if differentiates:
                    dp[at + j] = slope
            total = add(total)
            if lane == 0:
                losses[row] = R(total / divisor * weight)
            row += cuda.gridDim.x * rows

    return elementwise_loss, rows


@by_dtype
def _distribution(R, name, wide):
    f = loss_rules.distribution()[name]
    lanes, rows, add, _ = team(np.float64, wide)

    @kernel("R* R* R* R* R* i i i i d d d d d d", R, name=f"{name}{'_wide' if wide else ''}")
    def distribution_loss(p, t, weights, losses, dp, n, c, weighted, differentiates, scale, a, b,
                          u, v, w):
        lane, row = cuda.threadIdx.x % lanes, cuda.blockIdx.x * rows + cuda.threadIdx.x // lanes
        while row < n:
            weight = _F(weights[row]) if weighted else _ONE
            divisor = _F(max(c, 1))
            total = _ZERO
            for j in range(lane, c, lanes):
                m = row * 2 * c + j
                value, dm, ds = f(_F(p[m]), _F(p[m + c]), _F(t[row * c + j]), a, b, u, v, w)
                total += value
                if differentiates:
                    dp[m] = R(dm / divisor * (scale * weight))
                    dp[m + c] = R(ds / divisor * (scale * weight))
            total = add(total)
            if lane == 0:
                losses[row] = R(total / divisor * weight)
            row += cuda.gridDim.x * rows

    return distribution_loss, rows


# -- overlaps ------------------------------------------------------------------------------------


@by_dtype
def _overlap(R, name):
    f = loss_rules.overlap()[name]
    lanes, rows, add, _ = team(np.float64, False)
    add_all = team(np.float64, True)[2]

    @kernel("R* R* R* R* R* i i i i d d d d d d", R, name=f"{name}_rows")
    def by_rows(p, t, weights, losses, dp, n, c, weighted, differentiates, scale, a, b, u, v, w):
        lane, row = cuda.threadIdx.x % lanes, cuda.blockIdx.x * rows + cuda.threadIdx.x // lanes
        while row < n:
            at = row * c
            weight = _F(weights[row]) if weighted else _ONE
            both, ts, ps = _ZERO, _ZERO, _ZERO
            for j in range(lane, c, lanes):
                x, y = _F(p[at + j]), _F(t[at + j])
                both, ts, ps = both + x * y, ts + y, ps + x
            value, by_i, by_p = f(add(both), add(ts), add(ps), a, b, u, v, w)
            if lane == 0:
                losses[row] = R(value * weight)
            if differentiates:
                for j in range(lane, c, lanes):
                    dp[at + j] = R((by_i * _F(t[at + j]) + by_p) * (scale * weight))
            row += cuda.gridDim.x * rows

    @kernel("R* R* R* R* R* i i i i i d d d d d d d", R, name=f"{name}_batch")
    def whole(p, t, weights, losses, dp, n, c, weighted, differentiates, all_at_once, scale, share,
              a, b, u, v, w):
        thread = cuda.threadIdx.x
        mass = _ZERO
        for i in range(thread, n, BLOCK):
            mass += _F(weights[i]) if weighted else _ONE
        mass = scale * add_all(mass)
        groups, step = (1, 1) if all_at_once else (c, c)
        size = n * c // max(groups, 1)
        result = _ZERO
        for group in range(groups):
            both, ts, ps = _ZERO, _ZERO, _ZERO
            for i in range(thread, size, BLOCK):
                x, y = _F(p[group + i * step]), _F(t[group + i * step])
                both, ts, ps = both + x * y, ts + y, ps + x
            value, by_i, by_p = f(add_all(both), add_all(ts), add_all(ps), a, b, u, v, w)
            result += share * value
            if differentiates:
                for i in range(thread, size, BLOCK):
                    at = group + i * step
                    dp[at] = R(share * (by_i * _F(t[at]) + by_p) * mass)
        for i in range(thread, n, BLOCK):
            losses[i] = R(result * (_F(weights[i]) if weighted else _ONE))

    return (by_rows, rows), whole


# -- pairs ---------------------------------------------------------------------------------------


@by_dtype
def _pair(R):
    """Circle loss.  A block for each row, which goes through the products with all others twice.

    The statistics, (4, n) float64, are the logarithms of the sums over near and far rows, whether
    there are both, and the losses; one more number is how many of these are above 0.
    """
    _, _, sigmoid, softplus = shared(np.float64)
    add, largest = team(np.float64, True)[2:]
    low = _F(-np.inf)
    two = _F(2)

    @scalar
    def product(p, i, j, c):
        total = _ZERO
        for k in range(c):
            total += _F(p[i * c + k]) * _F(p[j * c + k])
        return total

    @scalar
    def near_term(d, gamma, margin):
        return -gamma * (margin + d) * (margin - d)

    @scalar
    def far_term(d, gamma, margin):
        over = _ONE + margin - d
        return gamma * (over if over > _ZERO else _ZERO * over if over != over else _ZERO) * (
            _ONE - margin - d)

    @scalar
    def same_label(classes, targets, is_class, i, j):
        return classes[i] == classes[j] if is_class else targets[i] == targets[j]

    @scalar
    def distance(s):
        d = _ONE - s
        return _ZERO if d < _ZERO else d

    @kernel("R* i* R* R* R* R* d* i i i i i d d d d", R, name="circle_values")
    def values(p, classes, targets, weights, losses, dp, statistics, n, c, is_class, weighted,
               rescaled, scale, gamma, margin, alone):
        i = cuda.blockIdx.x
        while i < n:
            top_near, top_far, near, far = low, low, _ZERO, _ZERO
            for j in range(cuda.threadIdx.x, n, BLOCK):
                d = distance(product(p, i, j, c))
                if not same_label(classes, targets, is_class, i, j):
                    far += _ONE
                    top_far = larger(top_far, far_term(d, gamma, margin))
                elif i != j or alone == _ZERO:
                    near += _ONE
                    top_near = larger(top_near, near_term(d, gamma, margin))
            top_near, top_far = largest(top_near), largest(top_far)
            near, far = add(near), add(far)
            sum_near, sum_far = _ZERO, _ZERO
            for j in range(cuda.threadIdx.x, n, BLOCK):
                d = distance(product(p, i, j, c))
                if not same_label(classes, targets, is_class, i, j):
                    sum_far += exp(far_term(d, gamma, margin) - top_far)
                elif i != j or alone == _ZERO:
                    sum_near += exp(near_term(d, gamma, margin) - top_near)
            sum_near, sum_far = add(sum_near), add(sum_far)
            if cuda.threadIdx.x == 0:
                both = near > _ZERO and far > _ZERO
                log_near, log_far = top_near + log(sum_near), top_far + log(sum_far)
                statistics[i], statistics[n + i] = log_near, log_far
                statistics[2 * n + i] = _ONE if both else _ZERO
                statistics[3 * n + i] = softplus(log_near + log_far) if both else _ZERO
            i += cuda.gridDim.x

    @kernel("R* i* R* R* R* R* d* i i i i i d d d d", R, name="circle_counts")
    def counts(p, classes, targets, weights, losses, dp, statistics, n, c, is_class, weighted,
               rescaled, scale, gamma, margin, alone):
        above = _ZERO
        for i in range(cuda.threadIdx.x, n, BLOCK):
            if statistics[3 * n + i] > _ZERO:
                above += _ONE
        above = add(above)
        kept = _F(n) / (above if above > _ONE else _ONE) if rescaled and c > 0 else _ONE
        for i in range(cuda.threadIdx.x, n, BLOCK):
            weight = _F(weights[i]) if weighted else _ONE
            losses[i] = R(kept * weight * statistics[3 * n + i]) if c > 0 else R(0)
        if cuda.threadIdx.x == 0:
            statistics[4 * n] = kept

    @scalar
    def by_product(s, same, i, j, alone, log_near, log_far, both, gamma, margin):
        """The derivative of row i's loss by its product with row j."""
        if both == _ZERO:
            return _ZERO
        d = distance(s)
        by_d = _ZERO
        if not same:
            slope = _ZERO if d > _ONE + margin else -two * gamma * (_ONE - d)
            by_d = exp(far_term(d, gamma, margin) - log_far) * slope
        elif i != j or alone == _ZERO:
            by_d = exp(near_term(d, gamma, margin) - log_near) * two * gamma * d
        return (-by_d if s < _ONE else _ZERO * by_d) * sigmoid(log_near + log_far)

    @kernel("R* i* R* R* R* R* d* i i i i i d d d d", R, name="circle_gradient")
    def gradient(p, classes, targets, weights, losses, dp, statistics, n, c, is_class, weighted,
                 rescaled, scale, gamma, margin, alone):
        # a column for each thread: sum_j (w_i G_ij + w_j G_ji) p_jk
        kept = statistics[4 * n]
        i = cuda.blockIdx.x
        while i < n:
            own = kept * (_F(weights[i]) if weighted else _ONE)
            for k in range(cuda.threadIdx.x, c, BLOCK):
                total = _ZERO
                for j in range(n):
                    s = product(p, i, j, c)
                    same = same_label(classes, targets, is_class, i, j)
                    other = kept * (_F(weights[j]) if weighted else _ONE)
                    g = own * by_product(s, same, i, j, alone, statistics[i], statistics[n + i],
                                         statistics[2 * n + i], gamma, margin)
                    g += other * by_product(s, same, j, i, alone, statistics[j],
                                            statistics[n + j], statistics[2 * n + j], gamma,
                                            margin)
                    total += g * _F(p[j * c + k])
                dp[i * c + k] = R(scale * total)
            i += cuda.gridDim.x

    return values, counts, gradient
