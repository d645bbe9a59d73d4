"""What metrics add up: scores of single rows, and tallies over many.

Scores and tallies are the rows of `fusedmlp.spec.SCORES` and `TALLIES`.  A score is computed by a
warp, or by a block where rows are long.  A tally adds up row by row in their order: each of its
numbers by one thread alone, which goes through all rows and picks what belongs to it, so that
nothing is added atomically and the sums have the same bits each time.
"""

from __future__ import annotations

import numpy as np

from fusedmlp.spec import SCORES, TALLIES

from .device import (
    BLOCK,
    NULL,
    by_dtype,
    ceil,
    cuda,
    flat,
    hosted,
    isnan,
    kernel,
    larger,
    launch,
    scalar,
    sqrt,
    team,
    trunc,
)
from .elementwise import shared

__all__ = ["enqueue_score", "enqueue_tally", "score", "tally"]

_WARP_COLUMNS = 1024
_F = np.float64
_ZERO, _ONE = _F(0), _F(1)


def _labels(labels):
    """Pointers to classes and to targets, one of them `NULL`; whether it is classes; columns."""
    if labels.dtype == np.int64:
        return labels.data, NULL, 1, 1
    return NULL, labels.data, 0, labels.columns


def enqueue_score(stream, name, predictions, labels, params, scores):
    """scores (n,) of predictions (n, c) and labels (n,) or (n, c)."""
    n, c = predictions.shape
    classes, targets, is_class, width = _labels(labels)
    if labels.rows == 1 and labels.columns == n:  # a vector
        width = 1
    made, rows = _score(predictions.dtype, name, c > _WARP_COLUMNS)
    numbers = [float(value) for value in params] + [0.0, 0.0]
    made(stream, launch(n, rows), predictions.data, classes, targets, scores.data, n, c, width,
         is_class, *numbers[:2])


def enqueue_tally(stream, name, predictions, labels, sample_weight, options, state):
    """Add what the rows of predictions (n, c) and labels (n,) or (n, c) contribute to a state."""
    n, c = predictions.shape
    classes, targets, is_class, width = _labels(labels)
    if labels.rows == 1 and labels.columns == n:
        width = 1
    work = state.size if n and c else 0
    _tally(predictions.dtype, name)(
        stream, launch(work), predictions.data, classes, targets, flat(sample_weight),
        options.data, state.data, n, c, width, is_class, int(sample_weight is not None),
        state.size, options.size)


score = hosted(enqueue_score, "scores")
tally = hosted(enqueue_tally, "state")


# -- scores --------------------------------------------------------------------------------------


@by_dtype
def _access(R):
    """label(classes, targets, row, j, width, is_class): the label beside column j, float64."""
    @scalar
    def label(classes, targets, row, j, width, is_class):
        if is_class:
            return _F(classes[row])
        return _F(targets[row * width + (j if width > 1 else 0)])

    return label


@by_dtype
def _score(R, name, wide):
    lanes, rows, add, largest = team(np.float64, wide)
    label_at = _access(R)
    score_of = _SCORES[name](R, add, largest, lanes, label_at)
    zero = R(0)

    @kernel("R* i* R* R* i i i i d d", R, name=f"{name}{'_wide' if wide else ''}")
    def score(p, classes, targets, scores, n, c, width, is_class, a, b):
        lane, row = cuda.threadIdx.x % lanes, cuda.blockIdx.x * rows + cuda.threadIdx.x // lanes
        while row < n:
            value = _ZERO
            if c > 0:
                value = score_of(p, classes, targets, row, c, width, is_class, a, b, lane)
            if lane == 0:
                scores[row] = R(value) if c > 0 else zero
            row += cuda.gridDim.x * rows

    return score, rows


def _first_largest(R, largest, lanes):
    """A function for the place of the first largest element of a row; NaN is the largest."""
    low = _F(-np.inf)

    @scalar
    def first_largest(values, at, c, lane):
        top = low
        for j in range(lane, c, lanes):
            top = larger(top, _F(values[at + j]))
        top = largest(top)
        first = c
        for j in range(lane, c, lanes):
            value = _F(values[at + j])
            if first == c and (value == top or value != value):
                first = j
        return -int(largest(-_F(first)))

    return first_largest


def _categorical_hits(R, add, largest, lanes, label_at):
    first_largest = _first_largest(R, largest, lanes)

    @scalar
    def categorical_hits(p, classes, targets, row, c, width, is_class, a, b, lane):
        found = first_largest(p, row * c, c, lane)
        if is_class:
            return _ONE if found == classes[row] else _ZERO
        return _ONE if found == first_largest(targets, row * width, width, lane) else _ZERO

    return categorical_hits


def _binary_hits(R, add, largest, lanes, label_at):
    @scalar
    def binary_hits(p, classes, targets, row, c, width, is_class, threshold, b, lane):
        count = _ZERO
        for j in range(lane, c, lanes):
            decided = _ONE if p[row * c + j] > R(threshold) else _ZERO
            if decided == label_at(classes, targets, row, j, width, is_class):
                count += _ONE
        return add(count) / _F(c)

    return binary_hits


def _equal_hits(R, add, largest, lanes, label_at):
    @scalar
    def equal_hits(p, classes, targets, row, c, width, is_class, a, b, lane):
        count = _ZERO
        for j in range(lane, c, lanes):
            if _F(p[row * c + j]) == label_at(classes, targets, row, j, width, is_class):
                count += _ONE
        return add(count) / _F(c)

    return equal_hits


def _top_k_hits(R, add, largest, lanes, label_at):
    first_largest = _first_largest(R, largest, lanes)
    low = R(-np.inf)

    @scalar
    def top_k_hits(p, classes, targets, row, c, width, is_class, k, listed, lane):
        count = _ZERO
        if listed != _ZERO:
            for j in range(lane, min(c, int(k)), lanes):
                if _F(p[row * c + j]) == label_at(classes, targets, row, j, width, is_class):
                    count += _ONE
            return _ONE if add(count) > _ZERO else _ZERO
        if is_class:
            own = p[row * c + classes[row]]
        else:
            own = p[row * c + first_largest(targets, row * width, width, lane)]
        if own != own:
            own = low
        for j in range(lane, c, lanes):
            if p[row * c + j] > own:
                count += _ONE
        return _ONE if add(count) < k else _ZERO

    return top_k_hits


def _moments_of_row(add, lanes, label_at):
    """Means of p and t, and of the squares and products of what lies around them."""
    @scalar
    def moments(p, classes, targets, row, c, width, is_class, lane):
        mean_p, mean_t = _ZERO, _ZERO
        for j in range(lane, c, lanes):
            mean_p += _F(p[row * c + j])
            mean_t += label_at(classes, targets, row, j, width, is_class)
        mean_p, mean_t = add(mean_p) / _F(c), add(mean_t) / _F(c)
        pp, tt, pt = _ZERO, _ZERO, _ZERO
        for j in range(lane, c, lanes):
            x = _F(p[row * c + j]) - mean_p
            y = label_at(classes, targets, row, j, width, is_class) - mean_t
            pp, tt, pt = pp + x * x, tt + y * y, pt + x * y
        return mean_t - mean_p, add(pp) / _F(c), add(tt) / _F(c), add(pt) / _F(c)

    return moments


def _pearson_correlation(R, add, largest, lanes, label_at):
    moments = _moments_of_row(add, lanes, label_at)

    @scalar
    def pearson_correlation(p, classes, targets, row, c, width, is_class, a, b, lane):
        _, pp, tt, pt = moments(p, classes, targets, row, c, width, is_class, lane)
        return pt / sqrt(pp * tt)

    return pearson_correlation


def _concordance_correlation(R, add, largest, lanes, label_at):
    moments = _moments_of_row(add, lanes, label_at)

    @scalar
    def concordance_correlation(p, classes, targets, row, c, width, is_class, epsilon, b, lane):
        apart, pp, tt, pt = moments(p, classes, targets, row, c, width, is_class, lane)
        return _F(2) * pt / (pp + tt + apart * apart + epsilon)

    return concordance_correlation


_SCORES = {name: globals()["_" + name] for name in SCORES}


# -- tallies -------------------------------------------------------------------------------------


@by_dtype
def _tally(R, name):
    share = _TALLIES[name](R, _access(R))

    @kernel("R* i* R* R* d* d* i i i i i i i", R, name=name)
    def tally(p, classes, targets, weights, options, state, n, c, width, is_class, weighted, size,
              given):
        at = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        while at < size:
            total = _ZERO
            for row in range(n):
                w = _F(weights[row]) if weighted else _ONE
                total += share(p, classes, targets, row, c, width, is_class, w, options, at, size)
            state[at] += total
            at += cuda.gridDim.x * BLOCK

    return tally


def _thresholds(R, label_at):
    sigmoid = shared(np.float64)[2]
    at_least, at_most = shared(R)[:2]
    zero, one = R(0), R(1)

    @scalar
    def larger_before(p, row, c, j):
        """How many elements of a row count as larger than the one in column j."""
        count = 0
        own = p[row * c + j]
        for k in range(c):
            value = p[row * c + k]
            if value > own or (value == own and k < j) or (own != own and (
                    value == value or k < j)):
                count += 1
        return count

    @scalar
    def place_of(value, options, count):
        even, first_open = options[0], options[1]
        if even != _ZERO:
            place = ceil(at_most(at_least(value, zero), one) * R(count - 1))
            place = zero if place != place else place
            return int(at_least(place, one if first_open != _ZERO else zero))
        place = 0
        for k in range(count):
            if value > R(options[8 + k]):
                place += 1
        return place

    @scalar
    def share(p, classes, targets, row, c, width, is_class, w, options, at, size):
        class_id, top_k, by_column = int(options[2]), int(options[3]), options[4] != _ZERO
        from_logits, weighted, count = options[5], options[6] != _ZERO, int(options[7])
        labels = c if by_column else 1
        column, positive = at // 2 % labels, at % 2
        total = _ZERO
        for j in range(c):
            if class_id >= 0 and j != class_id:
                continue
            if by_column and (0 if class_id >= 0 else j) != column:
                continue
            t = label_at(classes, targets, row, j, width, is_class)
            if (1 if t != _ZERO else 0) != positive:
                continue
            value = p[row * c + j]
            if from_logits != _ZERO:
                value = R(sigmoid(_F(value)))
            if top_k >= 0 and larger_before(p, row, c, j) >= top_k:
                value = R(-1e10)
            if place_of(value, options, count) == at // 2 // labels:
                total += w * options[8 + count + j] if weighted else w
        return total

    return share


def _overlaps(R, label_at):
    @scalar
    def share(p, classes, targets, row, c, width, is_class, w, options, at, size):
        kind, j = at // c, at % c
        value, threshold = p[row * c + j], options[0]
        t = label_at(classes, targets, row, j, width, is_class)
        if isnan(threshold):
            top = p[row * c]
            for k in range(1, c):
                top = larger(top, p[row * c + k])
            decided = value >= top and abs(value) > R(1e-9)
        else:
            decided = value > R(threshold)
        d = _ONE if decided else _ZERO
        return w * d * t if kind == 0 else w * d if kind == 1 else w * t

    return share


def _moments(R, label_at):
    @scalar
    def share(p, classes, targets, row, c, width, is_class, w, options, at, size):
        kind, j = at // c, at % c
        t = label_at(classes, targets, row, j, width, is_class)
        apart = t - _F(p[row * c + j])
        if kind < 2:
            return w if kind == 0 else w * t
        return w * (t * t) if kind == 2 else w * (apart * apart) if kind == 3 else _ONE

    return share


def _confusion(R, label_at):
    @scalar
    def first_largest(values, at, c):
        first = 0
        for j in range(1, c):
            best = values[at + first]
            if best == best and not values[at + j] <= best:
                first = j
        return first

    @scalar
    def share(p, classes, targets, row, c, width, is_class, w, options, at, size):
        count, ignored = int(options[0]), options[1]
        largest_label, largest_prediction = options[2] != _ZERO, options[3] != _ZERO
        threshold, whole = options[4], options[5]
        columns = 1 if largest_label and largest_prediction else max(
            1 if largest_prediction else c, 1 if largest_label else width)
        if whole != _ZERO:
            w = trunc(w)
        total = _ZERO
        for j in range(columns):
            if largest_label and not is_class:
                t = _F(first_largest(targets, row * width, width))
            elif largest_label:
                t = _ZERO
            else:
                t = trunc(label_at(classes, targets, row, j, width, is_class))
            value = p[row * c + (j if c > 1 else 0)]
            if largest_prediction:
                q = _F(first_largest(p, row * c, c))
            elif isnan(threshold):
                q = trunc(_F(value))
            else:
                q = _ONE if value >= R(threshold) else _ZERO
            if t == _F(at // count) and q == _F(at % count) and t != ignored:
                total += w
        return total

    return share


_TALLIES = {name: globals()["_" + name] for name in TALLIES}
